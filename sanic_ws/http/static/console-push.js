// The push form, the receipt, and the way that the push took.

import { RawJSON, call } from "./console-api.js";
import { announce, element, id, write } from "./console-dom.js";
import { Target, showError } from "./console-target.js";
import { NONE, count, ms } from "./console-text.js";
import { drawWay } from "./console-way.js";

const MAX_DELIVERIES = 50;
const TONES = {
  delivered: "good",
  acked: "good",
  stored: "good",
  offline: "warn",
  overloaded: "warn",
  partial: "warn",
  unavailable: "bad",
  unknown: "bad",
};

/** The form: `nodeName` gives the name of a node's id. */
export class Push {
  constructor(nodeName) {
    this.nodeName = nodeName;
    this.target = new Target("push");
    this.stopDrawing = drawWay(id("way-empty"), []);
    id("push-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.push();
    });
  }

  async push() {
    const errors = id("push-error");
    const button = id("push-form").querySelector("[type=submit]");
    showError(errors, null);
    const asked = this.#read(errors);
    if (asked === null || button.disabled) return;
    button.disabled = true;
    write(button, "Pushing …");
    try {
      const options = { timeoutMs: asked.timeout_ms + 10_000, take: [503, 504] };
      this.#show(await call("POST", "/api/v1/console/push", asked, options), asked.wait === "none");
    } catch (error) {
      showError(errors, error.message, fieldAt(error.field));
    } finally {
      button.disabled = false;
      write(button, "Push");
    }
  }

  #read(errors) {
    const wrong = (field, message) => (showError(errors, message, id(field)), null);
    if (this.target.kind !== "all" && this.target.name === "") return wrong("push-id", "Say to whom.");
    const type = id("push-type").value.trim();
    if (type === "") return wrong("push-type", "A push needs a type.");
    const timeout = Number(id("push-timeout").value);
    const isTimeout = Number.isInteger(timeout) && timeout >= 1 && timeout <= 60_000;
    if (!isTimeout) return wrong("push-timeout", "A whole number from 1 to 60000.");
    const data = id("push-data").value.trim() || "null";
    try {
      JSON.parse(data);
    } catch (error) {
      return wrong("push-data", `This is not JSON: ${error.message}`);
    }
    return {
      to: this.target.toJSON(),
      type,
      data: new RawJSON(data),
      wait: id("push-wait").value,
      offline: id("push-offline").value,
      timeout_ms: timeout,
    };
  }

  /** Show what became of a push; one that nobody waited for is `unknown`, and that is no fault. */
  #show({ receipt, steps = [] }, isUnawaited) {
    this.stopDrawing();
    const deliveries = receipt.deliveries ?? [];
    const way = element("div", { class: "drawn" });
    id("receipt").replaceChildren(
      element(
        "div",
        { class: "outcome", "data-tone": isUnawaited ? "" : (TONES[receipt.outcome] ?? "") },
        element("strong", {}, receipt.outcome),
        element("span", {}, counts(receipt)),
      ),
      steps.length > 0 ? way : element("p", { class: "empty" }, "No step of it was measured."),
      ...(deliveries.length > 0 ? [this.#table(deliveries)] : []),
      element(
        "details",
        {},
        element("summary", {}, "Receipt as JSON"),
        element("pre", { tabindex: 0 }, JSON.stringify(receipt, null, 2)),
      ),
    );
    write(id("way-total"), steps.length > 0 ? ms(steps.at(-1).at_ms) : "");
    if (steps.length > 0) {
      this.stopDrawing = drawWay(way, steps, this.#names(steps, deliveries), this.nodeName);
    }
    announce(`Receipt: ${receipt.outcome}`);
  }

  /** What stands at the stations: the node that pushed, the exchange, the owner, the connection. */
  #names(steps, deliveries) {
    const exchange = steps.findLast(({ what }) => what === "fallback" || what === "sent");
    const owners = [...new Set(deliveries.map(({ node }) => node).filter(Boolean))];
    const conns = deliveries.map(({ conn }) => conn).filter(Boolean);
    const several = (list, one) => (list.length > 1 ? `${list.length}` : list.length === 1 ? one(list[0]) : "");
    return [
      this.nodeName(steps[0].where),
      "",
      exchange ? exchange.where.split(".").at(-1) : "",
      several(owners, (node) => this.nodeName(node)),
      several(conns, (conn) => conn),
    ];
  }

  #table(deliveries) {
    const head = ["Connection", "Node", "Route", "Outcome", "Latency"].map((name, n) =>
      element("th", { scope: "col", class: n === 4 ? "number" : null }, name),
    );
    const more = deliveries.length - MAX_DELIVERIES;
    const rows = deliveries
      .slice(0, MAX_DELIVERIES)
      .map((one) =>
        element(
          "tr",
          {},
          element("td", {}, element("code", {}, one.conn ?? NONE)),
          element("td", { title: one.node }, one.node === null ? NONE : this.nodeName(one.node)),
          element("td", {}, one.route ?? NONE),
          element("td", {}, one.outcome),
          element("td", { class: "number" }, ms(one.latency_ms)),
        ),
      );
    return element(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Deliveries, to be scrolled" },
      element(
        "table",
        { class: "deliveries", "aria-label": "Deliveries" },
        element("thead", {}, element("tr", {}, ...head)),
        element("tbody", {}, ...rows),
      ),
      more > 0 ? element("p", { class: "empty" }, `And ${count(more)} more.`) : null,
    );
  }
}

function counts(receipt) {
  const entries = Object.entries(receipt.counts ?? {});
  if (entries.length === 1 && receipt.deliveries?.length === 1) return receipt.id;
  return entries.map(([outcome, number]) => `${count(number)} ${outcome}`).join(", ");
}

/** The input for a field of the API, such as `to.user.tenantId`; the first of its kind where there is none of its own. */
function fieldAt(field) {
  if (!field) return null;
  const inputs = [...id("push-form").querySelectorAll("[data-field]")];
  return (
    inputs.find((input) => input.dataset.field === field) ??
    inputs.find((input) => field.startsWith(input.dataset.field)) ??
    null
  );
}
