// One execution: how it stands, what may be done about it, its money, its waves and its atoms.

import { get } from "./api.js";
import { atomTable } from "./atoms.js";
import { controls } from "./controls.js";
import { bar, dollars, h, moment, number, percent, plural, put, simulated, status, throttled, time, words } from "./dom.js";
import { ENDED } from "./live.js";
import { tell } from "./tell.js";
import { waveTable } from "./waves.js";

const CLOCK_MS = 1000;
const THROTTLE_LOOK_MS = 5000;

export function showExecution({ node, signal, live, title }) {
  const on = (name, act) => live.addEventListener(name, act, { signal });
  const head = heading(live);
  const money = moneyBox();
  const throttle = h("ul", { class: "facts plain" });
  const waves = waveTable(live, signal);
  const atoms = atomTable(live, signal);
  const loading = h("p", { class: "note", role: "status" }, "Loading …");
  const body = h("div", { hidden: true },
    head.node, controls(live, signal), head.figures,
    section("money", "Money", money.node),
    section("waves", "Waves", waves.node),
    section("calls", "Calls in flight", throttle),
    section("atoms", "Atoms", atoms.node));
  node.append(loading, body);
  title("Execution");

  function showState(before) {
    const { state } = live;
    loading.hidden = true;
    body.hidden = false;
    title(`${words(state.status)} · ${state.name || state.execution_id}`);
    head.show();
    money.show(state);
    if (before) announce(before, state);
  }
  on("state", ({ detail }) => { showState(detail.before); waves.draw(); });
  on("rows", ({ detail }) => { atoms.change(detail); waves.draw(); });
  on("event", waves.draw);
  on("limit", head.show);
  on("failed", () => {
    if (live.state || !loading.isConnected) return;
    title("Nothing here");
    loading.replaceWith(h("h1", {}, "Nothing here"), h("p", {}, h("a", { href: "#/" }, "All executions")));
  });
  if (live.state) showState(null);
  if (live.loaded) { atoms.change(new Set(live.rows.keys())); waves.draw(); }

  const clock = setInterval(() => { if (live.state) head.tick(); }, CLOCK_MS);
  const look = throttled(0, () => get("/concurrency", signal).then(({ throttles }) => showThrottles(throttle, live, throttles)).catch(() => {}));
  const looking = setInterval(() => { if (!document.hidden && live.state && !ENDED.has(live.state.status)) look(); }, THROTTLE_LOOK_MS);
  look();
  signal.addEventListener("abort", () => { clearInterval(clock); clearInterval(looking); });
  return live.loaded ? atoms.lastVisited() : null;
}

export function section(id, name, ...body) {
  return h("section", { "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, name), ...body);
}

function announce(before, state) {
  if (before.status !== state.status) {
    tell(`${words(state.status)}${state.reason ? `: ${state.reason}` : ""}. ${number(state.atoms_succeeded)} of ${plural(state.atoms_total, "atom")} succeeded.`, true);
  } else if (before.atoms_completed !== state.atoms_completed) {
    tell(`${number(state.atoms_completed)} of ${plural(state.atoms_total, "atom")} done, ${number(state.atoms_failed + state.atoms_blocked)} failed or blocked`);
  }
}

function heading(live) {
  const name = h("h1", {});
  const line = h("p", { class: "standing" });
  const figures = h("dl", { class: "figures" });
  const cells = new Map();
  for (const term of ["Done", "Succeeded", "In flight", "Attempts", "Time"]) {
    const [value, more] = [h("span", {}), h("small", {})];
    cells.set(term, [value, more]);
    figures.append(h("div", {}, h("dt", {}, term), h("dd", {}, value, more)));
  }
  const set = (term, value, more) => { put(cells.get(term)[0], value); put(cells.get(term)[1], more); };
  let shown = "";
  const tick = () => put(cells.get("Time")[0], time(live.elapsed()));

  function show() {
    const one = live.state;
    put(name, one.name || "unnamed");
    const key = JSON.stringify([one.status, one.reason, one.simulated, one.current_wave]);
    if (key !== shown) {
      shown = key;
      line.replaceChildren(status(one.status), one.simulated ? simulated() : "",
        h("span", {}, one.reason || (one.status === "running" ? `wave ${one.current_wave} of ${one.total_waves}` : "")), h("span", { class: "mono muted" }, one.execution_id));
    }
    set("Done", percent(one.completion), `${number(one.atoms_completed)} of ${plural(one.atoms_total, "atom")}`);
    set("Succeeded", percent(one.precision), [`${number(one.atoms_succeeded)} succeeded`, one.atoms_failed && `${number(one.atoms_failed)} failed`, one.atoms_blocked && `${number(one.atoms_blocked)} blocked`].filter(Boolean).join(", "));
    set("In flight", number(one.atoms_in_flight), live.times.limit ? `at most ${number(live.times.limit)} calls` : "");
    set("Attempts", number(one.attempts), [`${plural(one.retried_atoms, "atom")} retried`, one.atoms_reused && `${number(one.atoms_reused)} reused`].filter(Boolean).join(", "));
    cells.get("Time")[1].replaceChildren(one.started_at ? "since " : "", moment(one.started_at));
    tick();
  }
  return { node: h("div", {}, name, line), figures, show, tick };
}

function moneyBox() {
  const drawing = h("div", { class: "money-bar" });
  const terms = h("dl", { class: "amounts" });
  let shown = "";
  function show(one) {
    const parts = [["Spent", one.total_cost_usd, "b-good"], ["Reserved for calls in flight", one.reserved_cost_usd, "b-busy"], ["Unknown, at most", one.unknown_cost_usd, "b-warn"]];
    const key = JSON.stringify([parts, one.budget_usd, one.forecast_cost_usd, one.soft_limit_reached]);
    if (key === shown) return;
    shown = key;
    const taken = parts.reduce((sum, [, amount]) => sum + amount, 0);
    const whole = Math.max(one.budget_usd ?? 0, one.budget_usd === null ? one.forecast_cost_usd ?? 0 : 0, taken);
    const forecast = one.forecast_cost_usd;
    const over = forecast !== null && one.budget_usd !== null && forecast > one.budget_usd;
    drawing.replaceChildren(bar(parts.map(([, amount, name]) => [name, amount]), whole));
    if (forecast !== null && whole > 0) {
      const mark = h("span", { class: "forecast-mark" });
      mark.style.left = `${Math.min(100, (100 * forecast) / whole)}%`;
      drawing.append(mark);
    }
    terms.replaceChildren(...parts.map(([name, amount, key_]) => amountOf(name, dollars(amount), key_)),
      amountOf("Limit", one.budget_usd === null ? "none" : dollars(one.budget_usd), "", one.soft_limit_reached ? "most of it is used" : "", "warn"),
      amountOf("Forecast at the end", forecast === null ? "not known yet" : dollars(forecast), forecast === null ? "" : "b-mark", over ? "more than the limit" : "", "bad"));
  }
  return { node: h("div", {}, drawing, terms), show };
}

function amountOf(name, value, key, note = "", kind = "") {
  const swatch = key && h("i", { class: `swatch ${key}`, "aria-hidden": "true" });
  return h("div", {}, h("dt", {}, swatch, name), h("dd", {}, value, note && h("small", { class: kind }, note)));
}

function showThrottles(list, live, throttles) {
  const lines = throttles.map((one) => [
    `${one.model_class || "calls"}: ${number(one.in_use)} in flight on this engine, limit ${number(one.limit)} of at most ${number(one.highest)}`,
    one.pushed_back ? `pushed back ${plural(one.pushed_back, "time")}` : "never pushed back",
    one.breaker_open && "the provider is overloaded, one call tries",
    one.paused_s > 0 && `all wait for ${time(one.paused_s)}`,
    one.requests_per_minute && `the provider allows ${number(one.requests_per_minute)} requests a minute`,
  ].filter(Boolean).join("; "));
  if (live.times.limit) lines.unshift(`this execution: at most ${number(live.times.limit)} calls`);
  if (!throttles.length) lines.push("No model is being called now.");
  if (list.textContent !== lines.join("")) list.replaceChildren(...lines.map((line) => h("li", {}, line)));
}
