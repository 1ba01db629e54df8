// How nodes are made, of text nodes and attributes only, never of markup; and how numbers, money and times are written.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(3)) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// Sets a text only where it changed, so that selections and readers are left alone.
export function put(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// What stands between backticks becomes code.
export const ticked = (text) => text.split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));

export function button(text, onclick, attributes) {
  return h("button", { type: "button", ...attributes, onclick }, text);
}

export const number = (value) => Math.round(value).toLocaleString("en-US");
export const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many || `${one}s`}`;
export const words = (text) => String(text).replace(/_/g, " ");
export const percent = (value) => `${value.toFixed(value < 10 && value > 0 || value > 99 && value < 100 ? 1 : 0)} %`;

export function dollars(value) {
  if (value === null || value === undefined) return "";
  if (value === 0) return "$0";
  const digits = value >= 0.1 ? 2 : value >= 0.001 ? 4 : 6;
  return `$${value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}

export function time(seconds) {
  if (seconds < 100) return `${seconds.toFixed(seconds < 10 && seconds > 0 ? 1 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  if (minutes < 2880) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return `${Math.floor(minutes / 1440)} days`;
}

// A moment with its machine-readable form; `at` is an ISO text or seconds since the epoch.
export function moment(at) {
  if (at === null || at === undefined) return "";
  const date = new Date(typeof at === "number" ? at * 1000 : at);
  const today = date.toDateString() === new Date().toDateString();
  const text = date.toLocaleString("en-GB", today
    ? { hour: "2-digit", minute: "2-digit", second: "2-digit" }
    : { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
  return h("time", { datetime: date.toISOString(), title: date.toISOString() }, text);
}

const GOOD = new Set(["succeeded", "completed"]);
const BAD = new Set(["failed"]);
const WARN = new Set(["blocked", "paused", "cancelled"]);
const BUSY = new Set(["running", "generating", "executing"]);
export function tone(status) {
  return GOOD.has(status) ? "good" : BAD.has(status) ? "bad" : WARN.has(status) ? "warn" : BUSY.has(status) ? "busy" : "muted";
}
export const status = (name) => h("span", { class: `status ${tone(name)}` }, words(name));
export const simulated = () => h("span", { class: "badge", title: "Answers come from the simulated server; no figure says anything about a model" }, "simulated");

// A bar of parts [class, amount] of `whole`, at most full. For the eye; whoever uses it says the same in words.
export function bar(parts, whole, label) {
  const drawn = s("svg", { class: "bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", ...(label ? { role: "img", "aria-label": label } : { "aria-hidden": "true" }) },
    s("rect", { class: "b-rest", width: 100, height: 8 }));
  let at = 0;
  for (const [name, amount] of parts) {
    const width = whole > 0 ? Math.min(100 - at, (100 * amount) / whole) : 0;
    if (width > 0) drawn.append(s("rect", { class: name, x: at.toFixed(3), width: width.toFixed(3), height: 8 }));
    at += Math.max(0, width);
  }
  return drawn;
}

// At most one call in `everyMs`, the last one always made. Timers, not frames: hidden tabs stay right.
export function throttled(everyMs, act) {
  let timer = null;
  let last = -Infinity;
  const later = () => {
    if (timer !== null) return;
    timer = setTimeout(() => { timer = null; last = performance.now(); act(); }, Math.max(0, last + everyMs - performance.now()));
  };
  later.cancel = () => { clearTimeout(timer); timer = null; };
  return later;
}
