
"use strict";
(() => {
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

  // ---- head ------------------------------------------------------------------------------------------------------

  function figures() {
    const of = run.budget_usd === null ? "no budget" : `of ${dollars(run.budget_usd)} (${percent(run.total_cost_usd / (run.budget_usd || 1))})`;
    const unknown = run.unknown_cost_usd > 0
      ? h("small", { class: "warn" }, `and at most ${dollars(run.unknown_cost_usd)} of unknown fate`)
      : h("small", {}, "nothing of unknown fate");
    const won = run.success_after_retry === null ? "none retried" : `${percent(run.success_after_retry)} of those passed`;
    const calls = run.calls.billed_without_answer + run.calls.unknown_spend + run.calls.not_billed;
    const state = run.status === "completed" ? "good" : run.status === "failed" ? "bad" : "warn";
    const parts = [
      ["Status", h("span", { class: state }, words(run.status)), h("small", {}, run.reason)],
      ["Precision", `${run.precision_percent.toFixed(1)} %`, h("small", {}, `${number(run.atoms_succeeded)} of ${plural(run.atoms_total, "atom")}`)],
      ["Retry rate", percent(run.retry_rate), h("small", {}, won)],
      ["Attempts", number(run.attempts), h("small", {}, calls ? `and ${plural(calls, "call")} without answer` : "every call answered")],
      [run.simulated ? "Simulated cost" : "Cost", dollars(run.total_cost_usd), [h("small", {}, of), unknown]],
      ["Time", time(run.total_time_seconds), h("small", {}, `${time(run.check_seconds)} of checking`)],
    ];
    document.getElementById("figures").replaceWith(
      h("dl", { class: "figures" }, parts.map(([name, value, small]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, small)))));
    const started = run.started ? new Date(1000 * run.started).toISOString().slice(0, 19).replace("T", " ") : null;
    const facts = [
      `Execution ${run.execution_id}`, started && `started ${started} UTC`, run.model && `model ${run.model}`,
      run.escalation_model && `last attempt ${run.escalation_model}`, run.concurrency && `${plural(run.concurrency, "call")} at a time`,
      run.acceptance_passed === null ? null : `acceptance tests ${run.acceptance_passed ? "passed" : "failed"}`,
      run.simulated && "every answer, price and latency is the simulated server's",
    ];
    document.getElementById("facts").append(facts.filter(Boolean).join(" · "));
  }

  // ---- forecast --------------------------------------------------------------------------------------------------

  function forecast() {
    const told = data.forecast;
    if (!told) return;
    const show = (row, value) => (row.unit === "$" ? dollars(value) : row.unit === "s" ? time(value) : number(value));
    const verdict = (row) => {
      if (row.inside === null) return h("span", { class: "muted" }, "not final");
      if (row.inside) return h("span", { class: "good" }, "inside");
      return h("span", { class: "warn" }, row.actual < row.p10 ? "below p10" : "above p90");
    };
    const rows = told.rows.map((row) => {
      const actual = row.actual === null ? row.p50 : row.actual;
      const least = 0.6 * Math.min(row.p10, actual);
      const most = 1.08 * Math.max(row.p90, actual) || 1;
      const x = (value) => (100 * (value - least)) / (most - least);
      const plot = s("svg", { height: 18, "aria-hidden": "true" },
        s("line", { class: "axis", x1: "0", x2: "100%", y1: 9, y2: 9 }),
        s("rect", { class: "band", x: `${x(row.p10)}%`, width: `${Math.max(0.4, x(row.p90) - x(row.p10))}%`, y: 3, height: 12, rx: 2 }),
        s("line", { class: "mid", x1: `${x(row.p50)}%`, x2: `${x(row.p50)}%`, y1: 3, y2: 15 }),
        row.actual !== null && s("circle", { class: row.inside === false ? "dot out" : "dot", cx: `${x(row.actual)}%`, cy: 9, r: 5.5 }));
      return h("tr", {}, h("th", { scope: "row" }, row.figure), h("td", { class: "number" }, row.actual === null ? "" : show(row, row.actual)),
        h("td", { class: "plot" }, plot), h("td", { class: "number wide" }, show(row, row.p10)), h("td", { class: "number wide" }, show(row, row.p50)),
        h("td", { class: "number wide" }, show(row, row.p90)), h("td", {}, verdict(row)));
    });
    const names = [["", ""], ["Actual", "number"], ["", "plot"], ["p10", "number wide"], ["p50", "number wide"], ["p90", "number wide"], ["Verdict", ""]];
    const table = h("table", {}, h("thead", {}, h("tr", {}, names.map(([name, kind]) => h(name ? "th" : "td", { class: kind, scope: name ? "col" : null }, name)))), h("tbody", {}, rows));
    const rests = h("details", {}, h("summary", {}, `What it rests on (${told.assumptions.length} assumptions)`),
      h("table", {}, h("thead", {}, h("tr", {}, ["Assumption", "Value", "Source"].map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, told.assumptions.map((one) => h("tr", {}, h("td", {}, one.name), h("td", {}, one.value), h("td", { class: "muted" }, one.source))))));
    section("forecast", "Forecast and actual", "Made before the start. The band spans p10 to p90, the bar in it is the median, the dot is what happened.",
      h("div", { class: "scroll" }, table), rests);
  }

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

  // ---- causes ----------------------------------------------------------------------------------------------------

  function bars(title, rows, empty, kind) {
    const most = Math.max(1, ...rows.map((row) => row[1]));
    const list = h("div", { class: "bars" }, rows.map(([name, count, note]) => [
      h("span", {}, name, note && h("span", { class: "muted" }, ` ${note}`)),
      s("svg", { "aria-hidden": "true" }, s("rect", { class: kind, height: 10, width: `${(100 * count) / most}%`, rx: 1 })),
      h("span", { class: "number" }, number(count))]));
    return h("div", {}, h("h3", {}, title), rows.length ? list : h("p", { class: "muted" }, empty));
  }

  function causes() {
    const rejected = data.rejections.map((one) => [one.level, one.count, one.rule]);
    const calls = Object.entries(run.calls.by_kind).map(([kind, count]) => { const [name, billing] = kind.split(":"); return [words(name), count, words(billing)]; });
    calls.sort((a, b) => b[1] - a[1]);
    const lost = data.atoms.reduce((sum, atom) => sum + atom.workers_lost, 0);
    section("causes", "Why work was repeated", "An answer that fails its check costs an attempt. A call without answer is made again and costs none.",
      h("div", { class: "two" }, bars("Rejected answers, by level and rule", rejected, "None: every answer passed its check.", "s-rejected"),
        bars("Calls without answer, by kind", calls, "None: every call was answered.", "s-lost")),
      lost > 0 && h("p", { class: "note" }, `${plural(lost, "worker was", "workers were")} lost while checking; those checks ran again.`));
  }

  // ---- review ----------------------------------------------------------------------------------------------------

  function review() {
    const list = h("ol", { class: "review" });
    const more = h("button", { class: "more", type: "button" });
    const add = (upto) => {
      for (const item of data.review.slice(list.childElementCount, upto)) {
        list.append(h("li", {}, h("span", { class: `score ${item.confidence < 50 ? "bad" : "warn"}` }, item.confidence), h("div", {},
          h("button", { class: "link", type: "button", onclick: () => show(item.atom_id) }, item.atom_id),
          item.dependents > 0 && h("span", { class: "note" }, `  ${plural(item.dependents, "atom rests", "atoms rest")} on it`),
          h("ul", { class: "reasons" }, item.reasons.map((reason) => h("li", {}, `−${reason.points} ${reason.text}`))))));
      }
      const left = data.review.length - list.childElementCount;
      more.hidden = left <= 0;
      more.textContent = `Show ${left === 1 ? "the last one" : `${number(left)} more`}`;
    };
    more.addEventListener("click", () => add(data.review.length));
    add(8);
    const note = `Confidence is 100 minus stated points: a way to order reading, not a measurement. Atoms below ${data.listed_below} are listed, worst first.`;
    section("review", "To review", note, data.review.length ? [list, more] : h("p", { class: "muted" }, "Nothing stands out: no atom lies below the line."));
    window.addEventListener("beforeprint", () => add(data.review.length));
  }

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
    if (!atom.attempts.length) return h("span", { class: "muted" }, "none");
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
    const facts = [one.model, how, dollars(one.cost), `call ${time(one.latency)}`, `check ${time(one.check)}`, tests, stop].filter(Boolean).join(" · ");
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

  figures();
  forecast();
  timeline();
  cost();
  causes();
  review();
  atoms();
  document.getElementById("footer").append(
    `Written by mge-ray from the execution's journal; this file needs nothing else. Report version ${run.report_version}.` +
    (data.code_cap < 8000 ? ` Code is cut at ${number(data.code_cap)} characters an attempt to keep the file small; the journal has all of it.` : ""));
})();
