// The table of atoms: filtered and sorted here, drawn a hundred rows at a time, and only rows that changed again.
//
// Pages, for a table of 2,000 rows takes a browser a second to lay out, and it would do so at every change.

import { button, dollars, h, number, plural, put, status, throttled, time } from "./dom.js";
import { IN_FLIGHT } from "./live.js";
import { tell } from "./tell.js";

const ROWS = 100;
const CHOOSE_EVERY_MS = 500;
const TYPED_MS = 150;
const FILTERS = [
  ["all", "All", () => true],
  ["flying", "In flight", (row) => IN_FLIGHT.has(row.status)],
  ["succeeded", "Succeeded", (row) => row.status === "succeeded"],
  ["retried", "Retried", (row) => row.attempts > 1],
  ["failed", "Failed", (row) => row.status === "failed"],
  ["blocked", "Blocked", (row) => row.status === "blocked"],
  ["waiting", "Waiting", (row) => ["pending", "ready", "answered", "waiting"].includes(row.status)],
];
const COLUMNS = [
  ["Atom", "", (row) => row.atom_id],
  ["Wave", "number wide", (row) => row.wave_id],
  ["State", "", (row) => row.status],
  ["Attempts", "number", (row) => row.attempts],
  ["Cost", "number wide", (row) => row.cost_usd],
  ["In flight", "number wide", (row) => row.time_seconds],
  ["Cause", "wide cause", (row) => row.cause],
];

export const atomLink = (executionId, atomId) => `#/${executionId}/atom/${encodeURIComponent(atomId)}`;

export function atomTable(live, signal) {
  const view = (live.view ||= { filter: "all", text: "", column: -1, down: false, from: 0, last: null });
  const made = new Map(); // atom -> its row in the table, kept while it is the same
  const body = h("tbody", {});
  const count = h("span", { class: "note" });
  const place = h("span", {});
  const earlier = button(`Previous ${ROWS}`, () => turn(-ROWS));
  const later = button(`Next ${ROWS}`, () => turn(ROWS));
  const pages = h("nav", { "aria-label": "Pages of atoms", class: "pages", hidden: true }, earlier, later, place);
  const input = h("input", { type: "search", placeholder: "Filter by id, name, file or cause", "aria-label": "Filter atoms by id, name, file or cause", oninput: typed });
  input.value = view.text;
  const chips = FILTERS.map(([name, text]) => button(text, () => { view.filter = name; view.from = 0; chosenByHand(); }, { class: "chip", "data-name": name }));
  const heads = COLUMNS.map(([name, kind], index) => h("th", { scope: "col", class: kind }, button(name, () => sortBy(index))));
  const chooseSoon = throttled(CHOOSE_EVERY_MS, () => { if (!signal.aborted) choose(); });
  let typing = null;
  signal.addEventListener("abort", () => { clearTimeout(typing); chooseSoon.cancel(); });

  function chosenByHand() {
    choose();
    tell(count.textContent, true);
  }

  function typed() {
    clearTimeout(typing);
    typing = setTimeout(() => { view.text = input.value; view.from = 0; chosenByHand(); }, TYPED_MS);
  }

  function turn(by) {
    view.from += by;
    choose();
    tell(place.textContent, true);
    if (document.activeElement.hidden || document.activeElement === document.body) (by > 0 ? earlier : later).focus();
    node.scrollIntoView({ block: "start" });
  }

  function sortBy(index) {
    view.down = view.column === index ? !view.down : false;
    view.column = index;
    view.from = 0;
    choose();
  }

  function chosen() {
    const keep = FILTERS.find(([name]) => name === view.filter)[2];
    const text = view.text.trim().toLowerCase();
    const rows = [...live.rows.values()].filter((row) => keep(row) && (!text || `${row.atom_id}\n${row.name}\n${row.file}\n${row.symbol}\n${row.cause}`.toLowerCase().includes(text)));
    if (view.column >= 0) {
      const value = COLUMNS[view.column][2];
      const order = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
      rows.sort((a, b) => (view.down ? order(b, a) : order(a, b)));
    }
    return rows;
  }

  function choose() {
    const rows = chosen();
    while (view.from > 0 && view.from >= rows.length) view.from -= ROWS;
    const nodes = rows.slice(view.from, view.from + ROWS).map((row) => {
      if (!made.has(row.atom_id)) made.set(row.atom_id, draw(live, row));
      return made.get(row.atom_id);
    });
    arrange(body, nodes);
    pages.hidden = rows.length <= ROWS;
    earlier.hidden = view.from === 0;
    later.hidden = view.from + ROWS >= rows.length;
    put(place, `${number(view.from + 1)} to ${number(view.from + nodes.length)} of ${number(rows.length)}`);
    put(count, rows.length === live.rows.size ? plural(rows.length, "atom") : `${number(rows.length)} of ${plural(live.rows.size, "atom")}`);
    FILTERS.forEach(([name, text, keep], index) => {
      const many = [...live.rows.values()].filter(keep).length;
      put(chips[index], `${text} ${number(many)}`);
      chips[index].setAttribute("aria-pressed", String(view.filter === name));
      chips[index].hidden = many === 0 && name !== "all" && view.filter !== name && chips[index] !== document.activeElement;
    });
    heads.forEach((head, index) => {
      if (index === view.column) head.setAttribute("aria-sort", view.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  // Rows that changed are made again in their place; what else changes (order, filters, counts) follows a little later.
  function change(ids) {
    for (const id of ids) {
      const old = made.get(id);
      if (!old) continue;
      const fresh = draw(live, live.rows.get(id));
      made.set(id, fresh);
      if (!old.isConnected) continue;
      const focused = old.contains(document.activeElement);
      old.replaceWith(fresh);
      if (focused) fresh.querySelector("a").focus({ preventScroll: true });
    }
    chooseSoon();
  }

  function lastVisited() {
    choose();
    return view.last === null ? null : made.get(view.last)?.querySelector("a");
  }

  const table = h("table", { class: "atoms" }, h("caption", { class: "unseen" }, "Atoms; headers sort"), h("thead", {}, h("tr", {}, heads)), body);
  const node = h("div", {}, h("div", { class: "tools" }, input, h("div", { class: "chips", role: "group", "aria-label": "Filter by state" }, chips), count),
    h("div", { class: "scroll" }, table), pages);
  return { node, change, lastVisited };
}

function draw(live, row) {
  const by = row.used_despite_failure ? "used despite failure" : row.approved_by ? `approved by ${row.approved_by}` : row.reused_from ? "reused" : "";
  const cells = h("tr", {},
    h("th", { scope: "row" }, h("a", { href: atomLink(live.id, row.atom_id), class: "mono", onclick: () => { live.view.last = row.atom_id; } }, row.atom_id),
      row.name !== row.atom_id && h("span", { class: "sub" }, row.name)),
    h("td", { class: "number wide" }, number(row.wave_id)),
    h("td", {}, status(row.status), by && h("span", { class: "sub" }, by)),
    h("td", { class: "number" }, number(row.attempts)),
    h("td", { class: "number wide" }, row.cost_usd ? dollars(row.cost_usd) : ""),
    h("td", { class: "number wide" }, row.time_seconds ? time(row.time_seconds) : ""),
    h("td", { class: "wide cause" }, row.cause));
  return cells;
}

// Makes `body` hold just `nodes` in this order; those that stay where they are keep focus and selection.
export function arrange(body, nodes) {
  const wanted = new Set(nodes);
  const focused = body.contains(document.activeElement) ? document.activeElement : null;
  for (const child of [...body.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, at) => { if (body.children[at] !== node) body.insertBefore(node, body.children[at] || null); });
  if (focused && focused.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
}
