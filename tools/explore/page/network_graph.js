// A small network as a graph: a line for each weight. Its width is the size of the weight (or of its gradient),
// negative ones are dashed.

import { make, makeSvg } from "./elements.js";
import { largestMagnitude, numberText, signedText } from "./numbers.js";

const COLUMN = 130;
const ROW = 56;

export class NetworkGraph {
  constructor(session, choose, announce) {
    Object.assign(this, { session, choose, announce });
    const { layers, names } = session.network;
    this.linear = layers.flatMap((layer, index) =>
      layer.params.weight ? [{ layer, name: names[index] }] : [],
    );
    const sizes = [this.linear[0].layer.in_features, ...this.linear.map(({ layer }) => layer.out_features)];
    this.height = (Math.max(...sizes) + 1) * ROW;
    this.width = sizes.length * COLUMN;
    this.edges = this.linear.flatMap(({ layer, name }, column) => this.edgesOf(layer, name, column, sizes));
    this.lines = makeSvg(
      "g",
      {
        tabindex: 0,
        role: "application",
        "aria-roledescription": "weights of the network",
        "aria-label": "Weights as lines. Arrow keys move from weight to weight, Enter explains.",
        onkeydown: (event) => this.press(event),
        onfocus: () => this.point(this.cursor),
        onblur: () => this.mark(),
      },
      ...this.edges.map((edge) => edge.line),
    );
    const nodes = sizes.flatMap((size, column) => this.nodesOf(size, column, sizes));
    this.svg = makeSvg("svg", { role: "group", viewBox: `0 0 ${this.width} ${this.height}` }, this.lines, ...nodes);
    this.caption = make("figcaption", { class: "quiet" });
    this.element = make("figure", { id: "graph" }, this.svg, this.caption);
    this.cursor = 0;
  }

  placeOf(column, row, size) {
    const top = (this.height - size * ROW) / 2;
    return [column * COLUMN + COLUMN / 2, top + row * ROW + ROW / 2];
  }

  // The bias of a unit is a line from above.
  edgesOf(layer, name, column, sizes) {
    const { weight, bias } = layer.params;
    const edges = [];
    weight.data.forEach((_, index) => {
      const [to, from] = [Math.floor(index / layer.in_features), index % layer.in_features];
      edges.push(
        this.edge(
          { parameter: `${name}.weight`, index },
          this.placeOf(column, from, sizes[column]),
          this.placeOf(column + 1, to, sizes[column + 1]),
        ),
      );
    });
    bias?.data.forEach((_, index) => {
      const [x, y] = this.placeOf(column + 1, index, sizes[column + 1]);
      edges.push(this.edge({ parameter: `${name}.bias`, index }, [x - 14, y - ROW / 2 + 2], [x, y]));
    });
    return edges;
  }

  edge(place, [x1, y1], [x2, y2]) {
    const line = makeSvg("line", {
      x1,
      y1,
      x2,
      y2,
      onclick: () => this.choose(place),
      onpointerenter: () => this.announce(this.textOf({ place })),
    });
    return { place, line };
  }

  nodesOf(size, column, sizes) {
    return Array.from({ length: size }, (_, row) => {
      const [cx, cy] = this.placeOf(column, row, size);
      const isOutput = column === sizes.length - 1;
      const name = column ? (isOutput ? "z" : `h${row}`) : row === 2 ? "1" : `x${row}`;
      const text = makeSvg("text", { x: cx, y: cy + 5 }, name);
      return makeSvg("g", { class: "node" }, makeSvg("circle", { cx, cy, r: 15 }), text);
    });
  }

  press(event) {
    const moves = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 };
    if (event.key === "Enter" || event.key === " ") this.choose(this.edges[this.cursor].place);
    else if (event.key === "Escape") this.choose(null);
    else if (event.key in moves)
      this.point((this.cursor + moves[event.key] + this.edges.length) % this.edges.length);
    else return;
    event.preventDefault();
  }

  point(index) {
    this.cursor = index;
    this.mark(this.edges[index]);
    this.announce(this.textOf(this.edges[index]));
  }

  mark(edge) {
    for (const one of this.edges) one.line.classList.toggle("pointed", one === edge);
  }

  textOf({ place }) {
    const gradient = this.session.gradientAt(place)?.data[place.index];
    const value = this.session.tensorAt(place).data[place.index];
    const tail = gradient === undefined ? "" : `, gradient ${signedText(gradient)}`;
    return `${this.session.textOf(place)} = ${signedText(value)}${tail}`;
  }

  render({ backward, visited, place }) {
    const { network } = this.session;
    const all = backward ? network.grads : network.params;
    const largest = Math.max(...Object.values(all).map(({ data }) => largestMagnitude(data))) || 1;
    for (const { place: own, line } of this.edges) {
      const value = all[own.parameter].data[own.index];
      const layer = this.session.layerOf(own.parameter);
      const share = Math.abs(value) / largest;
      line.setAttribute("stroke-width", Number.isFinite(share) ? (0.6 + 9 * share).toFixed(2) : 0.6);
      line.classList.toggle("negative", value < 0);
      line.classList.toggle("unvisited", backward && layer < visited);
      line.classList.toggle("chosen", place?.parameter === own.parameter && place.index === own.index);
    }
    const what = backward ? "gradient of the weight" : "weight";
    const width = `Width: size of the ${what}, at most ${numberText(largest)}`;
    this.caption.textContent = `${width}; dashed: negative. Short lines are biases.`;
    this.svg.setAttribute("aria-label", this.caption.textContent);
  }
}
