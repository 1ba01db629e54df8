// What the page says beside its views: notices that are seen and read, and what only readers hear.

import { button, h, put } from "./dom.js";

const QUIET_MS = 8000;
let lastTold = -Infinity;
let waiting = null;

// For screen readers: at most once in eight seconds, the latest wins. What matters is `urgent`.
export function tell(text, urgent = false) {
  clearTimeout(waiting);
  const say = () => { lastTold = performance.now(); put(document.getElementById("told"), text); };
  const wait = urgent ? 0 : lastTold + QUIET_MS - performance.now();
  if (wait <= 0) say();
  else waiting = setTimeout(say, wait);
}

// A notice stays until it is closed, replaced by one of the same `kind`, or the view changes.
export function notice(text, kind = "problem") {
  clear(kind);
  const made = h("div", { class: `notice ${kind}`, "data-kind": kind }, h("p", {}, text),
    button("Close", () => { made.remove(); document.getElementById("main").focus(); }));
  document.getElementById("notices").append(made);
}

export function clear(kind) {
  for (const one of document.querySelectorAll(`#notices > ${kind ? `[data-kind="${kind}"]` : "*"}`)) one.remove();
}

// Whether the page is in touch with the engine, beside the page's name; empty when all is well.
export function link(text) {
  const node = document.getElementById("link");
  node.hidden = !text;
  put(node, text);
}
