
// The table of atoms: a hundred rows at a time, details made when they are opened.

// ---- atoms -----------------------------------------------------------------------------------------------------

const FILTERS = [["all", "All", () => true], ["retried", "Retried", (atom) => atom.attempts.length > 1], ["failed", "Failed", (atom) => atom.status === "failed"],
  ["blocked", "Blocked", (atom) => atom.status === "blocked"], ["unfinished", "Unfinished", (atom) => !["succeeded", "failed", "blocked"].includes(atom.status)],
  ["review", "To review", (atom) => atom.confidence !== null && atom.confidence < data.listed_below]];
const COLUMNS = [["Atom", "", (atom) => atom.id], ["Wave", "number wide w4", (atom) => atom.wave], ["State", "w6", (atom) => atom.status], ["Attempts", "w6", (atom) => atom.attempts.length],
  ["Cost", "number wide w5", (atom) => atom.cost], ["In flight", "number wide w6", (atom) => atom.seconds], ["Confidence", "number w7", (atom) => (atom.confidence === null ? 101 : atom.confidence)]];
const table = { filter: "all", text: "", column: -1, down: false, rows: [], shown: 0, open: new Set() };

const narrow = window.matchMedia("(max-width: 640px)");

function choose() {
  const keep = FILTERS.find(([name]) => name === table.filter)[2];
  const text = table.text.toLowerCase();
  table.rows = data.atoms.filter((atom) => keep(atom) && (!text || `${atom.id}\n${atom.title}\n${atom.file}\n${atom.cause}`.toLowerCase().includes(text)));
  if (table.column >= 0) {
    const get = COLUMNS[table.column][2];
    const order = (a, b) => (get(a) < get(b) ? -1 : get(a) > get(b) ? 1 : 0);
    table.rows.sort((a, b) => (table.down ? order(b, a) : order(a, b)));
  }
  table.body.replaceChildren();
  table.shown = 0;
  grow(ROWS);
  table.count.textContent = table.rows.length === data.atoms.length ? plural(data.atoms.length, "atom") : `${number(table.rows.length)} of ${plural(data.atoms.length, "atom")}`;
}

function grow(by) {
  for (const atom of table.rows.slice(table.shown, table.shown + by)) table.body.append(...row(atom));
  table.shown = Math.min(table.rows.length, table.shown + by);
  const left = table.rows.length - table.shown;
  table.more.hidden = left === 0;
  table.more.textContent = `Show ${number(Math.min(ROWS, left))} more of ${number(left)}`;
}

function tries(atom) {
  if (!atom.attempts.length) return h("span", { class: "muted" }, atom.reused_from ? "reused" : "none");
  const marks = atom.attempts.map((one) => s("svg", { viewBox: "0 0 9 9", "aria-hidden": "true" }, one.passed
    ? s("rect", { class: "s-passed", width: 9, height: 9, rx: 1 }) : s("path", { class: "s-rejected", d: "M0 9L4.5 0L9 9z" })));
  const rejected = atom.attempts.filter((one) => !one.passed).length;
  return h("span", { class: "tries", role: "img", "aria-label": `${plural(atom.attempts.length, "attempt")}, ${rejected} rejected` }, marks);
}

function row(atom) {
  const open = table.open.has(atom.id);
  const number_ = data.atoms.indexOf(atom);
  const button = h("button", { class: "open", type: "button", "aria-expanded": String(open), "aria-controls": `d${number_}`, onclick: () => toggle(atom) },
    h("span", {}, h("b", {}, atom.id), h("i", {}, atom.title)));
  const cells = h("tr", { id: `a${number_}` }, h("td", {}, button), h("td", { class: "number wide" }, atom.wave), h("td", {}, statusOf(atom.status)),
    h("td", {}, tries(atom)), h("td", { class: "number wide" }, atom.cost ? dollars(atom.cost) : ""), h("td", { class: "number wide" }, atom.seconds ? time(atom.seconds) : ""),
    h("td", { class: "number" }, atom.confidence === null ? "" : h("span", { class: atom.confidence < 50 ? "bad" : atom.confidence < data.listed_below ? "warn" : null }, atom.confidence)));
  return open ? [cells, detail(atom)] : [cells];
}

function toggle(atom) {
  const number_ = data.atoms.indexOf(atom);
  const cells = document.getElementById(`a${number_}`);
  const opened = !table.open.has(atom.id);
  if (opened) { table.open.add(atom.id); cells.after(detail(atom)); }
  else { table.open.delete(atom.id); document.getElementById(`d${number_}`).remove(); }
  cells.querySelector("button").setAttribute("aria-expanded", String(opened));
}

function detail(atom) {
  const facts = [["Place", h("span", { class: "mono" }, `${atom.file}: ${atom.symbol}`)], ["Rests on", atom.depends_on.length ? atom.depends_on.map((id, index) => [index ? ", " : "", byId.has(id) ? h("button", { class: "link", type: "button", onclick: () => show(id) }, id) : id]) : "nothing"],
    ["Tests", atom.tests.length ? h("span", { class: "mono" }, atom.tests.join(", ")) : "none"],
    atom.reviewed && ["By hand", atom.reviewed],
    atom.cause && ["Cause", h("span", { class: "bad" }, atom.cause)],
    atom.transport_errors > 0 && ["Calls without answer", number(atom.transport_errors)],
    atom.unknown > 0 && ["Unknown spend", `at most ${dollars(atom.unknown)}`],
    atom.workers_lost > 0 && ["Workers lost", number(atom.workers_lost)]];
  return h("tr", { class: "detail", id: `d${data.atoms.indexOf(atom)}` }, h("td", { colspan: narrow.matches ? 4 : COLUMNS.length },
    h("dl", { class: "spec" }, facts.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    atom.attempts.map((one, index) => attempt(one, index === atom.attempts.length - 1))));
}

function attempt(one, isLast) {
  const how = one.temperature !== null ? `temperature ${one.temperature}` : one.effort !== null ? `${one.effort} effort` : null;
  const stop = one.stop === "end_turn" ? null : `stopped: ${words(one.stop)}`;
  const tests = one.tests_run ? plural(one.tests_run, "test") : null;
  const asked = one.by ? [`written by ${one.by}`] : [one.model, how, dollars(one.cost), `call ${time(one.latency)}`];
  const facts = [...asked, `check ${time(one.check)}`, tests, stop].filter(Boolean).join(" · ");
  const verdict = one.passed ? h("span", { class: "good" }, "accepted") : h("span", { class: "warn" }, `rejected at ${one.errors.length ? one.errors[0].level : "its check"}`);
  const named = (error) => (error ? [error.level, error.rule, error.line && `line ${error.line}`].filter(Boolean).join(", ") : "");
  const errors = one.errors.map((error, index) => h("li", {}, named(error) !== named(one.errors[index - 1]) && h("span", { class: "note" }, named(error)), h("pre", { class: "message" }, error.message)));
  const cut = one.code_chars > one.code.length ? ` (the first ${number(one.code.length)} of ${number(one.code_chars)} characters; the journal has the rest)` : "";
  return h("article", { class: "attempt" }, h("h3", {}, `Attempt ${one.n}: `, verdict), h("p", { class: "note" }, facts),
    errors.length > 0 && h("ul", { class: "errors" }, errors), one.more_errors > 0 && h("p", { class: "note" }, `and ${plural(one.more_errors, "further error")}`),
    one.diff !== null && h("details", { open: true }, h("summary", {}, `Changes since attempt ${one.n - 1}`), one.diff ? patch(one.diff) : h("p", { class: "note" }, "None: the same code again.")),
    one.code ? h("details", { open: isLast }, h("summary", {}, `Code${cut}`), h("pre", { tabindex: "0" }, one.code)) : h("p", { class: "note" }, one.code_chars ? "Code left out for size; the journal has it." : "The answer held no code."));
}

function patch(text) {
  const kind = (line) => (/^(@@|---|\+\+\+)/.test(line) ? "at" : line[0] === "+" ? "add" : line[0] === "-" ? "del" : null);
  return h("pre", { tabindex: "0" }, text.split("\n").map((line) => h("span", { class: kind(line) }, line)));
}

function show(id) {
  const atom = byId.get(id);
  if (!table.rows.includes(atom)) {
    table.filter = "all";
    table.text = table.input.value = "";
    press();
    choose();
  }
  const at = table.rows.indexOf(atom);
  if (at >= table.shown) grow(at + 1 - table.shown + ROWS / 2);
  if (!table.open.has(id)) toggle(atom);
  const cells = document.getElementById(`a${data.atoms.indexOf(atom)}`);
  cells.scrollIntoView({ block: "start" });
  cells.querySelector("button").focus({ preventScroll: true });
}

function press() {
  for (const chip of table.chips) chip.setAttribute("aria-pressed", String(chip.dataset.name === table.filter));
}

function sortBy(index) {
  table.down = table.column === index ? !table.down : false;
  table.column = index;
  table.heads.forEach((head, at) => { if (at === index) head.setAttribute("aria-sort", table.down ? "descending" : "ascending"); else head.removeAttribute("aria-sort"); });
  choose();
}

function atoms() {
  table.input = h("input", { type: "search", placeholder: "Filter by id, title, file or cause", "aria-label": "Filter atoms", oninput: () => { table.text = table.input.value; choose(); } });
  table.chips = FILTERS.map(([name, title, keep]) => [name, title, data.atoms.filter(keep).length]).filter(([name, , count]) => name === "all" || count)
    .map(([name, title, count]) => h("button", { class: "chip", type: "button", "data-name": name, onclick: () => { table.filter = name; press(); choose(); } }, `${title} ${number(count)}`));
  table.heads = COLUMNS.map(([name, kind], index) => h("th", { class: kind, scope: "col" }, h("button", { type: "button", onclick: () => sortBy(index) }, name)));
  table.body = h("tbody", {});
  table.more = h("button", { class: "more", type: "button", onclick: () => grow(ROWS) });
  table.count = h("span", { class: "note", role: "status" });
  press();
  section("atoms", "Atoms", "Open one for its attempts: how the model was asked, what was wrong, and how the code changed.",
    h("div", { class: "tools" }, table.input, h("div", { class: "chips", role: "group", "aria-label": "Filter by state" }, table.chips), table.count),
    h("table", { class: "atoms" }, h("thead", {}, h("tr", {}, table.heads)), table.body), table.more);
  choose();
  narrow.addEventListener("change", choose);
  window.addEventListener("beforeprint", () => { if (table.rows.length <= 400) grow(table.rows.length); });
}
