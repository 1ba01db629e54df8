
"use strict";
// The data, and how nodes, numbers and sections are made: of text nodes and attributes only, never of markup.

const data = JSON.parse(document.getElementById("data").textContent);
const run = data.run;
const byId = new Map(data.atoms.map((atom) => [atom.id, atom]));
const ROWS = 100;
const SVG = "http://www.w3.org/2000/svg";

// ---- building: text nodes and attributes only, never markup ----------------------------------------------------

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat(3)) if (child !== null && child !== undefined && child !== false) node.append(child);
  return node;
}
const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const rect = (x, y, width, height) => `M${x.toFixed(1)} ${y.toFixed(1)}h${width.toFixed(1)}v${height}h${(-width).toFixed(1)}z`;

// ---- words -----------------------------------------------------------------------------------------------------

const number = (value) => Math.round(value).toLocaleString("en-US");
const percent = (share) => `${(100 * share).toFixed(share > 0.0995 || share === 0 ? 0 : 1)} %`;
const plural = (count, one, many) => `${number(count)} ${count === 1 ? one : many || `${one}s`}`;
function dollars(value) {
  if (value === 0) return "$0";
  const digits = value >= 0.1 ? 2 : value >= 0.001 ? 4 : 6;
  return `$${value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits })}`;
}
function time(value) {
  if (value === 0) return "0 s";
  if (value < 100) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(value % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
const words = (text) => text.replace(/_/g, " ");
const STATUS = { succeeded: "good", failed: "bad", blocked: "warn" };
const statusOf = (status) => h("span", { class: STATUS[status] || "muted" }, words(status));

function ticks(limit, wanted) {
  if (!(limit > 0)) return { step: 1, values: [0] };
  const raw = limit / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= raw);
  const values = [];
  for (let value = 0; value <= limit * 1.0001; value += step) values.push(value);
  return { step, values };
}

function section(id, title, note, ...body) {
  const head = h("div", { class: "head" }, h("h2", { id: `${id}-title` }, title), note && h("p", { class: "note" }, note));
  document.getElementById("contents").append(h("a", { href: `#${id}` }, title));
  const made = h("section", { id, "aria-labelledby": `${id}-title` }, head, h("div", { class: "body" }, ...body));
  document.getElementById("main").append(made);
  return made;
}
