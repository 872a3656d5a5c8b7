// The way of one push through the cluster, drawn as a sequence: stations across, time downwards.
// Only what was measured is drawn; a line without a time of its own is faint.

import { element, svg } from "./console-dom.js";
import { ms } from "./console-text.js";

const LANES = ["Publisher", "Registry", "Broker", "Node", "Client"];
const [PUBLISHER, REGISTRY, BROKER, NODE, CLIENT] = LANES.keys();
const HEAD = 34;
const ROW = 40;
const MAX_NAME = 12;
const EMPTY_ROWS = 4;
const MAX_STEPS = 30; // More than that no one reads; a push to many may have hundreds.

const ANSWER = [
  [BROKER, NODE, "faint"],
  [NODE, PUBLISHER, "fallback"],
];

/**
 * What each kind of step draws: `[from, to, kind]`. Every time is the publisher's: that of a line that comes back to
 * it is when it arrived, so what a node wrote is seen when its answer is heard, and the lines before are faint.
 */
const LINES = {
  stored: [[PUBLISHER, REGISTRY, ""]],
  looked_up: [
    [PUBLISHER, REGISTRY, "faint"],
    [REGISTRY, PUBLISHER, ""],
  ],
  registry_away: [[PUBLISHER, REGISTRY, "bad"]],
  sent: [[PUBLISHER, BROKER, ""]],
  fallback: [[PUBLISHER, BROKER, "fallback"]],
  confirmed: [[BROKER, PUBLISHER, ""]],
  returned: [[BROKER, PUBLISHER, "fallback"]],
  failed: [[BROKER, PUBLISHER, "bad"]],
  written: [
    [BROKER, CLIENT, "faint"],
    [NODE, PUBLISHER, ""],
  ],
  waits: ANSWER,
  overloaded: ANSWER,
  not_here: ANSWER,
  expired: ANSWER,
  left_out: ANSWER,
  acked: [
    [CLIENT, NODE, "faint"],
    [NODE, PUBLISHER, ""],
  ],
  replied: [
    [CLIENT, NODE, "faint"],
    [NODE, PUBLISHER, ""],
  ],
};
const HERE = {
  written: [[PUBLISHER, CLIENT, ""]],
  acked: [[CLIENT, PUBLISHER, ""]],
  replied: [[CLIENT, PUBLISHER, ""]],
};

/** What another node has said. */
const ANSWERS = new Set(["written", "waits", "overloaded", "not_here", "expired", "left_out"]);

const WORDS = {
  stored: "in the mailbox",
  looked_up: "looked up",
  registry_away: "registry away",
  returned: "no queue",
  waits: "client is slow",
  not_here: "not here",
  left_out: "left out",
};

/**
 * Draw the steps into a box; each is `{at_ms, what, where, to?}`, the first where it was made.
 * `names` stand at the stations, `nameOf` gives those of nodes.
 */
export function drawWay(box, steps, names = [], nameOf = String) {
  const shown = steps.slice(0, MAX_STEPS);
  const drawing = svg("svg", {
    role: "img",
    class: "drawing",
    "aria-label":
      steps.length > 0 ? "The way of the push; the list after it says the same" : "The stations of a push",
  });
  const draw = () => {
    const width = box.clientWidth;
    if (width > 0) drawing.replaceChildren(...parts(width, shown, names, nameOf));
    if (width > 0) resize(drawing, width, HEAD + rows(shown) * ROW + 6);
  };
  const list = element("ol", { class: "unseen" }, ...shown.map((step) => element("li", {}, told(step, nameOf))));
  const more = steps.length - shown.length;
  box.replaceChildren(drawing, list, more > 0 ? element("p", { class: "empty" }, `And ${more} more steps.`) : "");
  const observer = new ResizeObserver(draw);
  observer.observe(box);
  draw();
  return () => observer.disconnect();
}

/** Before there is a push, the stations are shown alone. */
function rows(steps) {
  return steps.length || EMPTY_ROWS;
}

function resize(drawing, width, height) {
  drawing.setAttribute("width", width);
  drawing.setAttribute("height", height);
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
}

function told({ at_ms: at, what, where, to }, nameOf) {
  return `${ms(at)}: ${words(what)}, ${nameOf(where)}${to ? ` → ${nameOf(to)}` : ""}`;
}

function words(what) {
  return WORDS[what] ?? String(what).replaceAll("_", " ");
}

function parts(width, steps, names, nameOf) {
  const narrow = width < 420;
  const [left, right] = narrow ? [76, 18] : [136, 38];
  const x = (lane) => left + (lane * (width - left - right)) / (LANES.length - 1);
  const bottom = HEAD + rows(steps) * ROW;
  const made = LANES.flatMap((name, lane) => [
    svg("text", { class: narrow ? "lane narrow" : "lane", x: x(lane), y: narrow && lane % 2 ? 24 : 12 }, name),
    narrow ? null : svg("text", { class: "at", x: x(lane), y: 25 }, short(names[lane] ?? "")),
    svg("line", { class: "life", x1: x(lane), x2: x(lane), y1: HEAD, y2: bottom }),
  ]).filter(Boolean);
  steps.forEach((step, n) => {
    const whose = narrow || step.where === steps[0].where || !ANSWERS.has(step.what) ? "" : short(nameOf(step.where));
    made.push(...row(step, steps[0].where, whose, HEAD + n * ROW + ROW / 2, x));
  });
  return made;
}

function row({ at_ms: at, what, where, to }, here, whose, y, x) {
  const isHere = (what === "written" ? where : to) === here;
  const lines = (isHere && HERE[what]) || LINES[what] || [];
  const made = [
    svg("text", { class: "time", x: 0, y: y - 1 }, ms(at)),
    svg("text", { class: "what", x: 0, y: y + 12 }, [words(what), whose].filter(Boolean).join(" · ")),
  ];
  const first = y - (lines.length - 1) * 4;
  lines.forEach(([start, end, kind], n) => made.push(...arrow(x(start), x(end), first + n * 9, kind)));
  if (lines.length === 0) made.push(svg("circle", { class: "mark", cx: x(PUBLISHER), cy: y, r: 4.5 }));
  return made;
}

function arrow(from, to, y, kind) {
  const way = Math.sign(to - from);
  const tip = to - way * 1.5;
  const head = `${tip},${y} ${tip - way * 7},${y - 3.5} ${tip - way * 7},${y + 3.5}`;
  return [
    svg("line", { class: `arrow ${kind}`, x1: from, x2: tip - way * 5, y1: y, y2: y }),
    svg("polygon", { class: `head ${kind}`, points: head }),
    svg("circle", { class: `foot ${kind}`, cx: from, cy: y, r: 2.5 }),
  ];
}

/** As much of a name as a lane has room for. */
function short(name) {
  return name.length > MAX_NAME ? `${name.slice(0, MAX_NAME - 1)}…` : name;
}
