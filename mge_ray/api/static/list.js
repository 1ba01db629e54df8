// The list of executions, the latest first.

import { get } from "./api.js";
import { bar, button, dollars, h, moment, number, percent, simulated, status, time, words } from "./dom.js";
import { notice, tell } from "./tell.js";

const PAGE = 50;
const LOOK_MS = 2000;

export function showList({ node, signal, title }) {
  title("Executions");
  const items = new Map();
  const rows = new Map();
  let next = null;
  const body = h("tbody", {});
  const more = button("Show older ones", () => load(next), { class: "more", hidden: true });
  const table = h("div", { class: "scroll", hidden: true }, h("table", { class: "executions" },
    h("caption", { class: "unseen" }, "Executions, the latest first"),
    h("thead", {}, h("tr", {}, ["Name", "State", "Atoms"].map((name) => h("th", { scope: "col" }, name)),
      h("th", { scope: "col", class: "number wide" }, "Precision"), h("th", { scope: "col", class: "number" }, "Cost"),
      h("th", { scope: "col", class: "number wide" }, "Took"), h("th", { scope: "col", class: "wide" }, "Started"))),
    body));
  const empty = h("div", { class: "empty", hidden: true }, h("p", {}, "No executions yet."),
    h("p", { class: "note" }, "Start one with a POST to ", h("code", {}, "/api/v2/execution/start"), "; the ", h("a", { href: "/docs" }, "API page"), " has a command to paste."));
  node.append(h("h1", {}, "Executions"), empty, table, more);

  function take(found, atEnd) {
    const fresh = found.filter(({ execution }) => !items.has(execution.execution_id));
    for (const item of found) {
      const id = item.execution.execution_id;
      const text = JSON.stringify(item);
      if (items.get(id) === text) continue;
      const before = items.has(id) && JSON.parse(items.get(id));
      items.set(id, text);
      const made = row(item);
      const old = rows.get(id);
      rows.set(id, made);
      if (old) {
        if (before.execution.status !== item.execution.status) tell(`${item.execution.name || "unnamed"}: ${words(item.execution.status)}`);
        const focused = old.contains(document.activeElement);
        old.replaceWith(made);
        if (focused) made.querySelector("a").focus();
      }
    }
    const made = fresh.map(({ execution }) => rows.get(execution.execution_id));
    if (atEnd) body.append(...made);
    else body.prepend(...made);
    table.hidden = items.size === 0;
    empty.hidden = items.size > 0;
    return fresh.length;
  }

  async function load(cursor) {
    const page = await get(`?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`, signal);
    const focusHere = document.activeElement === more;
    const count = take(page.executions, true);
    next = page.next_cursor;
    more.hidden = next === null;
    if (cursor) tell(`${number(count)} more executions`, true);
    if (focusHere && more.hidden) body.lastElementChild?.querySelector("a").focus();
  }

  async function look() {
    if (!document.hidden) take((await get(`?limit=${PAGE}`, signal)).executions, false);
  }

  const trouble = (error) => { if (!signal.aborted && error.status !== 401) notice(error.message); };
  let timer = null;
  const again = () => { timer = setTimeout(() => look().catch(trouble).finally(() => { if (!signal.aborted) again(); }), LOOK_MS); };
  signal.addEventListener("abort", () => clearTimeout(timer));
  load(null).then(() => { if (!signal.aborted) again(); }).catch(trouble);
}

function row({ execution: one, created_at: created }) {
  const parts = [["b-good", one.atoms_succeeded], ["b-bad", one.atoms_failed], ["b-warn", one.atoms_blocked], ["b-busy", one.atoms_in_flight]];
  const failed = one.atoms_failed + one.atoms_blocked;
  return h("tr", {},
    h("th", { scope: "row" }, h("a", { href: `#/${one.execution_id}` }, one.name || "unnamed"), " ", one.simulated && simulated(),
      h("span", { class: "sub mono" }, one.execution_id)),
    h("td", {}, status(one.status)),
    h("td", { class: "progress" }, bar(parts, one.atoms_total), h("span", { class: "sub" }, `${number(one.atoms_completed)} of ${number(one.atoms_total)}`,
      failed > 0 && h("span", { class: "bad" }, ` · ${number(failed)} failed or blocked`))),
    h("td", { class: "number wide" }, percent(one.precision)),
    h("td", { class: "number" }, dollars(one.total_cost_usd), h("span", { class: "sub" }, one.budget_usd === null ? "no limit" : `of ${dollars(one.budget_usd)}`)),
    h("td", { class: "number wide" }, time(one.total_time_seconds)),
    h("td", { class: "wide" }, moment(created)));
}
