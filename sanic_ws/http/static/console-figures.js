// The figures of the whole cluster, above everything else.

import { id, setData, write } from "./console-dom.js";
import { STATES, fallbacks } from "./console-model.js";
import { NONE, count, ms, rate } from "./console-text.js";

/** Show the figures of the whole cluster. */
export function showFigures(cluster, now) {
  const live = cluster.isLive(now);
  const states = [...cluster.nodes.values()]
    .map((node) => cluster.state(node, now))
    .filter((state) => state !== "gone");
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
  const isBlocked = cluster.alive(now).some((node) => node.data.broker?.blocked);
  backend("broker", live ? (isBlocked ? "blocked" : cluster.backends.broker) : null);
  setData(id("f-nodes").parentElement, "tone", states.some((state) => state !== "ready") && live ? "warn" : "");
}

function summary(states) {
  const numbers = {};
  for (const state of states) numbers[state] = (numbers[state] ?? 0) + 1;
  const names = Object.keys(numbers);
  if (names.length === 0) return "";
  if (names.length === 1) return states.length === 1 ? STATES[names[0]] : `all ${STATES[names[0]]}`;
  return Object.entries(numbers)
    .filter(([state]) => state !== "ready")
    .map(([state, number]) => `${number} ${STATES[state]}`)
    .join(", ");
}

function users(cluster, now) {
  const alive = cluster.alive(now).filter((node) => Number.isFinite(node.data.users));
  return alive.length === 0
    ? "open now"
    : `${count(alive.reduce((all, node) => all + node.data.users, 0))} with a user`;
}

function backend(name, state) {
  const target = id(`f-${name}`);
  write(target, state ?? NONE);
  setData(target.parentElement, "tone", state === "up" ? "good" : state === null ? "" : "bad");
}
