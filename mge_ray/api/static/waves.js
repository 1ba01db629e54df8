// The waves as a table with a lane of time each: what is done, failed, blocked, in flight, and when attempts were judged.

import { bar, button, dollars, h, number, plural, s, throttled, time } from "./dom.js";
import { IN_FLIGHT } from "./live.js";

const DRAW_EVERY_MS = 500;
const SHOWN = 40;
const LANE = 22;
const BIN = 3;
const LETTER = 7; // a label that would not fit is left out
const KINDS = ["passed", "rejected", "lost"];

export function waveTable(live, signal) {
  const axis = s("svg", { class: "lane", "aria-hidden": "true" });
  const corner = h("th", { scope: "col", class: "lane-head wide" }, h("span", {}, "Attempts over time"), axis);
  const body = h("tbody", {});
  const more = button("", () => { all = true; draw(); }, { class: "more", hidden: true });
  const rows = new Map();
  let all = false;
  const draw = throttled(DRAW_EVERY_MS, () => { if (!signal.aborted && live.loaded) drawNow(); });

  function drawNow() {
    const waves = counted(live);
    const shown = all ? waves : around(waves, live.state.current_wave);
    const span = { from: live.times.from ?? 0, to: ended(live) };
    const width = Math.max(120, corner.clientWidth - 8);
    drawAxis(axis, span, width);
    const order = shown.map((wave) => {
      if (!rows.has(wave.id)) rows.set(wave.id, row(wave.id));
      rows.get(wave.id).show(wave, live, span, width);
      return rows.get(wave.id).node;
    });
    if (order.length !== body.children.length || order.some((node, at) => body.children[at] !== node)) body.replaceChildren(...order);
    more.hidden = shown.length === waves.length;
    more.textContent = `Show all ${plural(waves.length, "wave")}`;
  }

  const observer = new ResizeObserver(draw);
  observer.observe(corner);
  signal.addEventListener("abort", () => { observer.disconnect(); draw.cancel(); });
  const legend = h("ul", { class: "legend", "aria-hidden": "true" },
    [["b-good", "succeeded, passed"], ["b-busy", "in flight"], ["b-bad", "failed, call lost"], ["b-warn", "blocked, rejected"]].map(([name, text]) => h("li", {}, h("i", { class: `swatch ${name}` }), text)));
  const table = h("table", { class: "waves" },
    h("caption", { class: "unseen" }, "Waves in their order"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "number" }, "Wave"), h("th", { scope: "col" }, "Succeeded"),
      ["Failed", "Blocked", "In flight"].map((name) => h("th", { scope: "col", class: "number" }, name)),
      ["Attempts", "Cost"].map((name) => h("th", { scope: "col", class: "number wide" }, name)), corner)),
    body);
  return { node: h("div", {}, h("div", { class: "scroll" }, table), legend, more), draw };
}

function counted(live) {
  const waves = new Map();
  for (const row of live.rows.values()) {
    let wave = waves.get(row.wave_id);
    if (!wave) waves.set(row.wave_id, (wave = { id: row.wave_id, total: 0, succeeded: 0, failed: 0, blocked: 0, flying: 0, attempts: 0, cost: 0, marks: [], began: null }));
    wave.total += 1;
    if (row.status === "succeeded" || row.status === "failed" || row.status === "blocked") wave[row.status] += 1;
    else if (IN_FLIGHT.has(row.status)) wave.flying += 1;
    wave.attempts += row.attempts;
    wave.cost += row.cost_usd;
    const began = live.times.began.get(row.atom_id);
    if (began !== undefined && (wave.began === null || began < wave.began)) wave.began = began;
    const marks = live.times.marks.get(row.atom_id);
    if (marks) wave.marks.push(...marks);
  }
  return [...waves.values()].sort((a, b) => a.id - b.id);
}

function around(waves, current) {
  if (waves.length <= SHOWN) return waves;
  const from = Math.min(Math.max(0, current - SHOWN / 2), waves.length - SHOWN);
  return waves.slice(from, from + SHOWN);
}

// The end of the axis: now, while something runs, by the server's clock; else the last event.
function ended(live) {
  const { from, to } = live.times;
  if (from === null) return 1;
  const waited = live.times.stops.reduce((sum, [began, until]) => sum + ((until ?? to) - began), 0);
  return Math.max(to, live.state.status === "running" ? from + live.elapsed() + waited : to, from + 0.1);
}

function row(id) {
  const cell = (kind) => h("td", { class: kind });
  const [done, failed, blocked, flying, attempts, cost, lane] = [cell("progress"), cell("number"), cell("number"), cell("number"), cell("number wide"), cell("number wide"), cell("lane-cell wide")];
  const node = h("tr", {}, h("th", { scope: "row", class: "number" }, number(id)), done, failed, blocked, flying, attempts, cost, lane);
  let shown = "";
  function show(wave, live, span, width) {
    const key = JSON.stringify([wave.total, wave.succeeded, wave.failed, wave.blocked, wave.flying, wave.attempts, wave.cost, live.state.current_wave === id && live.state.status]);
    if (key !== shown) {
      shown = key;
      node.classList.toggle("current", live.state.current_wave === id && live.state.status === "running");
      done.replaceChildren(h("div", { class: "beside" }, bar([["b-good", wave.succeeded], ["b-bad", wave.failed], ["b-warn", wave.blocked], ["b-busy", wave.flying]], wave.total),
        h("span", {}, `${number(wave.succeeded)} of ${number(wave.total)}`)));
      const figure = (cell_, count, kind) => cell_.replaceChildren(h("span", { class: count ? kind : "muted" }, number(count)));
      figure(failed, wave.failed, "bad");
      figure(blocked, wave.blocked, "warn");
      figure(flying, wave.flying, "busy");
      attempts.textContent = number(wave.attempts);
      cost.textContent = dollars(wave.cost);
    }
    lane.replaceChildren(laneOf(wave, live.times.stops, span, width));
  }
  return { node, show };
}

function laneOf(wave, stops, span, width) {
  const x = (at) => ((at - span.from) / (span.to - span.from)) * width;
  const drawn = s("svg", { class: "lane", viewBox: `0 0 ${width} ${LANE}`, width, height: LANE, "aria-hidden": "true" });
  for (const [from, to] of stops) drawn.append(s("rect", { class: "b-stop", x: x(from).toFixed(1), width: Math.max(0, x(to ?? span.to) - x(from)).toFixed(1), height: LANE }));
  if (wave.began === null) return drawn;
  const last = wave.flying > 0 ? span.to : wave.marks.reduce((late, mark) => Math.max(late, mark.at), wave.began);
  drawn.append(s("rect", { class: "b-span", x: x(wave.began).toFixed(1), y: LANE - 2, width: Math.max(2, x(last) - x(wave.began)).toFixed(1), height: 2 }));
  const bins = new Map();
  for (const { at, kind } of wave.marks) {
    const bin = Math.floor(Math.min(width - BIN, x(at)) / BIN);
    if (!bins.has(bin)) bins.set(bin, { passed: 0, rejected: 0, lost: 0, all: 0 });
    bins.get(bin)[kind] += 1;
    bins.get(bin).all += 1;
  }
  const most = Math.max(1, ...[...bins.values()].map((bin) => bin.all));
  const unit = Math.min(9, (LANE - 3) / most);
  const paths = { passed: "", rejected: "", lost: "" };
  for (const [at, bin] of bins) {
    let y = LANE - 3;
    for (const kind of KINDS) {
      const tall = bin[kind] * unit;
      if (tall > 0) paths[kind] += `M${at * BIN} ${(y - tall).toFixed(2)}h${BIN - 0.5}v${tall.toFixed(2)}h${0.5 - BIN}z`;
      y -= tall;
    }
  }
  for (const kind of KINDS) if (paths[kind]) drawn.append(s("path", { class: `k-${kind}`, d: paths[kind] }));
  return drawn;
}

function drawAxis(axis, span, width) {
  const seconds = span.to - span.from;
  const power = 10 ** Math.floor(Math.log10(seconds / 5));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= seconds / 5);
  axis.replaceChildren();
  axis.setAttribute("viewBox", `0 0 ${width} 14`);
  axis.setAttribute("width", width);
  axis.setAttribute("height", 14);
  for (let at = 0; at <= seconds || at === 0; at += step) {
    const [x, text] = [(at / seconds) * width, at < 100 ? `${+at.toPrecision(2)} s` : time(at)];
    if (at === 0 || x + text.length * LETTER <= width) axis.append(s("text", { x: x.toFixed(1), y: 11 }, text));
  }
}
