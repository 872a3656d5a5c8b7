// What the charts show: the cluster's rates and latency of the last minutes, a point each second.

import { Chart } from "./console-chart.js";
import { id } from "./console-dom.js";
import { ms, rate } from "./console-text.js";

const POINTS = 200;
const ROUTES = ["local", "direct", "fallback"];
const OUTCOMES = ["delivered", "acked", "stored", "offline", "overloaded", "unavailable", "unknown"];
const PERCENTILES = ["p50", "p99"];

/** The points, and both charts of them. */
export class History {
  constructor(cluster) {
    this.cluster = cluster;
    this.points = [];
    this.rate = new Chart(id("rate-chart"), id("rate-legend"), {
      stacked: true,
      format: rate,
      tick: (value) => rate(value).replace(".0", ""),
      label: "Pushes per second",
    });
    this.latency = new Chart(id("latency-chart"), id("latency-legend"), {
      log: true,
      format: ms,
      tick: (value) => (value >= 1000 ? `${value / 1000} s` : `${value} ms`),
      label: "Latency",
    });
    for (const choice of document.querySelectorAll("input[name=by]")) {
      choice.addEventListener("change", () => this.draw());
    }
  }

  /** Add what is so now: while the feed is away nothing is known, and the charts have a gap. */
  add(now) {
    const { cluster } = this;
    const point = { at: now, route: {}, outcome: {}, latency: {} };
    if (cluster.isLive(now)) {
      point.route = { ...zeros(ROUTES), ...cluster.rates(now, "by_route") };
      point.outcome = { ...zeros(OUTCOMES), ...cluster.rates(now, "by_outcome") };
      point.latency = { p50: cluster.percentile(now, 0.5), p99: cluster.percentile(now, 0.99) };
    }
    this.points.push(point);
    if (this.points.length > POINTS) this.points.shift();
    this.draw();
  }

  draw() {
    const by = document.querySelector("input[name=by]:checked").value;
    show(this.rate, this.points, by, by === "route" ? ROUTES : this.#outcomes());
    show(this.latency, this.points, "latency", PERCENTILES);
  }

  /** Those of which there were some, and the usual one. */
  #outcomes() {
    return OUTCOMES.filter((name, n) => n === 0 || this.points.some(({ outcome }) => outcome[name] > 0));
  }
}

function zeros(names) {
  return Object.fromEntries(names.map((name) => [name, 0]));
}

function show(chart, points, key, names) {
  chart.show(
    points.map((point) => ({ at: point.at, values: point[key] })),
    names.map((name) => ({ name, kind: `k-${name}` })),
  );
}
