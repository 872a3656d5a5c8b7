// The table of the nodes; a node is drained from here.

import { call } from "./console-api.js";
import { announce, ask, element, id, setData, write } from "./console-dom.js";
import { STATES, fallbacks, pushes } from "./console-model.js";
import { NONE, ago, bytes, count, duration, percent, plural, rate } from "./console-text.js";

const FIGURES = ["Connections", "Pushes/s", "Batches in/s", "Fallbacks/s", "CPU", "Memory"];
const AWAY = new Set(["silent", "gone", "unknown"]);

/** The rows of the table, one a node; kept from draw to draw so that focus stays where it is. */
export class NodeTable {
  constructor(cluster) {
    this.cluster = cluster;
    this.rows = new Map();
  }

  show(now) {
    const nodes = [...this.cluster.nodes.values()].sort(inOrder);
    const most = Math.max(1, ...nodes.map((node) => node.connections));
    this.#forget();
    nodes.forEach((node, place) => {
      if (!this.rows.has(node.id)) this.rows.set(node.id, new Row(node));
      const row = this.rows.get(node.id);
      const body = id("node-rows");
      if (body.children[place] !== row.root) body.insertBefore(row.root, body.children[place] ?? null);
      row.show(this.cluster.state(node, now), node.connections / most, now);
    });
    id("no-nodes").hidden = nodes.length > 0;
  }

  #forget() {
    for (const [known, row] of this.rows) {
      if (this.cluster.nodes.has(known)) continue;
      row.root.remove();
      this.rows.delete(known);
    }
  }
}

function inOrder(a, b) {
  return a.name.localeCompare(b.name, "en", { numeric: true }) || a.since - b.since;
}

class Row {
  constructor(node) {
    this.node = node;
    this.told = null;
    this.ordered = false;
    this.state = element("span");
    this.since = element("small");
    this.name = element("b");
    this.self = element("small", { class: "self", hidden: true }, "this page's");
    this.share = element("i", { "aria-hidden": "true" });
    this.figures = Object.fromEntries(FIGURES.map((label) => [label, cell(label, "number", element("span"))]));
    this.figures.Connections.append(this.share);
    this.version = cell("Version", "dim");
    this.up = cell("Up for", "dim");
    this.drain = element("button", { type: "button", class: "small", onclick: () => this.#drain() }, "Drain");
    this.problem = element("small", { class: "error", role: "alert", hidden: true });
    this.root = element(
      "tr",
      { role: "row" },
      cell(null, "state", element("i", { "aria-hidden": "true" }), this.state, this.since),
      element("td", { role: "rowheader", class: "name" }, this.name, this.self, element("code", {}, node.id)),
      ...Object.values(this.figures),
      this.version,
      this.up,
      cell(null, "act", this.drain, this.problem),
    );
  }

  show(state, share, now) {
    const { node } = this;
    setData(this.root, "state", state);
    write(this.state, STATES[state] ?? state);
    write(this.since, since(node, state, now));
    write(this.name, node.name);
    this.self.hidden = node.listed?.self !== true;
    this.share.style.width = `${100 * share}%`;
    write(this.version, node.data.version ?? node.listed?.version ?? NONE);
    write(this.up, AWAY.has(state) ? NONE : ago(node.data.started));
    this.drain.setAttribute("aria-label", `Drain ${node.name}`);
    this.drain.disabled = this.ordered || state === "gone" || state === "draining";
    this.#figures(AWAY.has(state));
    this.#tell(state);
  }

  #figures(isAway) {
    const { node } = this;
    const rateOf = (read, format = rate) => (isAway ? NONE : format(node.rate(read)));
    const texts = [
      count(node.connections),
      rateOf(pushes),
      rateOf((data) => data.batches),
      rateOf(fallbacks),
      rateOf((data) => data.process?.cpu_s, percent),
      bytes(node.data.process?.memory_bytes),
    ];
    FIGURES.forEach((label, n) => write(this.figures[label].firstChild, texts[n]));
  }

  /** Say what has changed; not what is so from the beginning, nor that the feed is away. */
  #tell(state) {
    if (state === "unknown" && this.told !== null) return;
    if (this.told !== null && this.told !== "unknown" && this.told !== state) {
      announce(`${this.node.name} is ${STATES[state] ?? state}`);
    }
    this.told = state;
  }

  async #drain() {
    const { node } = this;
    const text =
      `Its ${plural(node.connections, "connection")} are told to come back to other nodes. ` +
      "Then the process ends, or is started anew where something looks after it.";
    if (!(await ask(`Drain ${node.name}?`, text, "Drain"))) return;
    this.ordered = this.drain.disabled = true;
    this.problem.hidden = true;
    try {
      await call("POST", `/api/v1/nodes/${encodeURIComponent(node.id)}/drain`);
      announce(`${node.name} was told to leave`);
    } catch (error) {
      this.ordered = false;
      this.problem.hidden = false;
      write(this.problem, error.message);
    }
  }
}

function cell(label, kind, ...children) {
  return element("td", { role: "cell", "data-label": label, class: kind }, ...children);
}

function since(node, state, now) {
  if (state === "gone") return `${duration((now - node.goneAt) / 1000)} ago`;
  return state === "silent" ? `for ${duration((now - (node.heard ?? node.since)) / 1000)}` : "";
}
