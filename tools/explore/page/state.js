// What the user has chosen. The fragment of the address keeps it, so that a link leads to the same moment.

export class State {
  // Takes the choices with their default values: numbers or texts.
  constructor(defaults) {
    this.defaults = defaults;
    this.values = { ...defaults };
    this.listeners = [];
    this.read();
    addEventListener("hashchange", () => {
      if (location.hash.slice(1) === this.fragment()) return;
      this.read();
      this.notify(Object.keys(this.defaults));
    });
  }

  get(key) {
    return this.values[key];
  }

  set(changes) {
    const changed = Object.keys(changes).filter((key) => this.values[key] !== changes[key]);
    if (!changed.length) return;
    Object.assign(this.values, changes);
    this.notify(changed);
    this.write();
  }

  // Calls f with the names of the choices whenever some of them change.
  onChange(f) {
    this.listeners.push(f);
  }

  notify(changed) {
    for (const listener of this.listeners) listener(changed);
  }

  // Returns the choices that differ from their default values.
  fragment() {
    const different = Object.entries(this.values).filter(([key, value]) => value !== this.defaults[key]);
    return different.map(([key, value]) => `${key}=${encodeURIComponent(value)}`).join("&");
  }

  // A value that is not of the kind of the default value is ignored.
  read() {
    this.values = { ...this.defaults };
    for (const [key, text] of new URLSearchParams(location.hash.slice(1))) {
      if (!Object.hasOwn(this.defaults, key)) continue;
      const normal = this.defaults[key];
      if (typeof normal === "string") this.values[key] = text;
      else if (Number.isInteger(normal) ? Number.isInteger(Number(text)) : Number(text) >= 0) {
        this.values[key] = Number(text);
      }
    }
  }

  // Browsers limit how often an address may change, and drawing changes the state with every movement.
  write() {
    this.writing ??= setTimeout(() => {
      this.writing = null;
      history.replaceState(null, "", `#${this.fragment()}`);
    }, 300);
  }
}
