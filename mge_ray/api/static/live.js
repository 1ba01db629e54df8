// Live: one execution as the page knows it, kept up to date. State, rows of atoms, and what its events say about time.
//
// Events come first (paged, up to now), then the rows, then the stream from that event on. So nothing falls between; an
// event only names an atom whose row is fetched again, at most twice a second and all of them in one request.

import { follow, get } from "./api.js";
import { throttled } from "./dom.js";

const EVENT_PAGE = 1000;
const ROW_PAGE = 5000;
const ROW_BATCH = 400; // ids have up to 128 characters, and addresses are bounded
const FETCH_EVERY_MS = 500;
const ENDED_LOOK_MS = 20000;
const REOPENED_MS = 1000;
export const ENDED = new Set(["completed", "failed", "cancelled"]);
export const IN_FLIGHT = new Set(["generating", "executing"]); // one that is answered waits for its check

export class Live extends EventTarget {
  constructor(executionId) {
    super();
    this.id = executionId;
    this.state = null;
    this.stateAt = 0;
    this.rows = new Map();
    this.times = new Times();
    this.loaded = false;
    this.changed = new Set();
    this.stopping = new AbortController();
    this.streaming = false;
    this.refresh = throttled(FETCH_EVERY_MS, () => this.fetchChanged().catch((error) => this.failed(error)));
    this.seen = 0;
  }

  say(name, detail) { this.dispatchEvent(new CustomEvent(name, { detail })); }

  failed(error) { if (!this.stopping.signal.aborted) this.say("failed", error); }

  stop() {
    this.stopping.abort(new DOMException("left", "AbortError"));
    this.refresh.cancel();
    clearInterval(this.looking);
  }

  // Loads everything and then follows; resolves when the rows are there.
  async start() {
    const signal = this.stopping.signal;
    try {
      this.take(await get(`/${this.id}`, signal));
      await this.loadEvents(signal);
      await this.loadRows(signal);
      this.loaded = true;
      this.say("rows", new Set(this.rows.keys()));
      this.stream();
      this.looking = setInterval(() => { if (!this.streaming && !document.hidden) this.look(); }, ENDED_LOOK_MS);
    } catch (error) {
      this.failed(error);
    }
  }

  async loadEvents(signal) {
    for (;;) {
      const page = await get(`/${this.id}/events?after=${this.seen}&limit=${EVENT_PAGE}`, signal);
      for (const event of page.events) this.time(event);
      this.seen = page.next_after;
      if (page.events.length < EVENT_PAGE) return;
    }
  }

  async loadRows(signal) {
    for (let after = 0; after !== null;) {
      const page = await get(`/${this.id}/atoms?limit=${ROW_PAGE}&after=${after}`, signal);
      for (const row of page.atoms) this.rows.set(row.atom_id, row);
      after = page.next_after;
    }
  }

  async stream() {
    if (this.streaming || ENDED.has(this.state.status) || this.stopping.signal.aborted) return;
    this.streaming = true;
    try {
      await follow(this.id, this.seen, this.stopping.signal, (kind, data) => {
        if (kind === "state") this.take(data);
        else this.happened(data);
      });
    } catch (error) {
      this.failed(error);
      return;
    } finally {
      this.streaming = false;
    }
    if (this.stopping.signal.aborted) return;
    this.changedAll();
    if (!ENDED.has(this.state.status)) setTimeout(() => this.stream(), REOPENED_MS); // opened again as the stream ended
  }

  time(event) {
    const before = this.times.limit;
    this.times.add(event);
    if (this.times.limit !== before) this.say("limit");
  }

  happened(event) {
    if (event.seq <= this.seen) return;
    this.seen = event.seq;
    this.time(event);
    if (event.atom_id) this.changed.add(event.atom_id);
    else this.changedAll();
    this.refresh();
    this.say("event", event);
  }

  // What is no single atom's event may have moved any of them: a cancel, a retry, a wave's own tests.
  changedAll() {
    for (const [id, row] of this.rows) if (row.status !== "succeeded") this.changed.add(id);
    this.refresh();
  }

  // A failed atom blocks those that rest on it, and a success makes some ready: those have no event of their own.
  fellowsOf(rows) {
    const ids = new Set(rows.map((row) => row.atom_id));
    for (const row of this.rows.values()) {
      if (["pending", "ready", "waiting", "blocked"].includes(row.status) && row.depends_on.some((id) => ids.has(id))) this.changed.add(row.atom_id);
    }
  }

  async fetchChanged() {
    if (!this.changed.size || this.fetching || !this.loaded) return;
    this.fetching = true;
    const ids = [...this.changed];
    this.changed.clear();
    try {
      const news = [];
      for (let at = 0; at < ids.length; at += ROW_BATCH) {
        const query = ids.slice(at, at + ROW_BATCH).map((id) => `id=${encodeURIComponent(id)}`).join("&");
        news.push(...(await get(`/${this.id}/atoms?limit=${ROW_BATCH}&${query}`, this.stopping.signal)).atoms);
      }
      const moved = news.filter((row) => JSON.stringify(row) !== JSON.stringify(this.rows.get(row.atom_id)));
      const ended = moved.filter((row) => row.status !== this.rows.get(row.atom_id)?.status);
      for (const row of moved) this.rows.set(row.atom_id, row);
      if (moved.length) this.say("rows", new Set(moved.map((row) => row.atom_id)));
      this.fellowsOf(ended.filter((row) => ["succeeded", "failed", "blocked"].includes(row.status)));
    } finally {
      this.fetching = false;
    }
    if (this.changed.size) this.refresh();
  }

  take(state) {
    const before = this.state;
    this.state = state;
    this.stateAt = performance.now();
    this.say("state", { before, state });
    if (before && ENDED.has(before.status) !== ENDED.has(state.status)) this.changedAll();
    if (before && before.current_wave !== state.current_wave) this.changedIn(state.current_wave);
    if (this.loaded) this.stream();
  }

  // A wave that opens makes its atoms ready, without an event of theirs.
  changedIn(wave) {
    for (const [id, row] of this.rows) if (row.wave_id === wave && row.status !== "succeeded") this.changed.add(id);
    this.refresh();
  }

  async look() {
    try {
      const state = await get(`/${this.id}`, this.stopping.signal);
      if (state.status !== this.state.status) this.take(state);
    } catch (error) {
      this.failed(error);
    }
  }

  // Seconds that it has taken, going on between two states.
  elapsed() {
    const { state } = this;
    const more = state.status === "running" ? (performance.now() - this.stateAt) / 1000 : 0;
    return state.total_time_seconds + more;
  }
}

// What events say about time, for the waves' lanes: when atoms began to be worked on, and when attempts were judged.
export class Times {
  constructor() {
    this.from = null;
    this.to = null;
    this.marks = new Map(); // atom -> [{at, kind}]
    this.began = new Map(); // atom -> when its first lease was granted
    this.stops = []; // [from, to or null]
    this.limit = null;
  }

  add(event) {
    const { at, atom_id: atom, kind, details } = event;
    this.from = this.from === null ? at : Math.min(this.from, at);
    this.to = Math.max(this.to ?? at, at);
    if (kind === "execution_started") this.limit = details.max_concurrency;
    else if (kind === "concurrency_changed") this.limit = details.limit;
    else if (kind === "pause_requested" || kind === "halt_requested") { if (!this.stopped()) this.stops.push([at, null]); }
    else if (kind === "resume_requested" && this.stopped()) this.stops.at(-1)[1] = at;
    if (!atom) return;
    if (kind === "lease_granted" && !this.began.has(atom)) this.began.set(atom, at);
    else if (kind === "atom_executed" || kind === "code_edited") this.mark(atom, at, kind === "code_edited" || details.passed ? "passed" : "rejected");
    else if (kind === "generation_failed" || kind === "worker_lost" || kind === "atom_timed_out") this.mark(atom, at, "lost");
    else if (kind === "atom_reused") { if (!this.began.has(atom)) this.began.set(atom, at); this.mark(atom, at, "passed"); }
  }

  stopped() { return this.stops.length > 0 && this.stops.at(-1)[1] === null; }

  mark(atom, at, kind) {
    if (!this.marks.has(atom)) this.marks.set(atom, []);
    this.marks.get(atom).push({ at, kind });
  }
}
