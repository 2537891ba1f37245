import type { Entry } from "./outbox.ts";
import { foldEvent, type Docs, type Replica, type State } from "./state.ts";
import type { Cursor } from "./storage.ts";
import { utf8Length, type Json } from "./json.ts";
import type { Limits, Member, ServerMessage, TidemarkEvent } from "./wire.ts";

const FRAME = 48 << 10; // bytes of a push or of hello: small enough for slow lines and for the server's limit of hello
const FLIGHT = 1 << 20; // unanswered bytes: what a slow line still holds after the app went offline
const PATIENCE = 10_000; // ms until an unanswered ping or hello means that the line is dead
const RETRY = 1_000; // ms before the first new attempt after a "later", doubling
const RETRY_MAX = 30_000;

/** What the shell has to do. */
export type Effect =
  | { do: "send"; text: string }
  | { do: "close"; why: string }
  | { do: "token" }
  | { do: "welcome"; by?: string }
  | { do: "live"; stream: string; events: number }
  | { do: "reset"; stream: string; reason: string }
  | { do: "signal"; stream: string; session: string; by?: string; data: Json }
  | { do: "presence"; stream: string; set?: Member[]; gone?: string[]; full?: boolean }
  | { do: "goodbye"; after: number }
  | { do: "error"; code: string; message: string; stream?: string };

/** One subscription of one connection. */
interface Sub {
  readonly sub: number;
  readonly r: Replica;
  /** Where it started, and the last event since; the chain of `prev` begins anew with every subscribe, reset and snapshot. */
  from: Cursor | undefined;
  start: number;
  last: TidemarkEvent | undefined;
  live: boolean;
  /** Documents of a snapshot that is not complete yet, the cursor that they stand for, and up to where events are needed. */
  staged?: Docs;
  at?: Cursor;
  upto?: number;
  /** Replaced by a newer subscription of the same replica; listened to only for presence. */
  old?: boolean;
  /** How many came since the last time it was live, and how often in vain it was subscribed again. */
  events: number;
  tries: number;
}

const FROM = { docs: "snapshot", events: "start", live: "now" };

/**
 * The client's side of one tidemark.v1 conversation: a state machine without socket, timer or clock. Every input gives the
 * effects that the shell carries out in order; what it does to outbox and confirmed state it does in `State`.
 */
export class Session {
  /** undefined: no connection. */
  phase: "connecting" | "replaying" | "live" | undefined;
  head = 0;
  /** The log of the newest connection. */
  log = "";
  /** When `tick` wants to be called, in ms of the shell's clock. */
  wake = Infinity;

  private readonly state: State;
  private wanted = new Set<Replica>();
  private readonly random: () => number;
  private out: Effect[] = [];

  // One connection's. `start` sets all of it anew.
  private helloLog: string | undefined;
  private subs = new Map<number, Sub>();
  private unsent!: Set<Entry>;
  /** Sent, not answered, in order. */
  private inflight!: { e: Entry; ref: number }[];
  /** The first mutation refused with a "later": it must be the next one that is sent. */
  private lock: Entry | undefined;
  /** The same, once its time has come: sent even if its event came meanwhile. */
  private first: Entry | undefined;
  private retryAt!: number;
  private refreshAt!: number;
  /** When anything came last, and when an answer was asked for that has not come. */
  private heard!: number;
  private asked!: number;
  private leaving!: boolean;

  // What outlasts it.
  private limits: Limits = { frame: 1 << 20, mutations: 1000, inflight: 1000, subs: 1000 };
  private heartbeat = 25_000;
  private nextSub = 1;
  private ref = 0;
  private retries = 0;
  private readonly presence = new Map<string, Json>();

  constructor(state: State, random: () => number = Math.random) {
    this.state = state;
    this.random = random;
  }

  /** The socket is open. */
  start(hello: { client: string; n: number; token?: string; app?: string }, now: number): Effect[] {
    this.phase = "connecting";
    this.subs = new Map();
    this.unsent = new Set();
    this.inflight = [];
    this.lock = this.first = undefined;
    this.retryAt = this.refreshAt = Infinity;
    this.leaving = false;
    this.heard = this.asked = now;
    this.helloLog = [...this.wanted].find((r) => r.cur)?.cur?.log;
    const subs: object[] = [];
    const rest: object[] = [];
    let room = FRAME - (hello.token?.length ?? 0);
    for (const r of this.wanted) {
      const entry = this.subscribe(r);
      room -= 3 * JSON.stringify(entry).length;
      if (room > 0) subs.push(entry);
      else rest.push({ type: "subscribe", ...entry });
    }
    this.send({ type: "hello", ...hello, log: this.helloLog, subs });
    for (const m of rest) this.send(m);
    return this.done(now);
  }

  /** The socket is gone. */
  stop(): void {
    this.phase = undefined;
    this.wake = Infinity;
    this.subs = new Map();
  }

  /** These replicas are needed, and no others. */
  want(all: Set<Replica>, now: number): Effect[] {
    for (const s of this.subs.values()) if (!s.old && !all.has(s.r)) this.leave(s);
    if (this.phase) for (const r of all) if (!this.wanted.has(r)) this.join(r);
    this.wanted = all;
    return this.done(now);
  }

  /** The outbox has new mutations on disk. */
  queue(entries: Iterable<Entry>, now: number): Effect[] {
    if (this.welcomed) for (const e of entries) if (!this.inflight.some((f) => f.e === e)) this.unsent.add(e);
    return this.done(now);
  }

  reauth(token: string, now: number): Effect[] {
    if (this.phase) this.send({ type: "auth", token });
    return this.done(now);
  }

  /** Presence is kept, and told again on every connection; null: not here any more. */
  tell(type: "signal" | "presence", stream: string, data: Json, now: number): Effect[] {
    if (type === "presence") {
      if (data === null) this.presence.delete(stream);
      else this.presence.set(stream, data);
    }
    if (this.welcomed && (type === "signal" || this.subscribedTo(stream))) this.send({ type, stream, data });
    return this.done(now);
  }

  /** Is the line still there? Asked when the device woke up. */
  probe(now: number): Effect[] {
    if (this.welcomed && this.asked === Infinity) this.ping(now);
    return this.done(now);
  }

  tick(now: number): Effect[] {
    if (!this.phase) return [];
    if (now - this.asked >= PATIENCE) this.out.push({ do: "close", why: "silent" });
    else if (this.welcomed && this.asked === Infinity && now - this.heard >= this.heartbeat) this.ping(now);
    if (now >= this.refreshAt) {
      this.refreshAt = Infinity;
      this.out.push({ do: "token" });
    }
    if (now >= this.retryAt) {
      this.retryAt = Infinity;
      this.first = this.lock;
      this.lock = undefined;
      this.unsent = new Set([this.first!, ...this.due()]);
    }
    return this.done(now);
  }

  receive(m: ServerMessage, now: number): Effect[] {
    this.heard = now;
    if (this.welcomed) this.asked = Infinity;
    const s = this.subs.get((m as { sub?: number }).sub!);
    const current = s?.old ? undefined : s;
    switch (m.type) {
      case "welcome":
        this.welcome(m, now);
        break;
      case "subscribed":
        if (s) {
          s.start = m.since;
          if (s.r.kind === "events") s.from ??= this.at({ seq: m.since });
          const mine = this.presence.get(s.r.stream);
          if (mine !== undefined) this.send({ type: "presence", stream: s.r.stream, data: mine });
        }
        break;
      case "events":
        if (current) this.events(current, m.events);
        break;
      case "live":
        if (current) this.live(current, this.at(m));
        break;
      case "reset":
        if (current) this.reset(current, m);
        break;
      case "snapshot":
        if (current?.staged) this.snapshot(current, m);
        break;
      case "unsubscribed":
        this.subs.delete(m.sub);
        break;
      case "ack":
        this.ack(m.results, now);
        break;
      case "signal":
      case "presence":
        if (s) this.out.push({ ...m, do: m.type, stream: s.r.stream } as Effect);
        break;
      case "pong":
        this.head = m.head;
        for (const sub of this.subs.values()) if (sub.live && !sub.old) this.move(sub, this.at(m));
        break;
      case "authenticated":
        this.expiry(m.expires_at, now);
        for (const r of this.wanted) if (r.error) this.join(r);
        break;
      case "error":
        this.error(m, s, now);
        break;
      case "goodbye":
        this.leaving = true;
        this.out.push({ do: "goodbye", after: m.reconnect_after_ms ?? 0 });
    }
    this.state.settle();
    return this.done(now);
  }

  /** The cursor that the server names. */
  private at({ seq, mark }: { seq: number; mark?: string }): Cursor {
    return { seq, log: this.log, mark };
  }
  private after({ seq, id }: TidemarkEvent): Cursor {
    return this.at({ seq, mark: id });
  }

  private get welcomed() {
    return this.phase === "replaying" || this.phase === "live";
  }

  private welcome(m: Extract<ServerMessage, { type: "welcome" }>, now: number) {
    this.phase = "replaying";
    this.asked = Infinity;
    this.log = m.log;
    this.head = m.head;
    this.heartbeat = m.heartbeat_ms || this.heartbeat;
    this.limits = { ...this.limits, ...m.limits };
    this.expiry(m.expires_at, now);
    for (const e of [...this.state.outbox.accepted]) if (e.slog !== m.log) this.state.requeue(e);
    this.unsent = new Set(this.due());
    this.out.push({ do: "welcome", by: m.by });
  }

  /** A token is renewed well before it ends, so that the line need not be cut. */
  private expiry(at: number | undefined, now: number) {
    const left = (at ?? Infinity) - now;
    this.refreshAt = now + (left > 300_000 ? left - 60_000 : left > 0 ? left * 0.8 : 10_000); // 10 s: our clock is wrong
  }

  // Subscriptions.

  private subscribe(r: Replica, tries = 0) {
    const sub = this.nextSub++;
    const from = r.cur;
    r.error = undefined;
    this.subs.set(sub, { sub, r, from, start: from?.seq ?? 0, last: undefined, live: false, events: 0, tries, staged: r.kind === "docs" && !from ? new Map() : undefined });
    return {
      sub,
      stream: r.stream,
      ...(from && { since: from.seq, mark: from.mark, log: from.log === this.helloLog ? undefined : from.log }),
      from: FROM[r.kind],
    };
  }

  private join(r: Replica, tries?: number) {
    this.send({ type: "subscribe", ...this.subscribe(r, tries) });
  }
  private leave(s: Sub) {
    s.old = true;
    this.send({ type: "unsubscribe", sub: s.sub });
  }

  /** Something is missing: go on from the last event that was applied. The new one comes first, so that presence stays. */
  private resubscribe(s: Sub) {
    const tries = s.last ? 1 : s.tries + 1;
    if (tries > 3) return void this.out.push({ do: "close", why: "the server's events do not connect" });
    const from = s.staged || tries === 3 ? undefined : s.last ? this.after(s.last) : s.from;
    if (s.r.kind !== "live") {
      if (from) this.state.moved(s.r, from);
      else this.state.drop(s.r, false);
    }
    this.join(s.r, tries);
    this.leave(s);
  }

  private events(s: Sub, events: TidemarkEvent[]) {
    let last = s.last;
    for (const e of events) {
      if (last ? e.prev !== last.seq || e.seq <= e.prev : e.prev > s.start || e.seq <= s.start) return this.resubscribe(s);
      last = e;
    }
    if (!last || s.r.kind === "live") return;
    s.last = last;
    s.events += events.length;
    const cur = this.after(last);
    if (!s.staged) return this.state.events(s.r, events, cur);
    for (const e of events) {
      this.state.arrived(e, this.log);
      foldEvent(s.staged, e);
    }
    s.at = cur;
    if (cur.seq >= (s.upto ?? Infinity)) this.complete(s);
  }

  private live(s: Sub, cur: Cursor) {
    if (s.staged) {
      s.at = cur;
      this.complete(s);
    }
    s.live = true;
    this.state.complete(s.r);
    this.move(s, cur);
    this.out.push({ do: "live", stream: s.r.stream, events: s.events });
    s.events = 0;
  }

  private move(s: Sub, cur: Cursor) {
    const old = s.r.cur;
    if (s.r.kind === "live") return;
    if (!old || cur.seq > old.seq) this.state.moved(s.r, cur);
    else if (old.log !== cur.log) s.r.seen = { seq: old.seq, log: cur.log }; // the same history under a new id
  }

  private reset(s: Sub, m: Extract<ServerMessage, { type: "reset" }>) {
    this.log = m.log;
    s.from = s.last = undefined;
    s.live = false;
    s.start = s.r.kind === "events" ? m.floor : 0;
    if (s.r.kind === "live") return;
    if (s.r.kind === "docs") s.staged = new Map();
    s.at = s.upto = undefined;
    this.state.drop(s.r, m.reason === "erased");
    if (s.r.kind === "events") this.state.moved(s.r, (s.from = this.at({ seq: m.floor })));
    this.out.push({ do: "reset", stream: s.r.stream, reason: m.reason });
  }

  private snapshot(s: Sub, m: Extract<ServerMessage, { type: "snapshot" }>) {
    for (const doc of m.docs) s.staged!.set(doc.key, doc);
    if (!m.done) return;
    s.start = m.seq;
    s.last = undefined;
    s.from = s.at = this.at(m);
    s.upto = m.upto ?? m.seq;
    if (s.upto <= m.seq) this.complete(s);
  }

  /** Everything up to `upto` is applied: from here on the documents are a state that the log really had. */
  private complete(s: Sub) {
    const docs = s.staged!;
    s.staged = undefined;
    this.state.replace(s.r, docs, s.at!);
  }

  private subscribedTo(stream: string) {
    for (const s of this.subs.values()) if (s.r.stream === stream && !s.old && !s.r.error) return true;
    return false;
  }

  // Writing.

  /** What has no verdict and is on disk. */
  private due(): Entry[] {
    return this.state.outbox.unanswered().filter((e) => e.k !== undefined);
  }

  private pump(now: number) {
    if (!this.welcomed || this.leaving) return;
    while (this.unsent.size && !this.lock) {
      const frame = this.frame(now);
      if (!frame) return;
      const { entries, log } = frame;
      const ref = ++this.ref;
      for (const e of entries) this.inflight.push({ e, ref });
      const texts = entries.map((e) => e.text);
      this.out.push({ do: "send", text: `{"type":"push","ref":${ref},${log ? `"log":"${log}",` : ""}"mutations":[${texts}]}` });
    }
  }

  /** Takes the next push frame from what is unsent: one log, small, within what may be unanswered. */
  private frame(now: number): { entries: Entry[]; log?: string } | undefined {
    const most = Math.min(this.limits.mutations, this.limits.inflight - this.inflight.length);
    const flight = this.inflight.reduce((n, f) => n + f.e.text.length, 0);
    const entries: Entry[] = [];
    let size = 0;
    let log: string | undefined;
    for (const e of this.unsent) {
      const alive = e === this.first || (e.seq === undefined && this.state.outbox.has(e));
      if (alive) {
        const bytes = utf8Length(e.text);
        if (bytes + 200 > this.limits.frame) {
          this.state.refuse(e, { code: "too_large", message: "the mutation is larger than the server's frames" }, now);
        } else {
          if (entries.length >= most || (entries.length && (size + bytes > FRAME || (log && e.log && e.log !== log)))) break;
          if (flight && flight + size + bytes > FLIGHT) break;
          entries.push(e);
          log ??= e.log;
          size += bytes + 1;
        }
      }
      this.unsent.delete(e);
    }
    if (entries.length) this.first = undefined;
    return entries.length ? { entries, log } : undefined;
  }

  private ack(results: Extract<ServerMessage, { type: "ack" }>["results"], now: number) {
    for (const [i, { e }] of this.inflight.splice(0, results.length).entries()) {
      const { seq, error } = results[i]!;
      if (error?.later) {
        this.lock ??= e;
        continue;
      }
      this.retries = 0;
      if (!this.state.outbox.has(e) || e.seq !== undefined) continue; // its event came before
      if (error) this.state.refuse(e, error, now);
      else this.state.accept(e, seq!, this.log);
    }
    this.later(now);
  }

  /** After a "later" nothing is sent until all is answered; then, a while after, all again from the first one refused. */
  private later(now: number) {
    if (!this.lock || this.inflight.length || this.retryAt !== Infinity) return;
    this.retryAt = now + Math.min(RETRY_MAX, RETRY * 2 ** this.retries++) * (0.5 + this.random() / 2);
  }

  private error(m: Extract<ServerMessage, { type: "error" }>, s: Sub | undefined, now: number) {
    for (const { e } of this.inflight.filter((f) => f.ref === m.ref)) if (this.state.outbox.has(e)) this.state.refuse(e, { code: m.code, message: m.message }, now);
    this.inflight = this.inflight.filter((f) => f.ref !== m.ref);
    this.later(now);
    if (s) this.subs.delete(s.sub);
    if (s && !s.old) s.r.error = m.code;
    this.out.push({ do: "error", code: m.code, message: m.message, stream: s?.r.stream });
  }

  // Every input ends here.

  private ping(now: number) {
    this.asked = now;
    this.send({ type: "ping" });
  }

  private send(m: object) {
    this.out.push({ do: "send", text: JSON.stringify(m) });
  }

  private done(now: number): Effect[] {
    this.pump(now);
    if (this.welcomed) {
      this.phase = "live";
      for (const s of this.subs.values()) if (!s.live && !s.old) this.phase = "replaying";
    }
    const deadline = this.asked + PATIENCE;
    const beat = this.welcomed && this.asked === Infinity ? this.heard + this.heartbeat : Infinity;
    this.wake = this.phase ? Math.min(deadline, beat, this.refreshAt, this.retryAt) : Infinity;
    const out = this.out;
    this.out = [];
    return out;
  }
}
