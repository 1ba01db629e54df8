// One atom: why it stands as it does, its neighbours, its attempts beside each other, and what a person may do about it.

import { atomPath, get, post } from "./api.js";
import { ask } from "./dialogs.js";
import { diff } from "./diff.js";
import { button, dollars, h, number, plural, simulated, status, throttled, time, words } from "./dom.js";
import { section } from "./execution.js";
import { neighbours } from "./neighbours.js";
import { notice, tell } from "./tell.js";
import { who } from "./who.js";

const LOOK_EVERY_MS = 500;
const CONTEXT = 3;
const FAILING = new Set(["critical", "error"]);

export function showAtom({ node, signal, live, atom, title }) {
  const head = h("div", {}, h("h1", { class: "mono" }, atom));
  const [body, below] = [h("div", {}), h("div", {})];
  const beside = neighbours(live, atom, signal);
  const back = h("a", { href: `#/${live.id}` }, "Execution");
  node.append(h("nav", { "aria-label": "Place", class: "crumbs" }, back), head, body, beside, below);
  title(atom);
  const chosen = { attempt: null };
  let shown = "";

  async function look() {
    const [state, { attempts }] = await Promise.all([get(atomPath(live.id, atom), signal), get(`${atomPath(live.id, atom)}/attempts`, signal)]);
    const row = live.rows.get(atom);
    const key = JSON.stringify([state, attempts, row, live.state?.status, who.may("operator")]);
    if (key === shown) return;
    const before = shown && JSON.parse(shown)[0].status;
    shown = key;
    if (before && before !== state.status) tell(`${atom}: ${words(state.status)}`, true);
    back.textContent = live.state?.name || "Execution";
    title(`${atom}: ${words(state.status)}`);
    draw(state, attempts, row);
  }
  const trouble = (error) => { if (!signal.aborted && error.status !== 401) notice(error.message); };
  const lookSoon = throttled(LOOK_EVERY_MS, () => { if (!signal.aborted) look().catch(trouble); });
  signal.addEventListener("abort", lookSoon.cancel);
  live.addEventListener("rows", ({ detail }) => { if (detail.has(atom)) lookSoon(); }, { signal });
  live.addEventListener("state", ({ detail: { before, state } }) => { if (before?.status !== state.status) lookSoon(); }, { signal });
  who.addEventListener("known", lookSoon, { signal });
  lookSoon();

  function draw(state, attempts, row) {
    const focus = document.activeElement?.id;
    head.replaceChildren(h("h1", { class: "mono" }, atom), h("p", { class: "standing" }, status(state.status), live.state?.simulated ? simulated() : "",
      h("span", {}, row && row.name !== atom ? row.name : "")), actions(state, attempts));
    const last = attempts.at(-1);
    body.replaceChildren(
      section("facts", "Where it stands", facts(state, row), !attempts.length && state.code && code(state.code, [])),
      last && !last.passed && state.status === "failed" ? section("why", "Why it failed", why(last)) : "");
    below.replaceChildren(attempts.length ? section("attempts", "Attempts", tabs(attempts, chosen)) : "");
    if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
  }

  function facts(state, row) {
    const lines = [
      row && ["Place", h("span", { class: "mono" }, `${row.file}: ${row.symbol}`)],
      ["Wave", number(state.wave_id)],
      state.cause && ["Cause", h("span", { class: "bad" }, state.cause)],
      ["Took", [plural(state.attempts, "attempt"), dollars(state.cost_usd), `${time(state.time_seconds)} in flight`].join(" · ")],
      state.unknown_cost_usd > 0 && ["Unknown spend", `at most ${dollars(state.unknown_cost_usd)}`],
      state.transport_errors > 0 && ["Calls without answer", number(state.transport_errors)],
      state.reused_from && ["Reused from", h("a", { class: "mono", href: `#/${state.reused_from}` }, state.reused_from)],
      row?.approved_by && ["Approved", `by ${row.approved_by}${row.approval_note ? `: ${row.approval_note}` : ""}`],
      row?.used_despite_failure && ["By hand", h("span", { class: "warn" }, "used despite failure")],
    ];
    return h("dl", { class: "spec" }, lines.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  }

  function actions(state, attempts) {
    if (!who.may("operator")) return "";
    const change = async (verb, values, said) => {
      live.take(await post(`${atomPath(live.id, atom)}/${verb}`, values));
      tell(said, true);
      live.changed.add(atom);
      live.refresh();
      lookSoon();
    };
    const note = { name: "note", label: "Note", maxlength: 2000 };
    const openable = ["paused", "failed", "completed"].includes(live.state?.status);
    return h("div", { class: "controls", role: "group", "aria-label": "Control" },
      state.status === "succeeded" && button("Approve …", () => ask({ title: "Approve this code?", go: "Approve", text: "It is recorded that you have looked at it.", fields: [note], act: (values) => change("approve", values, "Approved.") })),
      state.status === "failed" && ["paused", "failed"].includes(live.state?.status) && [
        button("Retry this atom", () => post(`/${live.id}/retry`, { atom_ids: [atom] }).then((one) => { live.take(one); tell("New attempts granted; the execution is paused.", true); }).catch(trouble), { id: "retry", class: "main" }),
        state.code && button("Use it despite failure …", () => ask({ title: "Use failing code?", go: "Use it", danger: true, text: "Its best attempt will be part of the project although it fails its check.", fields: [note], act: (values) => change("approve", { ...values, despite_failures: true }, "It will be used despite its failure.") }))],
      openable && ["failed", "succeeded"].includes(state.status) && button("Write it by hand …", () => ask({
        title: `Code of ${atom}`, go: "Check and use it", text: "It has to pass the same check as any other. The execution is paused after that.",
        fields: [{ name: "code", label: "Code", type: "area", required: true, value: state.code || attempts.at(-1)?.code || "" }],
        act: ({ code: text }) => change("edit", { code: `${text}\n` }, "The code passed and is used."),
      })));
  }
}

// ---- attempts as tabs --------------------------------------------------------------------------------------------

// `chosen.attempt` is the number of the attempt a person picked; null follows the latest one.
function tabs(attempts, chosen) {
  const picked = attempts.findIndex((one) => one.number === chosen.attempt);
  let at = picked < 0 ? attempts.length - 1 : picked;
  const panel = h("div", { role: "tabpanel", id: "attempt", tabindex: "0" });
  const made = attempts.map((one, index) => h("button", { type: "button", role: "tab", id: `tab${one.number}`, "aria-controls": "attempt", onclick: () => pick(index) },
    `${one.number} `, h("span", { class: one.passed ? "good" : "warn" }, one.passed ? "accepted" : "rejected")));
  const list = h("div", { role: "tablist", "aria-label": "Attempts", onkeydown: moved }, made);
  function moved(event) {
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: attempts.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    pick((to + attempts.length) % attempts.length);
    made[at].focus();
  }
  function pick(index) {
    at = index;
    chosen.attempt = attempts[index].number;
    show();
  }
  function show() {
    made.forEach((tab, other) => { tab.setAttribute("aria-selected", String(other === at)); tab.tabIndex = other === at ? 0 : -1; });
    panel.setAttribute("aria-labelledby", made[at].id);
    panel.replaceChildren(...attemptOf(attempts[at], attempts[at - 1]));
  }
  show();
  return h("div", {}, list, panel);
}

function attemptOf(one, previous) {
  const how = one.temperature !== null ? `temperature ${one.temperature}` : one.effort !== null ? `${one.effort} effort` : null;
  const asked = one.by ? [`written by ${one.by}`] : [one.model, how, dollars(one.cost_usd), `call ${time(one.latency_s)}`];
  const facts = [...asked, `check ${time(one.check_s)}`, one.tests_run ? plural(one.tests_run, "test") : null, one.stop_reason === "end_turn" ? null : `stopped: ${words(one.stop_reason)}`];
  const lines = one.issues.filter((issue) => issue.line && FAILING.has(issue.severity)).map((issue) => issue.line);
  const hasDiff = previous && previous.code !== null && one.code !== null;
  return [
    h("p", {}, one.passed ? h("span", { class: "good" }, "Accepted") : h("span", { class: "warn" }, `Rejected at ${words(one.failed_level || "its check")}`), h("span", { class: "note" }, ` · ${facts.filter(Boolean).join(" · ")}`)),
    one.issues.length ? issues(one) : "",
    hasDiff ? h("div", {}, h("h3", {}, `Changes since attempt ${previous.number}`), patch(previous.code, one.code)) : "",
    one.code === null ? h("p", { class: "note" }, "The answer held no code.") : fold(hasDiff ? "All of its code" : "Code", () => code(one.code, lines), !hasDiff),
    one.prompt ? fold("Prompt", () => promptOf(one), false) : "",
  ];
}

// What is folded away is made when it is opened first.
function fold(name, make, open) {
  const made = h("details", { open }, h("summary", {}, name));
  const unfold = () => { if (made.open && made.children.length === 1) made.append(make()); };
  made.addEventListener("toggle", unfold);
  unfold();
  return made;
}

function promptOf(one) {
  return h("div", {}, one.prompt_exact ? "" : h("p", { class: "note" }, "Rendered again from the journal; code that it shows was replaced since."),
    one.system.map((text, at) => [h("h3", {}, "System"), h("pre", { class: "message", tabindex: "0", role: "region", "aria-label": at ? `System prompt ${at + 1}` : "System prompt" }, text)]),
    h("h3", {}, "Request"), h("pre", { class: "message", tabindex: "0", role: "region", "aria-label": "Request" }, one.prompt));
}

// The first thing that failed the last attempt; the rest stands with the attempt.
function why(last) {
  const failing = last.issues.filter((issue) => FAILING.has(issue.severity));
  const first = failing.length ? failing[0] : last.issues[0];
  const more = failing.length - 1;
  return [first ? issues({ issues: [first] }, "First failure") : h("p", {}, `Rejected at ${words(last.failed_level || "its check")}.`),
    more > 0 ? h("p", { class: "note" }, `and ${plural(more, "more failure")}, with the attempt below`) : ""];
}

function issues(one, label = "Message") {
  const place = (issue) => [FAILING.has(issue.severity) ? null : issue.severity, words(issue.level), issue.rule, issue.line && `line ${issue.line}`].filter(Boolean).join(", ");
  return h("ul", { class: "errors" }, one.issues.map((issue, at) => h("li", {}, (!at || place(issue) !== place(one.issues[at - 1])) && h("span", { class: "note" }, place(issue)), h("pre", { class: "message", tabindex: "0", role: "region", "aria-label": at ? `${label} ${at + 1}` : label }, issue.message))));
}

function code(text, marked) {
  const lines = text.replace(/\n$/, "").split("\n");
  return h("pre", { class: "code", tabindex: "0", role: "region", "aria-label": "Code" },
    lines.map((line, at) => h("span", { class: marked.includes(at + 1) ? "line marked" : "line", "data-n": at + 1 }, line)));
}

function patch(before, after) {
  const lines = diff(before.replace(/\n$/, ""), after.replace(/\n$/, ""));
  if (lines.every(([kind]) => kind === "same")) return h("p", { class: "note" }, "None: the same code again.");
  const near = lines.map((_, at) => lines.slice(Math.max(0, at - CONTEXT), at + CONTEXT + 1).some(([kind]) => kind !== "same"));
  const shown = [];
  let gap = 0;
  lines.forEach(([kind, line], at) => {
    if (!near[at]) { gap += 1; return; }
    if (gap) shown.push(h("span", { class: "line at" }, `… ${plural(gap, "line")} alike`));
    gap = 0;
    const sign = { same: " ", add: "+", del: "−" }[kind];
    shown.push(h(kind === "add" ? "ins" : kind === "del" ? "del" : "span", { class: `line ${kind}`, "data-n": sign }, line));
  });
  if (gap) shown.push(h("span", { class: "line at" }, `… ${plural(gap, "line")} alike`));
  return h("pre", { class: "diff", tabindex: "0", role: "region", "aria-label": "Changes" }, shown);
}
