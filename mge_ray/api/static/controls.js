// What may be done about an execution as it stands, by whoever looks. Buttons stay in place and are hidden, so that focus has somewhere to go.

import { post, request } from "./api.js";
import { ask } from "./dialogs.js";
import { button, dollars, h, plural } from "./dom.js";
import { clear, notice, tell } from "./tell.js";
import { who } from "./who.js";

const VERBS = [
  ["pause", "Pause", "operator", (one) => one.status === "running"],
  ["resume", "Resume", "operator", (one) => one.status === "paused"],
  ["halt", "Pause now …", "operator", (one) => one.status === "running" || (one.status === "paused" && one.atoms_in_flight > 0)],
  ["retry", "Retry failed …", "operator", (one) => one.atoms_failed > 0 && ["paused", "failed"].includes(one.status)],
  ["budget", "Budget …", "admin", (one) => one.status !== "cancelled" && one.status !== "completed"],
  ["concurrency", "Concurrency …", "operator", (one) => ["running", "paused"].includes(one.status)],
  ["cancel", "Cancel …", "operator", (one) => ["pending", "running", "paused"].includes(one.status)],
  ["download", "Download the project", "viewer", (one) => one.atoms_succeeded > 0],
];

export function controls(live, signal) {
  const path = (verb) => `/${live.id}/${verb}`;
  let busy = false;

  async function act(verb, body, said) {
    live.take(await post(path(verb), body));
    clear();
    tell(said, true);
  }

  // One at a time; what is wrong is said and nothing is lost.
  async function alone(made, doing) {
    if (busy) return;
    busy = true;
    made.setAttribute("aria-disabled", "true");
    try {
      await doing();
    } catch (error) {
      if (error.status !== 401 && error.name !== "AbortError") notice(error.message);
    } finally {
      busy = false;
      made.removeAttribute("aria-disabled");
    }
  }

  const doings = {
    pause: () => act("pause", { reason: "requested on the page" }, "Pause requested; what is in flight finishes."),
    resume: () => act("resume", undefined, "Going on."),
    halt: () => ask({
      title: "Pause now?", go: "Pause now", danger: true,
      text: `${plural(live.state.atoms_in_flight, "atom")} in flight will be given up. What their calls may cost is counted as unknown spend. Pause without “now” lets them finish.`,
      act: () => act("pause", { reason: "requested on the page", now: true }, "Paused."),
    }),
    cancel: () => ask({
      title: "Cancel this execution?", go: "Cancel the execution", danger: true,
      text: "It ends now and cannot be resumed. What is in flight is given up; what was accepted is kept.",
      fields: [{ name: "reason", label: "Reason", value: "cancelled on the page", required: true, maxlength: 500 }],
      act: (values) => act("cancel", values, "Cancelled."),
    }),
    retry: () => ask({
      title: "Retry what failed?", go: "Grant new attempts",
      text: `${plural(live.state.atoms_failed, "failed atom")} will get new attempts, and what they blocked its first. It is paused after that; resume it when you are ready.`,
      act: () => act("retry", {}, "New attempts granted; it is paused."),
    }),
    budget: () => ask({
      title: "Another budget", go: "Set the limit",
      text: `Spent so far: ${dollars(live.state.total_cost_usd)}. The present limit is ${live.state.budget_usd === null ? "none" : dollars(live.state.budget_usd)}. ${who.caller ? "" : "This needs an admin's token. "}The change is audited.`,
      fields: [
        { name: "limit_usd", label: "Limit in US dollars", type: "number", min: 0, max: 1e9, step: "any", value: live.state.budget_usd ?? "", required: true },
        { name: "reason", label: "Reason", required: true, maxlength: 500 },
      ],
      act: (values) => act("budget", values, `The limit is ${dollars(values.limit_usd)} now.`),
    }),
    concurrency: () => ask({
      title: "Calls in flight", go: "Set the bound",
      fields: [{ name: "limit", label: "At most", type: "number", min: 1, max: 100000, step: 1, value: live.times.limit ?? "", required: true, note: "What is in flight beyond it ends by itself." }],
      act: (values) => act("concurrency", values, `At most ${values.limit} calls in flight.`),
    }),
    download: () => download(live),
  };
  const buttons = VERBS.map(([name, text, role, may]) => {
    const made = button(text, () => alone(made, doings[name]), { hidden: true, class: name === "resume" || name === "pause" ? "main" : name === "cancel" ? "danger" : null });
    return [made, (one) => who.may(role) && may(one)];
  });

  function show() {
    if (!live.state) return;
    const focused = buttons.find(([made]) => made === document.activeElement)?.[0];
    for (const [made, may] of buttons) made.hidden = !may(live.state);
    node.hidden = buttons.every(([made]) => made.hidden);
    if (focused?.hidden) (buttons.find(([made]) => !made.hidden)?.[0] || document.getElementById("main")).focus();
  }
  const node = h("div", { class: "controls", role: "group", "aria-label": "Control" }, buttons.map(([made]) => made));
  live.addEventListener("state", show, { signal });
  who.addEventListener("known", show, { signal });
  show();
  return node;
}

async function download(live) {
  const answer = await request(`/${live.id}/output`);
  const name = /filename="([^"]+)"/.exec(answer.headers.get("Content-Disposition") || "")?.[1] || "project.zip";
  const url = URL.createObjectURL(await answer.blob());
  const anchor = h("a", { href: url, download: name });
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
  const partial = answer.headers.get("X-Project-Partial") === "true";
  tell(partial ? `${name} is incomplete; PARTIAL.md inside says what is missing.` : `${name} is complete.`, true);
  if (partial) notice(`${name} is incomplete; PARTIAL.md inside says what is missing.`, "info");
}
