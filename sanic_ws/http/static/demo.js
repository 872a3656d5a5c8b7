// The demo: two clients in one page, on two nodes. Data are only ever put into the page as text.
import { connect } from "/static/sanic-ws.js";

const LINES = 8;
const suffix = Math.random().toString(36).slice(2, 8);
const userOf = (name) => ({ userId: `${name}-${suffix}`, fromType: "demo" });
const panes = [...document.querySelectorAll("section")].map(open);

function open(section) {
  const { user: name, socket } = section.dataset;
  const find = (selector) => section.querySelector(selector);
  const client = connect(socket, { identity: userOf(name) });
  const pane = { name, title: find("h2").textContent, client };
  client.when("state", (state) => {
    find(".state").textContent = state;
    find(".state").dataset.state = state;
    find(".node").textContent = state === "open" ? client.node : "";
  });
  client.on("said", ({ text, from }) => add(find(".heard"), "li", `${from}: ${text}`));
  find("form").addEventListener("submit", (event) => {
    event.preventDefault();
    push(pane, panes.find((other) => other !== pane), new FormData(event.target).get("text"));
  });
  return pane;
}

async function push(from, to, text) {
  const body = { to: { user: userOf(to.name) }, type: "said", data: { text, from: from.title } };
  const headers = { "Content-Type": "application/json" };
  try {
    const answer = await fetch("/api/v1/push", { method: "POST", headers, body: JSON.stringify(body) });
    show(from, to, await answer.json());
  } catch {
    show(from, to, { error: { code: "no answer" } });
  }
}

function show(from, to, { outcome, error, deliveries: [delivery = {}] = [] }) {
  const { route = "–", node = "–", latency_ms: ms } = delivery;
  const cells = [from.title, to.title, panes[0].client.node, route, node ?? "–", outcome ?? error.code, ms?.toFixed(2) ?? "–"];
  const row = document.createElement("tr");
  for (const cell of cells) add(row, "td", cell);
  row.dataset.route = route;
  keep(document.querySelector("#receipts"), row);
}

function add(parent, tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  keep(parent, element);
}

function keep(parent, element) {
  parent.append(element);
  while (parent.children.length > LINES) parent.firstElementChild.remove();
}
