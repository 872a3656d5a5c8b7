// What the feed has said of the cluster, and what follows from it: states, rates, percentiles.
// Nothing here touches the page. Times are milliseconds of one monotonic clock (`performance.now()`).

export const SILENT_MS = 840; // Two snapshots missed: drawn soon after, a node that was killed shows within a second.
const RATE_MS = 2000;
const LATENCY_MS = 5000;
const KEEP_MS = LATENCY_MS + 1500;
const GONE_MS = 60_000; // For so long a node that left can still be seen.
const MAX_NODES = 512;

/** What states are called on the page. */
export const STATES = {
  ready: "ready",
  unready: "not ready",
  draining: "draining",
  deaf: "deaf",
  silent: "silent",
  gone: "gone",
  unknown: "unknown",
};

/** Counters of a snapshot. */
export const pushes = (data) => Object.values(data.pushes?.by_route ?? {}).reduce((all, one) => all + one, 0);
export const fallbacks = (data) => data.fallbacks ?? 0;

/** One node, as its snapshots and the registry's list show it. */
class Seen {
  constructor(id, now) {
    this.id = id;
    this.since = now;
    this.heard = null;
    this.listed = null;
    this.data = {};
    this.snapshots = [];
    this.goneAt = null;
  }

  take(data, now) {
    this.heard = now;
    this.data = data;
    this.goneAt = null;
    this.snapshots.push({ at: now, data });
    while (this.snapshots.length > 2 && this.snapshots[1].at < now - KEEP_MS) this.snapshots.shift();
  }

  /** The snapshots at both ends of the last `span`, or null where less than two were heard. */
  ends(span) {
    const last = this.snapshots.at(-1);
    const first = this.snapshots.find((one) => one.at >= (last?.at ?? 0) - span);
    return first === undefined || first === last ? null : { first, last, seconds: (last.at - first.at) / 1000 };
  }

  /** How much a counter grew in a second. */
  rate(read) {
    const ends = this.ends(RATE_MS);
    return ends === null ? null : Math.max(0, (read(ends.last.data) - read(ends.first.data)) / ends.seconds);
  }

  get connections() {
    return this.data.connections ?? this.listed?.connections ?? 0;
  }

  get name() {
    return this.data.name ?? this.listed?.name ?? this.id;
  }
}

/** The cluster, as far as this page has heard of it. */
export class Cluster {
  constructor() {
    this.nodes = new Map();
    this.backends = { registry: null, broker: null };
    this.heard = null;
    this.open = false;
  }

  takeNode(data, now) {
    this.heard = now;
    this.#node(data.node, now)?.take(data, now);
  }

  takeCluster(data, now) {
    this.heard = now;
    this.backends = { registry: data.registry, broker: data.broker };
    // A registry that is away lists nobody; that says nothing of the nodes.
    if (data.registry !== "up" || !Array.isArray(data.nodes)) return;
    for (const listed of data.nodes) {
      const node = this.#node(listed.node, now);
      if (node) node.listed = listed;
    }
    const ids = new Set(data.nodes.map((listed) => listed.node));
    for (const node of this.nodes.values()) if (!ids.has(node.id)) node.listed = null;
  }

  #node(id, now) {
    if (!this.nodes.has(id)) {
      if (this.nodes.size >= MAX_NODES) return null;
      this.nodes.set(id, new Seen(id, now));
    }
    return this.nodes.get(id);
  }

  /** Whether the feed can be believed now: where it is quiet itself, no node is called silent. */
  isLive(now) {
    return this.open && this.heard !== null && now - this.heard < SILENT_MS;
  }

  /** ready, unready, draining or deaf as it says itself; silent, gone, or unknown while the feed is away. */
  state(node, now) {
    if (!this.isLive(now)) return node.goneAt === null ? "unknown" : "gone";
    if (now - (node.heard ?? node.since) < SILENT_MS) {
      if (node.heard === null) return "unknown";
      return node.data.state === "ready" && node.data.ready === false ? "unready" : node.data.state;
    }
    return node.listed === null && this.backends.registry === "up" ? "gone" : "silent";
  }

  /** Note who is gone, and forget who has been for long. */
  tick(now) {
    for (const node of this.nodes.values()) {
      if (this.state(node, now) === "gone") node.goneAt ??= now;
      if (node.goneAt !== null && now - node.goneAt > GONE_MS) this.nodes.delete(node.id);
    }
  }

  /** The nodes that are heard. */
  alive(now) {
    return [...this.nodes.values()].filter((node) => node.heard !== null && now - node.heard < SILENT_MS);
  }

  sum(now, read) {
    return this.alive(now).reduce((sum, node) => sum + (read(node) ?? 0), 0);
  }

  /** Pushes in a second, by `by_route` or `by_outcome`. */
  rates(now, by) {
    const sums = {};
    for (const node of this.alive(now)) {
      for (const word of Object.keys(node.data.pushes?.[by] ?? {})) {
        sums[word] = (sums[word] ?? 0) + (node.rate((data) => data.pushes?.[by]?.[word] ?? 0) ?? 0);
      }
    }
    return sums;
  }

  /** The latency that a share of the last seconds' pushes had at most, in ms; null where there were none. */
  percentile(now, share) {
    let bounds = null;
    const grown = [];
    for (const node of this.alive(now)) {
      const ends = node.ends(LATENCY_MS);
      const last = ends?.last.data.latency;
      if (!last) continue;
      bounds ??= last.bounds_ms;
      const first = ends.first.data.latency?.counts ?? [];
      last.counts.forEach((count, n) => (grown[n] = (grown[n] ?? 0) + count - (first[n] ?? 0)));
    }
    return bounds === null ? null : percentile(bounds, grown, share);
  }
}

/**
 * Estimate a percentile from a histogram, evenly within a bucket.
 * `upto[n]` is how many were not larger than `bounds[n]`; one more at the end counts all.
 */
export function percentile(bounds, upto, share) {
  const all = upto.at(-1) ?? 0;
  if (all <= 0) return null;
  const wanted = all * share;
  const n = upto.findIndex((count) => count >= wanted);
  if (n >= bounds.length) return bounds.at(-1);
  const below = n === 0 ? 0 : upto[n - 1];
  const low = n === 0 ? 0 : bounds[n - 1];
  return low + ((bounds[n] - low) * (wanted - below)) / (upto[n] - below);
}
