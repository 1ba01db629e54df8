
// Timeline and cost: two charts on one time axis, drawn again when their width changes.

// ---- timeline and cost share one time axis ---------------------------------------------------------------------

const end = Math.max(1e-3, ...data.waves.map((wave) => (wave.times ? wave.times[1] : 0)), ...data.acceptance.map((span) => span[3]),
  data.money.length ? data.money[data.money.length - 1][0] : 0);
const LEFT = 46;

function frame(width, height, top) {
  const x = (at) => LEFT + ((width - LEFT) * at) / end;
  const svg = s("svg", { viewBox: `0 0 ${width} ${height}`, height });
  for (const [from, to] of data.pauses) svg.append(s("rect", { class: "pause", x: x(from), y: top, width: Math.max(1, x(to) - x(from)), height: height - top - 20 }));
  const { step, values } = ticks(end, Math.max(3, width / 130));
  const clock = step >= 60 ? (at) => `${Math.round(at / 60)} min` : (at) => `${+at.toFixed(3)} s`;
  for (const at of values) {
    svg.append(s("line", { class: "grid", x1: x(at), x2: x(at), y1: top, y2: height - 20 }));
    if (x(at) < width - 14) svg.append(s("text", { x: x(at), y: height - 5, "text-anchor": at ? "middle" : "start" }, clock(at)));
  }
  svg.append(s("line", { class: "axis", x1: LEFT, x2: width, y1: height - 20, y2: height - 20 }));
  return { svg, x };
}

function waveRules(svg, x, top, bottom, labelled) {
  for (const wave of data.waves) {
    if (!wave.times) continue;
    const [from, to] = wave.times;
    if (to - from < end / 1000 && wave.wave_id > 1) continue;
    svg.append(s("line", { class: "rule", x1: x(from), x2: x(from), y1: top, y2: bottom }));
    const room = x(to) - x(from);
    if (labelled && room > 20) {
      svg.append(s("text", { class: "strong", x: x(from) + 4, y: 12 }, room > 58 ? `Wave ${wave.wave_id}` : wave.wave_id));
      if (room > 58) svg.append(s("text", { x: x(from) + 4, y: 26 }, room > 110 ? `${plural(wave.atoms_total, "atom")}, ${time(to - from)}` : time(to - from)));
    }
  }
}

function flightsOf(atom, longest) {
  const flights = [];
  for (const span of atom.spans) {
    const last = flights[flights.length - 1];
    if (last && span[2] - last.to <= longest) { last.spans.push(span); last.to = span[3]; }
    else flights.push({ atom, from: span[2], to: span[3], spans: [span] });
  }
  return flights;
}

function lanes() {
  const longest = data.atoms.length > 150 ? end / 200 : Infinity;
  const flights = data.atoms.flatMap((atom) => flightsOf(atom, longest));
  flights.sort((a, b) => a.from - b.from);
  const free = [];
  for (const flight of flights) {
    let lane = free.findIndex((until) => until <= flight.from + 1e-9);
    if (lane < 0) lane = free.push(0) - 1;
    free[lane] = flight.to;
    flight.lane = lane;
  }
  return { flights, count: free.length };
}

function kindOf(atom, [kind, attempt, , , outcome]) {
  if (outcome === "running" || outcome === "given_up") return "open";
  if (kind === "check") return outcome === "worker_lost" ? "lost" : "check";
  if (outcome !== "answered" && outcome !== "bad_answer") return "lost";
  const made = atom.attempts.find((one) => one.n === attempt);
  return !made ? "open" : made.passed ? "passed" : "rejected";
}

function timeline() {
  const { flights, count } = lanes();
  const KINDS = [["passed", "call, answer accepted"], ["rejected", "call, answer rejected"], ["lost", "no answer, or worker lost"], ["check", "check"], ["open", "unfinished"]];
  const size = count > 160 ? 2 : count > 70 ? 4 : count > 32 ? 7 : 10;
  const gap = size > 4 ? 2 : size > 2 ? 1 : 0;
  const top = 36;
  const chart = h("div", { class: "chart pick" });
  const used = new Set();
  let last = 0;
  const draw = () => {
    const width = chart.clientWidth;
    if (!width || width === last) return;
    last = width;
    const height = top + count * (size + gap) + 26;
    const { svg, x } = frame(width, height, top);
    const paths = { passed: "", rejected: "", lost: "", check: "", open: "" };
    let waits = "";
    for (const { atom, lane, spans } of flights) {
      const y = top + lane * (size + gap) + 2;
      let before = null;
      for (const span of spans) {
        const [kind, , start, to, , busy] = span;
        const from = kind === "check" ? to - busy : start;
        const name = kindOf(atom, span);
        used.add(name);
        if (before !== null && x(from) - x(before) > 1) waits += `M${x(before).toFixed(1)} ${y + size / 2}H${x(from).toFixed(1)}`;
        const inset = kind === "check" && size > 4 ? 1 : 0;
        paths[name] += rect(x(from), y + inset, Math.max(1.2, x(to) - x(from) - 0.4), size - 2 * inset);
        before = to;
      }
    }
    svg.append(s("path", { class: "s-wait", d: waits }));
    for (const [name] of KINDS) if (paths[name]) svg.append(s("path", { class: `s-${name}`, d: paths[name] }));
    for (const [, , start, to, , busy] of data.acceptance) {
      const from = to - (busy || to - start);
      used.add("check");
      svg.append(s("rect", { class: "s-check", x: x(from), y: top + 2, width: Math.max(1.2, x(to) - x(from)), height: size }));
    }
    waveRules(svg, x, 0, height - 20, true);
    svg.append(s("text", { x: LEFT - 6, y: top + 10, "text-anchor": "end" }, "slot 1"));
    if (count > 3) svg.append(s("text", { x: LEFT - 6, y: height - 26, "text-anchor": "end" }, count));
    const mark = s("rect", { class: "hover", visibility: "hidden" });
    svg.append(mark);
    const under = (event) => {
      const box = svg.getBoundingClientRect();
      const at = ((event.clientX - box.left - LEFT) / (box.width - LEFT)) * end;
      const lane = Math.floor((event.clientY - box.top - top) / (size + gap));
      const near = (2 / width) * end;
      return flights.find((flight) => flight.lane === lane && flight.from - near <= at && at <= flight.to + near);
    };
    svg.addEventListener("pointermove", (event) => {
      const found = under(event);
      if (!found) { mark.setAttribute("visibility", "hidden"); tip(null); return; }
      fill(mark, { x: x(found.from) - 1.5, y: top + found.lane * (size + gap) + 0.5, width: x(found.to) - x(found.from) + 3, height: size + 3, visibility: "visible" }, []);
      tip(event, found.atom.id, `${found.atom.title}. ${words(found.atom.status)}, ${plural(found.atom.attempts.length, "attempt")}, ${time(found.from)} to ${time(found.to)}`);
    });
    svg.addEventListener("pointerleave", () => { mark.setAttribute("visibility", "hidden"); tip(null); });
    svg.addEventListener("click", (event) => { const found = under(event); if (found) { tip(null); show(found.atom.id); } });
    fill(svg, { role: "img", "aria-label": `Timeline: ${plural(data.atoms.length, "atom")} in up to ${count} slots over ${time(end)}; the table of waves below gives the figures.` }, []);
    chart.replaceChildren(svg);
  };
  const legend = h("ul", { class: "legend" });
  const columns = [["Wave", (w) => w.wave_id], ["Atoms", (w) => number(w.atoms_total)], ["Succeeded", (w) => number(w.atoms_succeeded)], ["Failed", (w) => number(w.atoms_failed)],
    ["Blocked", (w) => number(w.atoms_blocked)], ["Attempts", (w) => number(w.attempts)], ["Retried", (w) => percent(w.retry_rate)], ["Cost", (w) => dollars(w.total_cost_usd)], ["Time", (w) => time(w.total_time_seconds)]];
  const hide = { Blocked: " wide", Cost: " wide", Succeeded: " wide", Retried: " wide" };
  const cells = (tag, row) => h("tr", {}, columns.map(([name, get]) => h(tag, { class: `number${hide[name] || ""}` }, get(row))));
  const table = h("table", {}, h("thead", {}, h("tr", {}, columns.map(([name]) => h("th", { class: `number${hide[name] || ""}`, scope: "col" }, name)))),
    h("tbody", {}, data.waves.map((wave) => cells("td", wave))), h("tfoot", {}, cells("td", { ...run, wave_id: "all" })));
  const note = "Each bar is one atom on its way: calls, waiting, checks. Bars share slots, so the height is about what was under way at once. Choose a bar to open its atom.";
  section("timeline", "Timeline", note, chart, legend, h("div", { class: "scroll", id: "waves" }, h("br", {}), table));
  onWidth(chart, draw);
  draw();
  legend.append(...KINDS.filter(([name]) => used.has(name)).map(([name, text]) => h("li", {}, swatch(`s-${name}`), text)));
  if (data.pauses.length) legend.append(h("li", {}, swatch("pause"), "paused"));
}

const swatch = (name) => s("svg", { viewBox: "0 0 16 10", "aria-hidden": "true" }, s("rect", { class: name, width: 16, height: 10, rx: 1 }));

function cost() {
  const spent = data.money.length ? data.money[data.money.length - 1][1] : 0;
  const atRisk = Math.max(0, ...data.money.map(([, paid, risk]) => paid + risk));
  const limit = run.budget_usd;
  const near = limit !== null && limit > 0 && limit <= 4 * Math.max(spent, atRisk);
  const ceiling = 1.1 * (near ? Math.max(limit, atRisk) : spent) || 1;
  const chart = h("div", { class: "chart" });
  const height = 220;
  let last = 0;
  const draw = () => {
    const width = chart.clientWidth;
    if (!width || width === last) return;
    last = width;
    const { svg, x } = frame(width, height, 10);
    const y = (value) => height - 20 - ((height - 34) * value) / ceiling;
    const scale = ticks(ceiling, 4);
    const digits = Math.min(8, Math.max(0, scale.step >= 1 ? 0 : 2, Math.ceil(-Math.log10(scale.step))));
    for (const value of scale.values) {
      if (value) svg.append(s("line", { class: "grid", x1: LEFT, x2: width, y1: y(value), y2: y(value) }));
      svg.append(s("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, value ? `$${value.toFixed(digits)}` : "$0"));
    }
    waveRules(svg, x, 10, height - 20, false);
    const line = (pick) => data.money.map((point, index) => (index ? `H${x(point[0]).toFixed(1)}V${y(pick(point)).toFixed(1)}` : `M${x(point[0]).toFixed(1)} ${y(pick(point)).toFixed(1)}`)).join("") + `H${x(end).toFixed(1)}`;
    if (data.money.length) {
      const down = `V${y(0)}H${x(data.money[0][0]).toFixed(1)}z`;
      if (near) svg.append(s("path", { class: "risk", d: line((point) => point[1] + point[2]) + down }));
      svg.append(s("path", { class: "under", d: line((point) => point[1]) + down }), s("path", { class: "spent", d: line((point) => point[1]) }));
    }
    if (near) {
      for (const [value, kind, name] of [[limit, "limit", "hard limit"], [run.soft_usd, "limit soft", "soft limit"]]) {
        svg.append(s("line", { class: kind, x1: LEFT, x2: width, y1: y(value), y2: y(value) }), s("text", { x: LEFT + 5, y: y(value) - 4 }, `${name} ${dollars(value)}`));
      }
    }
    svg.append(s("text", { class: "strong", x: width - 2, y: Math.max(22, y(spent) - 6), "text-anchor": "end" }, dollars(spent)));
    fill(svg, { role: "img", "aria-label": `Cost over time: ${dollars(spent)} at the end.` }, []);
    chart.replaceChildren(svg);
  };
  let note = near ? "Spent, and on top of it what calls in flight had reserved or calls that vanished may have cost." : "Spent, as answers arrived.";
  if (limit === null) note += " There is no budget.";
  else if (!near) note += ` The limits, ${dollars(run.soft_usd)} soft and ${dollars(limit)} hard, lie far above this scale: ${percent(spent / limit)} was used.`;
  section("cost", run.simulated ? "Simulated cost" : "Cost", note, chart,
    near && h("ul", { class: "legend" }, h("li", {}, swatch("s-passed"), "spent"), h("li", {}, swatch("risk"), "reserved or of unknown fate"), h("li", {}, swatch("s-lost"), "hard limit"), h("li", {}, swatch("s-rejected"), "soft limit, 70 %")));
  onWidth(chart, draw);
  draw();
}

function onWidth(node, draw) {
  if ("ResizeObserver" in window) new ResizeObserver(() => draw()).observe(node);
}

function tip(event, title, text) {
  const node = document.getElementById("tip");
  node.hidden = !event;
  if (!event) return;
  node.replaceChildren(h("b", { class: "mono" }, title), text);
  const left = Math.min(event.clientX + 14, window.innerWidth - node.offsetWidth - 8);
  const above = event.clientY + 20 + node.offsetHeight > window.innerHeight;
  node.style.left = `${Math.max(8, left)}px`;
  node.style.top = `${above ? event.clientY - node.offsetHeight - 12 : event.clientY + 18}px`;
}
