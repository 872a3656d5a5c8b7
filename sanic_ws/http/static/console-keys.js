// Shortcuts: single keys, never while something is typed and never with a modifier.

import { id } from "./console-dom.js";
import { nextTheme } from "./console-theme.js";

/** Listen; `go` holds what `find`, `push` and `nodes` do. */
export function listenForKeys(go) {
  const help = id("help");
  const keys = { "/": go.find, p: go.push, n: go.nodes, t: nextTheme, "?": () => help.showModal() };
  id("help-open").addEventListener("click", () => help.showModal());
  id("help-close").addEventListener("click", () => help.close());
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=radio]), textarea, select");
    if (typing && event.key === "Escape") return typing.blur();
    if (typing && event.key === "Enter" && (event.ctrlKey || event.metaKey)) return typing.form?.requestSubmit();
    if (typing || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    if (!Object.hasOwn(keys, event.key)) return;
    if (id("main").hidden && !["t", "?"].includes(event.key)) return;
    event.preventDefault();
    keys[event.key]();
  });
}
