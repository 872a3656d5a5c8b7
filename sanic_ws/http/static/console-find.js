// Where a connection, a user's connections or a group's are; a connection is closed from here.

import { call } from "./console-api.js";
import { announce, ask, element, id } from "./console-dom.js";
import { Target, showError } from "./console-target.js";
import { ago, clock, count, plural } from "./console-text.js";

const MAX_SHOWN = 50;

/** The search: `nodeName` gives the name of a node's id, `onPush` takes what is to be pushed to. */
export class Find {
  constructor(nodeName, onPush) {
    this.nodeName = nodeName;
    this.onPush = onPush;
    this.target = new Target("find");
    id("find-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.search();
    });
  }

  async search() {
    const { kind, name, user } = this.target;
    const errors = id("find-error");
    showError(errors, null);
    if (name === "") return showError(errors, "Say which.", id("find-id"));
    const asked = (this.asked = Symbol("search"));
    let made;
    try {
      made = await this.#ask(kind, name, user);
    } catch (error) {
      if (error.status !== 404) return asked === this.asked && showError(errors, error.message, id("find-id"));
      made = [element("p", { class: "empty" }, "No node has this connection.")];
    }
    if (asked !== this.asked) return;
    id("found").replaceChildren(...made);
    announce(id("found").querySelector("h3, .empty")?.textContent ?? "Found");
  }

  async #ask(kind, name, user) {
    if (kind === "user") return this.#user(await call("GET", `/api/v1/users?${new URLSearchParams(user)}`));
    const path = encodeURIComponent(name);
    if (kind === "group") return this.#group(await call("GET", `/api/v1/groups/${path}`));
    return this.#connections([await call("GET", `/api/v1/connections/${path}`)]);
  }

  #user({ user, connections }) {
    if (connections.length === 0) return [element("p", { class: "empty" }, "This user has no connection.")];
    const push = element(
      "button",
      { type: "button", class: "small", onclick: () => this.onPush("user", user.userId, user) },
      "Push to the user",
    );
    return [
      element("div", { class: "found-head" }, element("h3", {}, plural(connections.length, "connection")), push),
      ...this.#connections(connections),
    ];
  }

  #connections(connections) {
    const shown = connections.slice(0, MAX_SHOWN).map((one) => this.#connection(one));
    const more = connections.length - shown.length;
    return more > 0 ? [...shown, element("p", { class: "empty" }, `And ${count(more)} more.`)] : shown;
  }

  #connection({ conn, node, session, user, since }) {
    const kick = element("button", { type: "button", class: "small danger", "aria-label": `Kick ${conn}` }, "Kick");
    const push = element(
      "button",
      { type: "button", class: "small", "aria-label": `Push to ${conn}`, onclick: () => this.onPush("conn", conn) },
      "Push",
    );
    const result = element(
      "article",
      { class: "result" },
      element("h3", {}, element("code", {}, conn)),
      facts([
        ["on", element("span", { title: node }, this.nodeName(node))],
        ["since", `${clock(since)}, ${ago(since)}`],
        ["whose", user === null ? "nobody yet" : fields(user)],
        ["session", element("code", {}, session)],
      ]),
      element("div", { class: "acts" }, push, kick),
    );
    kick.addEventListener("click", () => this.#kick(conn, node, result));
    return result;
  }

  async #kick(conn, node, result) {
    const what = `${conn} on ${this.nodeName(node)} is closed with 4403`;
    if (!(await ask("Kick this connection?", `${what}; a client that keeps to the protocol stays away.`, "Kick")))
      return;
    const [push, kick] = result.querySelectorAll("button");
    push.disabled = kick.disabled = true;
    let text;
    try {
      const closed = await call("DELETE", `/api/v1/connections/${encodeURIComponent(conn)}`);
      text = `Closed on ${this.nodeName(closed.node)}.`;
      result.dataset.closed = "";
    } catch (error) {
      text = error.message;
      push.disabled = kick.disabled = false;
    }
    result.querySelector(".said")?.remove();
    result.append(element("p", { class: "said" }, text));
    announce(text);
  }

  #group({ group, connections, nodes }) {
    if (nodes.length === 0) return [element("p", { class: "empty" }, "Nobody is in this group.")];
    const title =
      connections === null ? "A number that is not known: a node does not answer" : plural(connections, "connection");
    const push = element(
      "button",
      { type: "button", class: "small", onclick: () => this.onPush("group", group) },
      "Push to the group",
    );
    return [
      element("div", { class: "found-head" }, element("h3", {}, title), push),
      facts(
        nodes.map((one) => [
          this.nodeName(one.node),
          one.connections === null ? "no answer" : count(one.connections),
        ]),
      ),
    ];
  }
}

function fields(user) {
  const known = Object.entries(user).filter(([, value]) => value !== null && value !== "");
  return known.map(([name, value]) => `${name} ${value}`).join(" · ");
}

function facts(entries) {
  return element(
    "dl",
    { class: "facts" },
    ...entries.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))),
  );
}
