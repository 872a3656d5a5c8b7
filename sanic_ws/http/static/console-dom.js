// Elements, made without a line of HTML: data of the cluster becomes text, never markup.

const SVG = "http://www.w3.org/2000/svg";

export function id(name) {
  return document.getElementById(name);
}

/** Make an element; `attributes` whose value is null or false are left out, `on…` are listeners. */
export function element(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === false || value === undefined) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Write text only where it changed, so that selections and screen readers are left in peace. */
export function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

export function setData(target, key, value) {
  if (target.dataset[key] !== value) target.dataset[key] = value;
}

/** Ask before something is done that cannot be undone; resolves to whether it may be. */
export function ask(title, text, yes) {
  const dialog = id("ask");
  write(id("ask-title"), title);
  write(id("ask-text"), text);
  write(id("ask-yes"), yes);
  return new Promise((resolve) => {
    const done = new AbortController();
    const { signal } = done;
    let agreed = false;
    id("ask-yes").addEventListener(
      "click",
      () => {
        agreed = true;
        dialog.close();
      },
      { signal },
    );
    id("ask-no").addEventListener("click", () => dialog.close(), { signal });
    dialog.addEventListener(
      "close",
      () => {
        done.abort();
        resolve(agreed);
      },
      { signal },
    );
    dialog.showModal();
  });
}

/** Say things to screen readers, at most one sentence of several in a second. */
export const announce = (() => {
  let waiting = [];
  let timer = null;
  return (text) => {
    if (!waiting.includes(text)) waiting.push(text);
    timer ??= setTimeout(() => {
      id("announcer").textContent =
        waiting.length > 4 ? `${waiting.slice(0, 4).join(". ")}, and more` : waiting.join(". ");
      waiting = [];
      timer = null;
    }, 1000);
  };
})();
