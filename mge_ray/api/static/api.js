// Requests: the token, problems as errors, another try while the engine restarts, and the stream of events.

import { link } from "./tell.js";

export const BASE = "/api/v2/execution";
const KEPT_AS = "mge_ray.token";
const GIVE_UP_MS = 60000;
const SILENT_MS = 40000; // a stream says it is alive every 15 s
const LONGEST_MS = 15000;

export const asksForToken = document.body.dataset.asksForToken === "true";
export const token = {
  get: () => sessionStorage.getItem(KEPT_AS),
  set: (value) => sessionStorage.setItem(KEPT_AS, value),
  forget: () => sessionStorage.removeItem(KEPT_AS),
};

// What the service refused: `message` is the problem's detail.
export class Problem extends Error {
  constructor(status, detail, afterMs = 0) {
    super(detail);
    this.status = status;
    this.afterMs = afterMs;
  }
}

export const atomPath = (executionId, atomId) => `/${executionId}/atoms/${atomId.split("/").map(encodeURIComponent).join("/")}`;

const sleep = (ms, signal) => new Promise((resolve, reject) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});
const backoff = (tries) => Math.random() * Math.min(LONGEST_MS, 500 * 2 ** tries) + 250;

function headers(more) {
  return asksForToken && token.get() ? { Authorization: `Bearer ${token.get()}`, ...more } : more || {};
}

// One try; returns the response or throws the problem.
export async function once(path, options = {}) {
  const { body, accept, lastEventId, signal } = options;
  const answer = await fetch(BASE + path, {
    method: options.method || "GET",
    headers: headers({
      // The second is Ray Serve's own: what was sent is carried out also if this page is closed at once.
      ...(body !== undefined && { "Content-Type": "application/json", "X-Request-Disconnect-Disabled": "?1" }),
      ...(accept && { Accept: accept }),
      ...(lastEventId && { "Last-Event-ID": String(lastEventId) }),
    }),
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
    cache: "no-store",
    credentials: "omit",
  });
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => null);
  const detail = (told && told.detail) || `the service answered ${answer.status}`;
  throw new Problem(answer.status, detail, 1000 * Number(answer.headers.get("Retry-After") || 0));
}

// Whether another try makes sense: the engine restarts, a proxy has lost it, or nothing answered.
function passing(error, posting) {
  if (error instanceof Problem) return error.status === 503 || (!posting && [429, 502, 504].includes(error.status));
  return error.name !== "AbortError" && !posting;
}

function lost(error) {
  link(error instanceof Problem && error.status === 503 ? "The engine is restarting; trying again" : "No connection; trying again");
}

// Returns the response; tries again for a minute, for ever with `patient`. Reports who is not let in to `refused`.
export async function request(path, options = {}) {
  const begun = performance.now();
  for (let tries = 0; ; tries += 1) {
    try {
      const answer = await once(path, options);
      link("");
      return answer;
    } catch (error) {
      if (error instanceof Problem && error.status === 401) refusal.tell(error);
      if (!passing(error, options.method === "POST") || (!options.patient && performance.now() - begun > GIVE_UP_MS)) throw error;
      lost(error);
      await sleep(Math.max(error.afterMs || 0, backoff(tries)), options.signal);
    }
  }
}

export const refusal = { tell: () => {} };
export const get = async (path, signal) => (await request(path, { signal, patient: true })).json();
export const post = async (path, body) => (await request(path, { method: "POST", body: body || {} })).json();

// Follows an execution's events from after `after`, through any number of reconnects, until it ends or `signal` says so.
export async function follow(executionId, after, signal, take) {
  let seen = after;
  let tries = 0;
  while (!signal.aborted) {
    const watch = new AbortController();
    let afterMs = 0;
    const stop = () => watch.abort(signal.reason);
    signal.addEventListener("abort", stop, { once: true });
    try {
      const answer = await once(`/${executionId}/events`, { accept: "text/event-stream", lastEventId: seen, signal: watch.signal });
      link("");
      for await (const frame of frames(answer.body, watch)) {
        tries = 0;
        if (frame.id) seen = Number(frame.id);
        if (frame.event === "end") return;
        if (frame.data) take(frame.event, JSON.parse(frame.data));
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Problem && error.status === 401) refusal.tell(error);
      if (error instanceof Problem && !passing(error, false)) throw error;
      if (error instanceof Problem || tries > 0) lost(error); // one quiet reconnect is nobody's matter
      afterMs = error.afterMs || 0;
    } finally {
      signal.removeEventListener("abort", stop);
      watch.abort();
    }
    await sleep(Math.max(afterMs, backoff(tries)), signal).catch(() => {});
    tries += 1;
  }
}

async function* frames(body, watch) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let silent = null;
  const heard = () => { clearTimeout(silent); silent = setTimeout(() => watch.abort(new DOMException("silent", "TimeoutError")), SILENT_MS); };
  heard();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) yield frame(part);
    }
  } finally {
    clearTimeout(silent);
  }
}

function frame(text) {
  const made = { id: "", event: "message", data: "" };
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) made[line.slice(0, colon)] = line.slice(colon + 1).trimStart();
  }
  return made;
}
