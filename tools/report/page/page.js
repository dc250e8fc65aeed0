"use strict";

// Draws the page from the JSON in the block `data`. Text from runs is inserted as text, never as HTML.
const { columns, runs } = JSON.parse(document.getElementById("data").textContent);
const MOST = 12; // runs compared: six colors that people with any color vision can tell apart, filled and hollow
const PAGE = 100; // rows of the table at first
const SIGNS = ["circle", "square", "triangle", "diamond", "plus", "down"];
const SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const drawn = ["svg", "g", "path", "line", "text", "title"].includes(name);
  const made = drawn ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

// The table: sort, filter, choose. Rows are created when they are shown: a browser takes seconds for
// thousands of them.

const rows = new Map(); // by the run's index
let headings = [];
let order = runs.map((_, index) => index);
let chosen = [];
let limit = PAGE;
let words = null; // text of each run, built for the first search

const count = (number) => number.toLocaleString("en");
const nameOf = ({ name, debug }) => debug ? `${name} (${debug})` : name;

function rowOf(index) {
  if (!rows.has(index)) {
    const [name, ...others] = runs[index].cells;
    const box = make("input", { type: "checkbox", onchange: () => choose(
      box.checked ? [...chosen, index] : chosen.filter((other) => other !== index)
    ) });
    const cells = others.map((text, column) => {
      const [key, , isNumber] = columns[column + 1];
      const unfinished = key === "status" && text !== "done";
      return make("td", { class: isNumber ? "number" : unfinished ? "unfinished" : key }, text);
    });
    const kind = runs[index].debug ? "debug" : null;
    rows.set(index, make("tr", { class: kind }, make("th", { scope: "row" }, make("label", {}, box, ` ${name}`)), ...cells));
  }
  tick(index);
  return rows.get(index);
}

function tick(index) {
  const box = rows.get(index).querySelector("input");
  box.checked = chosen.includes(index);
  box.disabled = chosen.length === MOST && !box.checked;
}

function sortBy(column) {
  const key = columns[column][0];
  const rising = headings[column].getAttribute("aria-sort") !== "ascending";
  headings.forEach((heading) => heading.removeAttribute("aria-sort"));
  headings[column].setAttribute("aria-sort", rising ? "ascending" : "descending");
  const compare = new Intl.Collator("en", { numeric: true }).compare;
  order.sort((one, other) => {
    const [a, b] = [runs[one][key], runs[other][key]];
    const shortened = (runs[one].debug !== "") - (runs[other].debug !== "");
    if (shortened) return shortened; // a complete training comes first
    if (a === null || b === null) return (a === null) - (b === null); // missing values come last
    return (rising ? 1 : -1) * (typeof a === "number" ? a - b : compare(a, b));
  });
  show();
}

function fitting() {
  words ??= runs.map((run) => [
    ...run.cells, run.path, ...Object.entries(run.config).map((pair) => pair.join("=")),
  ].join("\n").toLowerCase());
  const wanted = at("text").value.toLowerCase().split(/\s+/);
  return order.filter((index) => wanted.every((word) => words[index].includes(word))
    && ["app", "framework", "status"].every((key) => ["", runs[index][key]].includes(at(key).value)));
}

function show() {
  const fits = fitting();
  at("runs").tBodies[0].replaceChildren(...fits.slice(0, limit).map(rowOf));
  at("more").hidden = fits.length <= limit;
  at("more-rows").textContent = `Show all ${count(fits.length)} rows`;
  at("fitting").textContent = `${count(fits.length)} of ${count(runs.length)} match`;
}

function choose(indices) {
  chosen = indices.slice(0, MOST);
  for (const index of rows.keys()) tick(index);
  at("chosen").textContent = `${chosen.length} compared, at most ${MOST}`;
  compare();
}

function enliven() {
  headings = columns.map(([, label, isNumber], column) => make("th", { scope: "col", class: isNumber ? "number" : null },
    make("button", { type: "button", onclick: () => sortBy(column) }, label)));
  at("runs").append(make("thead", {}, make("tr", {}, ...headings)), make("tbody"));
  for (const key of ["app", "framework", "status"]) {
    const values = [...new Set(runs.map((run) => run[key]))].sort();
    at(key).append(make("option", { value: "" }, "all"), ...values.map((value) => make("option", { value }, value)));
    at(key).addEventListener("change", show);
  }
  at("text").addEventListener("input", show);
  at("choose").addEventListener("click", () => choose(fitting()));
  at("clear").addEventListener("click", () => choose([]));
  at("more-rows").addEventListener("click", () => { limit = Infinity; show(); });
  at("filters").hidden = false;
  show();
}

// Curves.

function sign(number, x, y) {
  const shapes = {
    circle: "m-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", square: "m-3.5-3.5h7v7h-7z",
    triangle: "m0-4.5l4.5 8h-9z", diamond: "m0-5l5 5l-5 5l-5-5z",
    plus: "m-1.5-4.5h3v3h3v3h-3v3h-3v-3h-3v-3h3z", down: "m0 4.5l4.5-8h-9z",
  };
  const hollow = number >= SIGNS.length ? " hollow" : "";
  const shape = shapes[SIGNS[number % SIGNS.length]];
  return make("path", { class: `sign s${number % SIGNS.length}${hollow}`, d: `M${x} ${y}${shape}` });
}

function ticks(low, high, logarithmic, wanted = 5) {
  if (logarithmic) {
    const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
    const step = Math.ceil((last - first) / 8);
    const digits = last - first > 2 ? [1] : [1, 2, 5];
    const all = [];
    for (let power = first; power <= last; power += step) all.push(...digits.map((digit) => digit * 10 ** power));
    return all.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  }
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((digit) => digit * power).find((size) => size >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, index) => (first + index) * step);
}

const tickText = (value) => value !== 0 && (Math.abs(value) >= 1e5 || Math.abs(value) < 1e-3)
  ? value.toExponential(0) : String(Number(value.toPrecision(6)));

// Series are { run, number, training, points: [[epoch, value], ...] }.
function chart(series, title, unit, width, logarithmic, bounds) {
  const height = Math.max(240, Math.min(380, width * 0.6));
  const [left, right, top, bottom] = [62, 12, 12, 46];
  const kept = series.map((one) => ({ ...one, points: one.points.filter(([, y]) => y !== null && (!logarithmic || y > 0)) }))
    .filter((one) => one.points.length);
  const label = `${title} by epoch of ${new Set(kept.map((one) => one.run.name)).size} runs`;
  const picture = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  if (!kept.length) return make("p", { class: "quiet" }, `${title}: no run has finished an epoch.`);
  const [xs, ys] = [0, 1].map((axis) => kept.flatMap((one) => one.points.map((point) => point[axis])));
  const span = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  let [[x0, x1], [y0, y1]] = [span(xs), span(ys)];
  if (x0 === x1) [x0, x1] = [x0 - 0.5, x1 + 0.5];
  if (logarithmic) [y0, y1] = [y0 / 1.15, y1 * 1.15];
  else {
    const margin = (y1 - y0) * 0.06 || Math.abs(y0) * 0.06 || 0.1;
    [y0, y1] = [Math.max(bounds[0], y0 - margin), Math.min(bounds[1], y1 + margin)];
  }
  const scale = logarithmic ? Math.log10 : (value) => value;
  const x = (value) => left + (value - x0) / (x1 - x0) * (width - left - right);
  const y = (value) => height - bottom - (scale(value) - scale(y0)) / (scale(y1) - scale(y0)) * (height - top - bottom);
  for (const value of ticks(y0, y1, logarithmic)) {
    picture.append(
      make("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }),
      make("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, tickText(value)),
    );
  }
  for (const value of ticks(x0, x1, false, Math.min(10, width / 60)).filter(Number.isInteger)) {
    picture.append(make("text", { x: x(value), y: height - bottom + 20, "text-anchor": "middle" }, String(value)));
  }
  picture.append(
    make("text", { x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, "epoch"),
    make("text", { transform: `translate(14 ${(top + height - bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, `${title} (${unit})`),
  );
  for (const { run, number, training, points } of kept) {
    const line = points.map(([epoch, value]) => `${x(epoch).toFixed(1)} ${y(value).toFixed(1)}`).join("L");
    const style = `curve s${number % SIGNS.length}${training ? " training" : ""}`;
    const group = make("g", {}, make("title", {}, `${nameOf(run)}, ${training ? "training" : "validation"}`));
    group.append(make("path", { class: style, d: `M${line}` }));
    const every = Math.ceil(points.length / 12);
    const marked = points.filter((_, index) => index % every === 0 || index === points.length - 1);
    if (!training || points.length === 1) {
      group.append(...marked.map(([epoch, value]) => sign(number, x(epoch).toFixed(1), y(value).toFixed(1))));
    }
    picture.append(group);
  }
  return picture;
}

function seriesOf(kind, scale) {
  return chosen.flatMap((index, number) => ["train", "validation"].map((part) => {
    const { history } = runs[index];
    const values = history[`${part}_${kind}`] || [];
    const points = values.map((value, row) => [history.epoch[row], value === null ? null : value * scale]);
    return { run: runs[index], number, training: part === "train", points };
  }));
}

function curves() {
  const loss = make("div"), accuracy = make("div");
  const box = make("input", { type: "checkbox", onchange: () => draw() });
  const units = [...new Set(chosen.map((index) => runs[index].lossUnit))];
  const unit = units.map((one) => (one === "nats" ? "cross-entropy, nats" : one)).join("; ");
  function draw() {
    const width = Math.max(300, loss.clientWidth || 560);
    loss.replaceChildren(chart(seriesOf("loss", 1), "loss", unit, width, box.checked, [-Infinity, Infinity]));
    accuracy.replaceChildren(chart(seriesOf("accuracy", 100), "accuracy", "%", width, false, [0, 100]));
  }
  let drawn = 0;
  new ResizeObserver(([{ contentRect }]) => {
    if (Math.abs(contentRect.width - drawn) > 1) { drawn = contentRect.width; draw(); }
  }).observe(loss);
  const legend = make("ul", { class: "legend" }, ...chosen.map((index, number) => {
    const line = make("path", { class: `curve s${number % SIGNS.length}`, d: "M0 7H34" });
    const key = make("svg", { viewBox: "0 0 34 14", "aria-hidden": "true" }, line, sign(number, 17, 7));
    const none = runs[index].history.epoch ? "" : " (no epoch finished)";
    return make("li", {}, key, `${nameOf(runs[index])}${none}`);
  }));
  return section("Curves", legend,
    make("p", { class: "quiet" }, "Solid with markers: validation. Dashed: training, while it learns. ",
      make("label", {}, box, " logarithmic loss")),
    make("div", { class: "charts" }, loss, accuracy), numbers());
}

function numbers() {
  const names = ["epoch", "train_loss", "validation_loss", "train_accuracy", "validation_accuracy", "seconds"];
  const lines = chosen.flatMap((index) => (runs[index].history.epoch || []).map((_, row) => make("tr", {},
    make("th", { scope: "row" }, runs[index].name),
    ...names.map((name) => make("td", { class: "number" }, String(runs[index].history[name]?.[row] ?? ""))))));
  const head = make("tr", {}, ...["run", ...names].map((name) => make("th", { scope: "col" }, name.replace("_", " "))));
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines));
  return make("details", {}, make("summary", {}, "The numbers"), make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Numbers by epoch" }, table));
}

// Configurations, and each run by itself.

function configurations() {
  const all = chosen.map((index) => ({ ...runs[index].config, ...runs[index].facts }));
  const keys = [...new Set(all.flatMap(Object.keys))];
  const differing = keys.filter((key) => new Set(all.map((one) => one[key])).size > 1);
  const line = (key, differs) => make("tr", { class: differs ? "differs" : null },
    make("th", { scope: "row" }, differs ? make("span", { "aria-hidden": "true" }, "\u2260 ") : "", key,
      differs ? make("span", { class: "hidden" }, " differs") : ""),
    ...all.map((one) => make("td", {}, one[key] ?? "\u2013")));
  const alike = keys.filter((key) => !differing.includes(key)).map((key) => line(key, false));
  const box = make("input", { type: "checkbox", onchange: () => hide() });
  const hide = () => alike.forEach((row) => { row.hidden = box.checked; });
  box.checked = differing.length > 0;
  hide();
  const lines = [...differing.map((key) => line(key, true)), ...alike];
  const head = make("tr", {}, ...["key", ...chosen.map((index) => nameOf(runs[index]))].map((name) => make("th", { scope: "col" }, name)));
  const table = make("table", {}, make("thead", {}, head), make("tbody", {}, ...lines));
  const said = make("p", { class: "quiet" }, `${differing.length} of ${keys.length} keys differ, marked \u2260. `,
    make("label", {}, box, " only these"));
  return section("Configurations", chosen.length > 1 ? said : "",
    make("div", { class: "scroll", id: "configs", tabindex: "0", role: "region", "aria-label": "Configurations side by side" }, table));
}

function picture({ name, path, address }) {
  const missing = `${path} was not found. Run make report again; a page written with ARGS=--embed can be moved.`;
  const shown = make("figure", {}, make("img", {
    src: address, alt: name.replace(/\.png$/, ""), loading: "lazy", decoding: "async",
    onerror: () => shown.replaceChildren(make("p", { class: "warn" }, missing)),
  }), make("figcaption", {}, name));
  return shown;
}

function copied(button, text) {
  navigator.clipboard.writeText(text).then(() => { button.textContent = "Copied"; },
    () => { button.textContent = "Select it and copy"; });
}

function alone(index, number) {
  const run = runs[index];
  const parts = [make("p", {}, `${run.status}${run.error ? `: ${run.error}` : ""}. Folder: ${run.path}`)];
  if (run.problem) parts.push(make("p", { class: "warn" }, run.problem));
  if (run.command) {
    const button = make("button", { type: "button", onclick: () => copied(button, run.command) }, "Copy");
    parts.push(make("h3", {}, "Command that repeats it"), make("div", { class: "command" }, make("code", {}, run.command), button));
  }
  const place = make("div", { class: "pictures" });
  const entry = make("details", { class: "run" }, make("summary", {}, nameOf(run)), ...parts, place);
  entry.addEventListener("toggle", () => { // pictures are loaded when they are looked at
    if (entry.open && !place.hasChildNodes()) place.append(...run.pictures.map(picture));
  });
  entry.open = number < 2;
  return entry;
}

function section(title, ...content) {
  return make("section", { "aria-label": title }, make("h2", {}, title), ...content);
}

function compare() {
  const nothing = make("p", { class: "quiet" }, "Select runs in the table to compare them.");
  at("compared").replaceChildren(...(chosen.length === 0 ? [nothing]
    : [curves(), configurations(), section("Runs", ...chosen.map(alone))]));
}

enliven();
const drawable = order.filter((index) => runs[index].history.epoch);
const complete = drawable.filter((index) => !runs[index].debug);
const newest = complete.length ? complete : drawable;
choose(newest.filter((index) => runs[index].app === runs[newest[0]].app).slice(0, 3));
document.documentElement.dataset.ready = performance.now().toFixed(0); // for the test of its speed
