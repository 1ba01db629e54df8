// An atom's neighbours: what it rests on and what rests on it, as links with their state, trouble first.
//
// A few at a time, for an atom may have thousands; links stay the same nodes while their state changes.

import { arrange, atomLink } from "./atoms.js";
import { button, h, number, plural, put, status, words } from "./dom.js";
import { section } from "./execution.js";

const SHOWN = 12;
const ORDER = ["failed", "blocked", "cancelled", "executing", "generating", "answered", "ready", "waiting", "pending", "succeeded"];

export function neighbours(live, atom, signal) {
  let lists = null;
  const node = section("neighbours", "Neighbours");
  node.hidden = true;

  // The plan does not change, so who is whose neighbour is looked for once, when the rows are there.
  function begin() {
    const row = live.rows.get(atom);
    if (!row || !live.loaded) return;
    const above = [...live.rows.values()].filter((one) => one.depends_on.includes(atom)).map((one) => one.atom_id);
    lists = [list(live, "Rests on", row.depends_on), list(live, "Needed by", above)];
    node.append(h("div", { class: "neighbours" }, lists.map((one) => one.node)));
    node.hidden = false;
  }

  function draw(changed) {
    if (!lists) begin();
    else for (const one of lists) if (one.ids.some((id) => changed.has(id))) one.draw();
  }
  live.addEventListener("rows", ({ detail }) => draw(detail), { signal });
  begin();
  return node;
}

function list(live, title, ids) {
  const made = new Map();
  const counts = h("p", { class: "note" });
  const items = h("ul", { class: "plain" });
  const more = button(`Show all ${number(ids.length)}`, () => { all = true; draw(); items.children[SHOWN].querySelector("a").focus(); }, { class: "more", hidden: true });
  let all = false;

  function item(id) {
    if (!made.has(id)) {
      const standing = h("span", {});
      made.set(id, { standing, node: h("li", {}, standing, " ", h("a", { class: "mono", href: atomLink(live.id, id) }, id)) });
    }
    const one = made.get(id);
    const state = live.rows.get(id)?.status || "unknown";
    if (one.standing.textContent !== words(state)) one.standing.replaceChildren(status(state));
    return one.node;
  }

  function draw() {
    const by = new Map();
    for (const id of ids) {
      const state = live.rows.get(id)?.status || "unknown";
      if (!by.has(state)) by.set(state, []);
      by.get(state).push(id);
    }
    const states = [...by.keys()].sort((a, b) => ORDER.indexOf(a) - ORDER.indexOf(b));
    const sorted = states.flatMap((state) => by.get(state));
    arrange(items, (all ? sorted : sorted.slice(0, SHOWN)).map(item));
    more.hidden = all || ids.length <= SHOWN;
    put(counts, !ids.length ? "nothing" : ids.length === 1 ? "" : `${plural(ids.length, "atom")}: ${states.map((state) => `${number(by.get(state).length)} ${words(state)}`).join(", ")}`);
  }
  draw();
  return { ids, draw, node: h("div", { role: "group", "aria-label": title }, h("h3", {}, title), counts, items, more) };
}
