// Elements of the page.

const SVG = "http://www.w3.org/2000/svg";

// Returns an HTML element. Attributes that begin with "on" are listeners; null leaves an attribute out.
export function make(name, attributes = {}, ...children) {
  return furnish(document.createElement(name), attributes, children);
}

// Returns an SVG element.
export function makeSvg(name, attributes = {}, ...children) {
  return furnish(document.createElementNS(SVG, name), attributes, children);
}

function furnish(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

// Replaces what an element holds. If the keyboard's focus was inside, `heading` gets it, or it would be lost.
export function refill(element, content, heading) {
  const hadFocus = element.contains(document.activeElement);
  element.replaceChildren(...content);
  if (hadFocus) heading.focus({ preventScroll: true });
}

// Returns a section with a heading.
export function panel(title, attributes, ...children) {
  return make("section", { "aria-label": title, ...attributes }, make("h2", {}, title), ...children);
}

export function button(text, onclick, attributes = {}) {
  return make("button", { type: "button", onclick, ...attributes }, text);
}

// Returns radio buttons for [value, text] pairs in a group with a label.
export function radioGroup(label, name, choices, onchange) {
  const buttons = choices.map(([value, text]) => {
    const input = make("input", { type: "radio", name, value, onchange: () => onchange(value) });
    return make("label", {}, input, ` ${text}`);
  });
  const group = make("fieldset", { class: "choice" }, make("legend", {}, label), ...buttons);
  group.choose = (value) => {
    for (const input of group.querySelectorAll("input")) input.checked = input.value === String(value);
  };
  return group;
}

// Returns a list to choose one of [value, text] pairs from, with a label.
export function selectField(label, choices, onchange) {
  const options = choices.map(([value, text]) => make("option", { value }, text));
  const select = make("select", { onchange: () => onchange(select.value) }, ...options);
  const field = make("label", { class: "field" }, `${label} `, select);
  field.select = select;
  return field;
}
