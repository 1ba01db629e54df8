
// Head, forecast, causes and the list to review.

// ---- head ------------------------------------------------------------------------------------------------------

function figures() {
  const of = run.budget_usd === null ? "no budget" : `of ${dollars(run.budget_usd)} (${percent(run.total_cost_usd / (run.budget_usd || 1))})`;
  const unknown = run.unknown_cost_usd > 0
    ? h("small", { class: "warn" }, `and at most ${dollars(run.unknown_cost_usd)} of unknown fate`)
    : h("small", {}, "nothing of unknown fate");
  const money = run.money;
  const paid = [
    h("small", {}, of), unknown,
    money.reserved_usd > 0 && h("small", {}, `at most ${dollars(money.reserved_usd)} reserved for calls in flight`),
    money.forecast_usd !== null && run.partial && h("small", {}, `${dollars(money.forecast_usd)} forecast at completion`),
    money.soft_limit_reached && h("small", { class: "warn" }, "70 % of the budget is used"),
    ...money.changes.map((one) => h("small", {}, `limit ${one.before_usd === null ? "none" : dollars(one.before_usd)} → ${dollars(one.limit_usd)}, by ${one.by}: ${one.reason}`)),
  ].filter(Boolean);
  const won = run.success_after_retry === null ? "none retried" : `${percent(run.success_after_retry)} of those passed`;
  const calls = run.calls.billed_without_answer + run.calls.unknown_spend + run.calls.not_billed;
  const reuse = run.reuse, cached = run.prompt_cache ? run.prompt_cache.read_tokens : 0;
  const saved = reuse.saved_usd + Math.max(0, run.prompt_cache?.saved_usd ?? 0);
  const state = run.status === "completed" ? "good" : run.status === "failed" ? "bad" : "warn";
  const parts = [
    ["Status", h("span", { class: state }, words(run.status)), h("small", {}, run.reason)],
    ["Precision", `${run.precision_percent.toFixed(1)} %`, h("small", {}, `${number(run.atoms_succeeded)} of ${plural(run.atoms_total, "atom")}`)],
    ["Retry rate", percent(run.retry_rate), h("small", {}, won)],
    ["Attempts", number(run.attempts), h("small", {}, calls ? `and ${plural(calls, "call")} without answer` : "every call answered")],
    [run.simulated ? "Simulated cost" : "Cost", dollars(run.total_cost_usd), paid],
    ["Not paid", dollars(saved), h("small", {}, [reuse.atoms_reused && `${plural(reuse.atoms_reused, "atom")} from earlier runs`,
      reuse.shared_answers && `${plural(reuse.shared_answers, "answer")} shared`, cached && `${number(cached)} prompt tokens from the cache`].filter(Boolean).join(", ") || "nothing taken over")],
    ["Time", time(run.total_time_seconds), h("small", {}, `${time(run.check_seconds)} of checking`)],
  ];
  document.getElementById("figures").replaceWith(
    h("dl", { class: "figures" }, parts.map(([name, value, small]) => h("div", {}, h("dt", {}, name), h("dd", {}, value, small)))));
  const started = run.started ? new Date(1000 * run.started).toISOString().slice(0, 19).replace("T", " ") : null;
  const facts = [
    run.partial && `PARTIAL: ${plural(run.atoms_total - run.atoms_succeeded, "atom is", "atoms are")} missing`, `Execution ${run.execution_id}`, started && `started ${started} UTC`, run.model && `model ${run.model}`,
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
        item.reviewed && h("span", { class: "good" }, `  ${item.reviewed}`),
        h("ul", { class: "reasons" }, item.reasons.map((reason) => h("li", {}, `−${reason.points} ${reason.text}`))))));
    }
    const left = data.review.length - list.childElementCount;
    more.hidden = left <= 0;
    more.textContent = `Show ${left === 1 ? "the last one" : `${number(left)} more`}`;
  };
  more.addEventListener("click", () => add(data.review.length));
  add(8);
  const note = `Confidence is 100 minus stated points: a way to order reading, not a measurement. Atoms below ${data.listed_below} are listed, worst first; those somebody has dealt with come last.`;
  const commands = data.review_commands.length > 0 && [h("p", { class: "note" }, "To say that you have looked, or to put code of your own in place:"), h("pre", { tabindex: "0" }, data.review_commands.join("\n"))];
  section("review", "To review", note, data.review.length ? [list, more, commands] : h("p", { class: "muted" }, "Nothing stands out: no atom lies below the line."));
  window.addEventListener("beforeprint", () => add(data.review.length));
}
