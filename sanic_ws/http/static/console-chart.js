// Charts of the last minutes, drawn by hand in SVG.

import { element, svg, write } from "./console-dom.js";

const SECONDS = 180;
const SECONDS_AT_FIRST = 60; // Until there is more than that to show.
const HEIGHT = 168;
const LEFT = 52;
const BOTTOM = 20;
const TOP = 8;

/**
 * A chart with its legend. A point is `{at, values: {name: number|null}}`; `at` in ms.
 *
 * @param box where it is drawn
 * @param legend a list that names the series and shows their values: the newest ones, or those pointed at
 * @param options `stacked`, or `log` (a logarithmic axis), `format` of values, `label` for screen readers
 */
export class Chart {
  constructor(box, legend, options) {
    this.box = box;
    this.legend = legend;
    this.options = options;
    this.points = [];
    this.series = [];
    this.seconds = SECONDS_AT_FIRST;
    this.pointed = null;
    this.root = svg("svg", { role: "img", tabindex: 0, height: HEIGHT, class: "plot" });
    box.append(this.root);
    new ResizeObserver(() => this.draw()).observe(box);
    this.root.addEventListener("pointermove", (event) => this.#point(this.#nearest(event.offsetX)));
    this.root.addEventListener("pointerleave", () => this.#point(null));
    this.root.addEventListener("blur", () => this.#point(null));
    this.root.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Draw points; `series` are the names to show, each with the class that colours it. */
  show(points, series) {
    this.points = points.slice(-SECONDS - 1);
    this.series = series;
    const known = points.length > 0 ? points.at(-1).at - points[0].at : 0;
    this.seconds = known > SECONDS_AT_FIRST * 1000 ? SECONDS : SECONDS_AT_FIRST;
    this.draw();
  }

  draw() {
    const width = this.box.clientWidth;
    if (width === 0) return;
    this.width = width;
    const scale = this.options.log ? logarithmic(this.#values()) : linear(this.#values());
    this.root.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.root.setAttribute("width", width);
    this.root.replaceChildren(
      ...this.#axes(scale),
      ...(this.options.stacked ? this.#areas(scale) : this.#lines(scale)),
      ...this.#cursor(),
    );
    this.#write();
  }

  #values() {
    return this.points.flatMap(({ values }) => {
      const shown = this.series.map(({ name }) => values[name]).filter(Number.isFinite);
      return this.options.stacked ? [shown.reduce((sum, value) => sum + value, 0)] : shown;
    });
  }

  #x(at) {
    const now = this.points.at(-1)?.at ?? 0;
    return LEFT + (this.width - LEFT - 2) * (1 - (now - at) / (this.seconds * 1000));
  }

  #axes({ ticks, y }) {
    const made = [];
    for (const tick of ticks) {
      const at = crisp(y(tick));
      made.push(svg("line", { class: "rule", x1: LEFT, x2: this.width, y1: at, y2: at }));
      made.push(svg("text", { class: "tick end", x: LEFT - 8, y: at + 3.5 }, this.options.tick(tick)));
    }
    for (const part of [3, 2, 1, 0]) {
      const before = (part * this.seconds) / 3;
      const x = LEFT + (this.width - LEFT - 2) * (1 - part / 3);
      const text = this.seconds === SECONDS ? `−${before / 60} min` : `−${before} s`;
      const kind = `tick ${["end", "middle", "middle", ""][part]}`;
      made.push(svg("text", { class: kind, x, y: HEIGHT - 4 }, part === 0 ? "now" : text));
    }
    return made;
  }

  /** Each series on those before it; a line on top only where there is something of it. */
  #areas({ y }) {
    const base = this.points.map(() => 0);
    const drawn = this.series.map(({ name, kind }) => {
      const low = base.slice();
      this.points.forEach(({ values }, n) => (base[n] += values[name] ?? 0));
      const at = (n, level) => `${this.#x(this.points[n].at).toFixed(1)},${y(level[n]).toFixed(1)}`;
      const some = runs(this.points, ({ values }) => values[name] > 0);
      // From the point before to the point after, so that a single one can be seen.
      const wide = some.map((run) => [
        Math.max(0, run[0] - 1),
        ...run,
        Math.min(this.points.length - 1, run.at(-1) + 1),
      ]);
      return wide.flatMap((run) => {
        const top = run.map((n) => at(n, base));
        const under = run.map((n) => at(n, low)).reverse();
        return [
          svg("polygon", { class: `area ${kind}`, points: [...top, ...under].join(" ") }),
          svg("polyline", { class: `line ${kind}`, points: top.join(" ") }),
        ];
      });
    });
    // The first ones last: a thin one above must not hide the line of the one below.
    return drawn.reverse().flat();
  }

  #lines({ y }) {
    return this.series.flatMap(({ name, kind }) =>
      runs(this.points, ({ values }) => Number.isFinite(values[name])).map((run) => {
        const points = run.map((n) => [this.#x(this.points[n].at), y(this.points[n].values[name])]);
        if (points.length === 1) points.unshift([points[0][0] - 2, points[0][1]]);
        return svg("polyline", {
          class: `line ${kind}`,
          points: points.map(([a, b]) => `${a.toFixed(1)},${b.toFixed(1)}`).join(" "),
        });
      }),
    );
  }

  #cursor() {
    const point = this.points[this.pointed];
    if (!point) return [];
    const x = crisp(this.#x(point.at));
    return [svg("line", { class: "cursor", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM })];
  }

  #nearest(x) {
    let best = null;
    this.points.forEach(({ at }, n) => {
      if (best === null || Math.abs(this.#x(at) - x) < Math.abs(this.#x(this.points[best].at) - x)) best = n;
    });
    return best;
  }

  #point(n) {
    if (n === this.pointed) return;
    this.pointed = n;
    this.draw();
  }

  #key(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    const last = this.points.length - 1;
    this.#point(Math.min(last, Math.max(0, (this.pointed ?? last) + step * (event.shiftKey ? 10 : 1))));
  }

  #write() {
    const last = this.points.length - 1;
    const { at, values } = this.points[this.pointed ?? last] ?? { values: {} };
    const when =
      this.pointed === null || this.pointed === last
        ? "now"
        : `${Math.round((this.points[last].at - at) / 1000)} s ago`;
    while (this.legend.children.length > this.series.length + 1) this.legend.lastChild.remove();
    while (this.legend.children.length < this.series.length + 1) {
      this.legend.append(element("li", {}, element("i", { "aria-hidden": "true" }), element("span"), element("b")));
    }
    this.series.forEach(({ name, kind }, n) => {
      const [mark, label, value] = this.legend.children[n].children;
      mark.className = kind;
      write(label, name);
      write(value, this.options.format(values[name]));
    });
    const [mark, label, value] = this.legend.lastChild.children;
    mark.className = "";
    this.legend.lastChild.className = "when";
    write(label, when);
    write(value, "");
    for (const entry of [...this.legend.children].slice(0, -1)) entry.className = "";
    const told = this.series.map(({ name }) => `${name} ${this.options.format(values[name])}`).join(", ");
    this.root.setAttribute("aria-label", `${this.options.label}, ${when}: ${told}. Arrow keys read earlier values.`);
  }
}

function crisp(value) {
  return Math.round(value) + 0.5;
}

/** The stretches of points that hold, as lists of their numbers. */
function runs(points, holds) {
  const found = [];
  let open = null;
  points.forEach((point, n) => {
    if (!holds(point)) open = null;
    else if (open) open.push(n);
    else found.push((open = [n]));
  });
  return found;
}

function linear(values) {
  const most = Math.max(1, ...values);
  const raw = most / 3;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = Math.max(
    1,
    [1, 2, 5, 10].map((factor) => factor * size).find((one) => one >= raw),
  );
  const top = Math.ceil(most / step) * step;
  const ticks = [];
  for (let tick = 0; tick <= top + step / 2; tick += step) ticks.push(tick);
  return { ticks, y: (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top) };
}

function logarithmic(values) {
  const positive = values.filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(0.1, ...positive)));
  const high = Math.max(low + 2, Math.ceil(Math.log10(Math.max(10, ...positive))));
  const ticks = [];
  for (let power = low; power <= high; power += 1) ticks.push(10 ** power);
  const place = (value) => (Math.log10(Math.max(value, 10 ** low)) - low) / (high - low);
  return { ticks, y: (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - place(value)) };
}
