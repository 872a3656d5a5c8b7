// Colours: the system's, light or dark; kept in this browser.

import { id, write } from "./console-dom.js";

const NAME = "sanic_ws.theme";
const THEMES = ["auto", "light", "dark"];

export function startTheme() {
  show(localStorage.getItem(NAME));
  id("theme").addEventListener("click", nextTheme);
}

export function nextTheme() {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length];
  localStorage.setItem(NAME, next);
  show(next);
}

function show(theme) {
  const known = THEMES.includes(theme) ? theme : "auto";
  document.documentElement.dataset.theme = known;
  write(id("theme-name"), known);
}
