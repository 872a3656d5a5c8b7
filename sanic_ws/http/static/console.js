// The console: signs in, follows the feed over the gateway's own WebSocket, and draws what it says.

import { connect } from "./sanic-ws.js";
import { forgetKey, hasKey, signIn, ticket } from "./console-api.js";
import { announce, id, setData, write } from "./console-dom.js";
import { showFigures } from "./console-figures.js";
import { Find } from "./console-find.js";
import { History } from "./console-history.js";
import { listenForKeys } from "./console-keys.js";
import { Cluster } from "./console-model.js";
import { NodeTable } from "./console-nodes.js";
import { Push } from "./console-push.js";
import { clock } from "./console-text.js";
import { startTheme } from "./console-theme.js";

const DRAW_MS = 150;
const POINT_MS = 1000;
const FEED = {
  connecting: "connecting",
  open: "live",
  waiting: "reconnecting",
  closed: "not connected",
  quiet: "nothing heard",
};

const cluster = new Cluster();
const table = new NodeTable(cluster);
const nodeName = (node) => cluster.nodes.get(node)?.name ?? node;
const push = new Push(nodeName);
const find = new Find(nodeName, (kind, name, user) => {
  push.target.set(kind, name, user);
  id("push-type").focus();
});
const history = new History(cluster);
let client = null;
let why = {};
let timers = [];

function follow() {
  id("sign-in").hidden = true;
  id("main").hidden = false;
  id("sign-out").hidden = !hasKey();
  const address = new URL("/console/ws", location);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  client = connect(address.href, { token: freshTicket, tokenIn: "query", resume: false, backoffCapMs: 5000 });
  client.when("state", (state, about) => (why = { state, at: performance.now(), ...about }));
  client.on("node", (data) => cluster.takeNode(data, performance.now()));
  client.on("cluster", (data) => cluster.takeCluster(data, performance.now()));
  timers = [setInterval(draw, DRAW_MS), setInterval(() => history.add(performance.now()), POINT_MS)];
  draw();
  history.add(performance.now());
}

async function freshTicket() {
  try {
    return await ticket();
  } catch (error) {
    if (error.status === 401 || error.status === 403) signOut(hasKey() ? error.message : null);
    throw error;
  }
}

/** Forget the key, and ask for another one. */
function signOut(why) {
  client?.close();
  client = null;
  timers.forEach(clearInterval);
  forgetKey();
  askForKey(why);
}

function askForKey(why) {
  id("main").hidden = true;
  id("sign-out").hidden = true;
  id("sign-in").hidden = false;
  showFeed("closed", "");
  showKeyError(why);
  id("key").focus();
}

function showKeyError(why) {
  id("key-error").hidden = why === null;
  write(id("key-error"), why ?? "");
  if (why === null) id("key").removeAttribute("aria-invalid");
  else id("key").setAttribute("aria-invalid", "true");
}

async function trySignIn(event) {
  event.preventDefault();
  const key = id("key").value.trim();
  if (key === "") return showKeyError("Give a key.");
  try {
    await signIn(key);
  } catch (error) {
    showKeyError(`${error.message[0].toUpperCase()}${error.message.slice(1)}.`);
    id("key").select();
    return;
  }
  showKeyError(null);
  id("key").value = "";
  follow();
}

function draw() {
  const now = performance.now();
  cluster.open = client?.state === "open";
  cluster.tick(now);
  const quiet = cluster.open && cluster.heard !== null && !cluster.isLive(now);
  showFeed(quiet ? "quiet" : feedState(), detail(now));
  setData(document.body, "live", String(cluster.isLive(now)));
  showFigures(cluster, now);
  table.show(now);
}

/** A client that has been connected once, and is not now, reconnects: whether it waits or tries is all one. */
function feedState() {
  const state = client?.state ?? "closed";
  return state === "connecting" && cluster.heard !== null ? "waiting" : state;
}

function detail(now) {
  if (cluster.isLive(now)) return `from ${nodeName(client.node)}`;
  const told = [];
  if (client?.state === "waiting") told.push(`in ${Math.max(0, Math.ceil((why.at + why.retryMs - now) / 1000))} s`);
  if (client?.state === "closed") told.push(`${why.reason || `closed with ${why.code}`}; reload to try again`);
  if (cluster.heard !== null) told.push(`figures as of ${clock(Date.now() - (now - cluster.heard))}`);
  return told.join(", ");
}

let shown = null;
function showFeed(state, about) {
  setData(id("feed"), "state", state);
  write(id("feed-text"), [FEED[state], about].filter(Boolean).join(", "));
  const isNews = state === "waiting" || (state === "open" && shown !== "quiet");
  if (shown !== null && shown !== state && isNews) announce(`Feed: ${FEED[state]}`);
  if (state !== "connecting") shown = state;
}

/** Whether the page itself came with 401: then there is no need to try. */
function isClosed() {
  return performance.getEntriesByType("navigation")[0]?.responseStatus === 401;
}

startTheme();
listenForKeys({
  find: () => find.target.focus(),
  push: () => push.target.focus(),
  nodes: () => id("nodes-title").focus(),
});
id("sign-in-form").addEventListener("submit", trySignIn);
id("sign-out").addEventListener("click", () => {
  forgetKey();
  location.reload(); // Nothing of what was shown stays.
});
if (isClosed() && !hasKey()) askForKey(null);
else follow();
