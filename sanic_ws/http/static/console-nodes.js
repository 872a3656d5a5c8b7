// The cluster's figures and the table of its nodes; a node is drained from here.

import { call } from "./console-api.js";
import { announce, ask, element, id, setData, write } from "./console-dom.js";
import { NONE, ago, bytes, count, duration, ms, percent, plural, rate } from "./console-text.js";

const STATES = {
  ready: "ready", unready: "not ready", draining: "draining", deaf: "deaf",
  silent: "silent", gone: "gone", unknown: "unknown",
};
const TOLD = new Set(["unready", "draining", "deaf", "silent", "gone"]);
const ORDER = ["Connections", "Pushes/s", "Batches in/s", "Fallbacks/s", "CPU", "Memory"];

/** Show the figures of the whole cluster. */
export function showFigures(cluster, now) {
  const live = cluster.isLive(now);
  const states = [...cluster.nodes.values()].map((node) => cluster.state(node, now)).filter((state) => state !== "gone");
  const figure = (name, text, note) => {
    write(id(`f-${name}`), text);
    if (note !== undefined) write(id(`f-${name}-note`), note);
  };
  const sum = (read) => cluster.sum(now, read);
  const routes = cluster.rates(now, "by_route");
  const pushes = Object.values(routes).reduce((all, one) => all + one, 0);
  figure("nodes", live ? count(states.length) : NONE, live ? summary(states) : "");
  figure("connections", live ? count(sum((node) => node.data.connections)) : NONE, users(cluster, now));
  figure("pushes", live ? rate(pushes) : NONE, "made through nodes");
  figure("fallbacks", live ? rate(sum((node) => node.rate(fallbacks))) : NONE, "all nodes asked");
  figure("p50", live ? ms(cluster.percentile(now, 0.5)) : NONE);
  figure("p99", live ? ms(cluster.percentile(now, 0.99)) : NONE);
  backend("registry", live ? cluster.backends.registry : null);
  backend("broker", live && cluster.alive(now).some((node) => node.data.broker?.blocked) ? "blocked" : live ? cluster.backends.broker : null);
  setData(id("f-nodes").parentElement, "tone", states.some((state) => state !== "ready") && live ? "warn" : "");
}

function fallbacks(data) {
  return data.fallbacks ?? 0;
}

function summary(states) {
  const numbers = {};
  for (const state of states) numbers[state] = (numbers[state] ?? 0) + 1;
  const names = Object.keys(numbers);
  if (names.length === 0) return "";
  if (names.length === 1) return states.length === 1 ? STATES[names[0]] : `all ${STATES[names[0]]}`;
  return Object.entries(numbers).filter(([state]) => state !== "ready").map(([state, number]) => `${number} ${STATES[state]}`).join(", ");
}

function users(cluster, now) {
  const alive = cluster.alive(now).filter((node) => Number.isFinite(node.data.users));
  return alive.length === 0 ? "open now" : `${count(alive.reduce((all, node) => all + node.data.users, 0))} with a user`;
}

function backend(name, state) {
  const target = id(`f-${name}`);
  write(target, state ?? NONE);
  setData(target.parentElement, "tone", state === "up" ? "good" : state === null ? "" : "bad");
}

/** The rows of the table, one a node; kept from draw to draw so that focus stays where it is. */
export class NodeTable {
  constructor(cluster) {
    this.cluster = cluster;
    this.rows = new Map();
  }

  show(now) {
    const nodes = [...this.cluster.nodes.values()].sort((a, b) => a.name.localeCompare(b.name, "en", { numeric: true }) || a.since - b.since);
    const most = Math.max(1, ...nodes.map((node) => node.data.connections ?? 0));
    for (const [known, row] of this.rows) if (!this.cluster.nodes.has(known)) (row.root.remove(), this.rows.delete(known));
    nodes.forEach((node, place) => {
      const row = this.rows.get(node.id) ?? this.#row(node);
      const body = id("node-rows");
      if (body.children[place] !== row.root) body.insertBefore(row.root, body.children[place] ?? null);
      this.#fill(row, node, this.cluster.state(node, now), most, now);
    });
    id("no-nodes").hidden = nodes.length > 0;
  }

  #row(node) {
    const cell = (label, kind, ...children) => element("td", { role: "cell", "data-label": label, class: kind }, ...children);
    const row = { state: element("span"), since: element("small"), name: element("b"), share: element("i", { "aria-hidden": "true" }), cells: {}, told: null };
    row.mark = element("td", { role: "cell", class: "state" }, element("i", { "aria-hidden": "true" }), row.state, row.since);
    row.self = element("small", { class: "self", hidden: true }, "this page's");
    for (const label of ORDER) row.cells[label] = cell(label, "number", element("span"));
    row.cells.Connections.append(row.share);
    row.version = cell("Version", "dim");
    row.up = cell("Up for", "dim");
    row.drain = element("button", { type: "button", class: "small", onclick: () => drain(node, row) }, "Drain");
    row.root = element("tr", { role: "row" }, row.mark,
      element("td", { role: "rowheader", class: "name" }, row.name, row.self, element("code", {}, node.id)),
      ...ORDER.map((label) => row.cells[label]), row.version, row.up,
      element("td", { role: "cell", class: "act" }, row.drain));
    this.rows.set(node.id, row);
    return row;
  }

  #fill(row, node, state, most, now) {
    const { data } = node;
    const heard = !["silent", "gone", "unknown"].includes(state);
    const figure = (label, text) => write(row.cells[label].firstChild, text);
    setData(row.root, "state", state);
    write(row.state, STATES[state] ?? state);
    write(row.since, since(node, state, now));
    write(row.name, node.name);
    row.self.hidden = node.listed?.self !== true;
    figure("Connections", count(data.connections ?? node.listed?.connections));
    row.share.style.width = `${(100 * (data.connections ?? 0)) / most}%`;
    figure("Pushes/s", heard ? rate(node.rate(pushes)) : NONE);
    figure("Batches in/s", heard ? rate(node.rate((one) => one.batches ?? 0)) : NONE);
    figure("Fallbacks/s", heard ? rate(node.rate(fallbacks)) : NONE);
    figure("CPU", heard ? percent(node.rate((one) => one.process?.cpu_s ?? NaN)) : NONE);
    figure("Memory", bytes(data.process?.memory_bytes));
    write(row.version, data.version ?? node.listed?.version ?? NONE);
    write(row.up, heard ? ago(data.started) : NONE);
    row.drain.setAttribute("aria-label", `Drain ${node.name}`);
    row.drain.disabled = state === "gone" || state === "draining";
    if (row.told !== null && row.told !== state && (TOLD.has(state) || TOLD.has(row.told))) announce(`${node.name} is ${STATES[state] ?? state}`);
    if (state !== "unknown" || row.told === null) row.told = state;
  }
}

function pushes(data) {
  return Object.values(data.pushes?.by_route ?? {}).reduce((all, one) => all + one, 0);
}

function since(node, state, now) {
  if (state === "gone") return `${duration((now - node.goneAt) / 1000)} ago`;
  return state === "silent" ? `for ${duration((now - (node.heard ?? node.since)) / 1000)}` : "";
}

async function drain(node, row) {
  const held = plural(node.data.connections ?? node.listed?.connections ?? 0, "connection");
  const text = `Its ${held} are told to come back to other nodes. Then the process ends, or is started anew where something looks after it.`;
  if (!(await ask(`Drain ${node.name}?`, text, "Drain"))) return;
  row.drain.disabled = true;
  try {
    await call("POST", `/api/v1/nodes/${encodeURIComponent(node.id)}/drain`);
    announce(`${node.name} was told to leave`);
    row.problem?.remove();
  } catch (error) {
    row.drain.disabled = false;
    row.problem?.remove();
    row.problem = element("small", { class: "error", role: "alert" }, error.message);
    row.drain.after(row.problem);
  }
}
