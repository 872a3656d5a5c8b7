// Shortcuts: single keys, never while something is typed and never with a modifier.

import { id } from "./console-dom.js";
import { nextTheme } from "./console-theme.js";

const OFF = "sanic_ws.keys-off";

/** Listen; `go` holds what `find`, `push` and `nodes` do. */
export function listenForKeys(go) {
  const help = id("help");
  const keys = { "/": go.find, p: go.push, n: go.nodes, t: nextTheme, "?": () => help.showModal() };
  id("help-open").addEventListener("click", () => help.showModal());
  id("help-close").addEventListener("click", () => help.close());
  // Whoever speaks to the machine, or slips, may want none of them (WCAG 2.1.4).
  id("keys-on").checked = localStorage.getItem(OFF) === null;
  id("keys-on").addEventListener("change", ({ target }) => {
    if (target.checked) localStorage.removeItem(OFF);
    else localStorage.setItem(OFF, "1");
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=radio], [type=checkbox]), textarea, select");
    if (typing && event.key === "Escape") return typing.blur();
    if (typing && event.key === "Enter" && (event.ctrlKey || event.metaKey)) return typing.form?.requestSubmit();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (!Object.hasOwn(keys, event.key) || !id("keys-on").checked) return;
    if (id("main").hidden && !["t", "?"].includes(event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
}
