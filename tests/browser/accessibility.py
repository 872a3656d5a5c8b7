"""Scripts that say what on a page some people cannot use; each returns a list, empty where all is well."""

NAMELESS = """() => {
  const named = (one) => one.labels?.length || one.getAttribute("aria-label")
    || one.getAttribute("aria-labelledby") || (one.matches("button, a, summary") && one.textContent.trim());
  const kinds = "button, a, summary, input, select, textarea, svg[role=img], dialog, table";
  return [...document.querySelectorAll(kinds)]
    .filter((one) => one.checkVisibility() && !named(one)).map((one) => one.outerHTML.slice(0, 120));
}"""
REFERENCES = """() => {
  const wrong = [];
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) wrong.push(`twice: ${id}`);
  for (const name of ["for", "aria-labelledby", "aria-describedby", "aria-errormessage"]) {
    for (const one of document.querySelectorAll(`[${name}]`)) {
      for (const id of one.getAttribute(name).split(" ")) {
        if (!document.getElementById(id)) wrong.push(`${name}: ${id}`);
      }
    }
  }
  return wrong;
}"""
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const probe = document.body.appendChild(document.createElement("i"));
  const light = (name) => {
    probe.style.color = `var(--${name})`;
    canvas.fillStyle = getComputedStyle(probe).color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((one) => one / 255).map(
      (one) => (one <= 0.03928 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const low = [];
  const check = (text, ground, least) => {
    const found = ratio(text, ground);
    if (found < least) low.push(`${text} on ${ground}: ${found.toFixed(2)}`);
  };
  for (const text of ["text", "dim", "accent", "good", "warn", "bad"]) {
    for (const ground of ["page", "sheet", "sunk"]) check(text, ground, 4.5);
  }
  check("on-accent", "accent", 4.5);
  check("page", "bad", 4.5);
  for (const shape of ["local", "direct", "fallback", "plain", "firm"]) check(shape, "sheet", 3);
  probe.remove();
  return low;
}"""

SMALL = """() => [...document.querySelectorAll("button, select, input:not([type=radio]), summary")]
  .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 24)
  .map((one) => one.outerHTML)"""
