import type { Socket } from "../loop.ts";
import { newId } from "../ids.ts";
import type { Json } from "../json.ts";
import type { Member, Mutation, WireError } from "../wire.ts";
import { Log, refusal, type LogEvent, type Verdict } from "./log.ts";

/** Where the line can be cut: a push came but nothing happened yet; it is done but not acknowledged; in the middle of a snapshot; before events. */
export type CutPoint = "hello" | "push" | "ack" | "snapshot" | "events";

export interface TestServerOptions {
  /** Says who a token is; throws or gives undefined for a bad one. Default: everybody is nobody. */
  authenticate?: (token: string | undefined) => { by: string; expires_at?: number } | undefined;
  /** Events or documents per frame. */
  page?: number;
  heartbeat_ms?: number;
  limits?: { frame?: number; mutations?: number; inflight?: number };
}

type Message = { type: string; [field: string]: unknown };
type HelloSub = { sub: number; stream: string; since?: number; mark?: string; log?: string; from?: string };

interface Sub {
  sub: number;
  stream: string;
  from: string;
  /** Everything up to here was sent; undefined while a snapshot has to be sent. */
  cursor: number | undefined;
  live: boolean;
  liveAt: number;
  /** A snapshot is being sent, and what happens meanwhile waits. */
  busy: boolean;
}

/** A Tidemark server in memory. `createClient({ url: server.url, webSocket: server.webSocket, … })` connects to it. */
export class TestServer {
  readonly url = "ws://tidemark.test/v1/ws";
  readonly log = new Log();
  readonly options: TestServerOptions;
  /** Refuses mutations: gives the error for one, or undefined. With `later` it is only put off. */
  refuse: ((m: Mutation) => WireError | undefined) | undefined;
  /** Every push that arrived, for looking at. */
  readonly pushes: Mutation[][] = [];
  /** What happens between two frames of a snapshot. */
  duringSnapshot: (() => void) | undefined;
  /** So many frames of events are lost without a trace, as a broken server would lose them. */
  lose = 0;
  private held = false;
  private cuts = new Map<CutPoint, number>();
  private up = true;
  private readonly lines = new Set<Line>();

  constructor(options: TestServerOptions = {}) {
    this.options = options;
  }

  readonly webSocket = (_url: string, _protocol: string): Socket => {
    const line = new Line(this);
    queueMicrotask(() => (this.up ? line.open() : line.end(1006, "refused")));
    return line;
  };

  /** How many are connected. */
  get connections(): number {
    return this.lines.size;
  }
  /** Not reachable: every connection breaks, no new one is made. */
  stop(): void {
    this.up = false;
    this.cut();
  }
  start(): void {
    this.up = true;
  }
  /** Breaks all connections now, or the next one that comes to the named point (`times` of them). */
  cut(at?: CutPoint, times = 1): void {
    if (at) return void this.cuts.set(at, times);
    for (const line of [...this.lines]) line.end(1006, "cut", true);
  }
  /** The next push takes effect, but its acknowledgement is lost, with the line. */
  dropAck(): void {
    this.cut("ack");
  }
  /** Says goodbye, like a server that is shut down. */
  goodbye(after: number): void {
    for (const line of [...this.lines]) {
      line.tell({ type: "goodbye", reason: "shutdown", reconnect_after_ms: after });
      line.end(1001, "going away");
    }
  }
  /** Resets every subscription for this reason, as if the server's history did not fit. */
  reset(reason: string): void {
    for (const line of this.lines) line.resetAll(reason);
  }
  /** Somebody else writes. */
  write(m: Omit<Mutation, "id"> & { id?: string }, by = "somebody"): Verdict {
    const verdict = this.log.append({ id: newId(), ...m }, by, undefined);
    this.pump();
    return verdict;
  }
  /** Events stay back, while acknowledgements and snapshots go out; false: they go on. */
  hold(on: boolean): void {
    this.held = on;
    if (!on) this.pump();
  }
  /** @internal */
  get holding(): boolean {
    return this.held;
  }
  docs(stream: string): Record<string, Json> {
    return Object.fromEntries(this.log.docs(stream).map((d) => [d.key, d.data]));
  }
  events(stream: string): LogEvent[] {
    return this.log.events.filter((e) => e.stream === stream);
  }

  /** @internal */
  cutHere(at: CutPoint, line: Line): boolean {
    const left = this.cuts.get(at);
    if (!left) return false;
    if (left > 1) this.cuts.set(at, left - 1);
    else this.cuts.delete(at);
    line.end(1006, "cut at " + at);
    return true;
  }
  /** @internal */
  joined(line: Line, on: boolean): void {
    if (on) this.lines.add(line);
    else this.lines.delete(line);
  }
  /** @internal */
  others(line: Line): Line[] {
    return [...this.lines].filter((other) => other !== line);
  }
  /** @internal */
  pump(): void {
    for (const line of [...this.lines]) line.pump();
  }
}

/** One connection: the server's end of it, and the socket that the client holds. */
class Line implements Socket {
  onopen: Socket["onopen"] = null;
  onmessage: Socket["onmessage"] = null;
  onclose: Socket["onclose"] = null;
  client: string | undefined;
  n = 0;
  readonly session = newId();
  readonly presence = new Map<string, Json>();
  private readonly server: TestServer;
  private by: string | undefined;
  private helloLog: string | undefined;
  private subs = new Map<number, Sub>();
  private lock: string | undefined;
  private ended = false;
  private broken = false;

  constructor(server: TestServer) {
    this.server = server;
  }

  // The client's side.

  open() {
    if (this.ended) return;
    this.server.joined(this, true);
    this.onopen?.(undefined as never);
  }
  send(text: string) {
    if (!this.ended) queueMicrotask(() => !this.ended && this.receive(JSON.parse(text)));
  }
  close() {
    this.end(1000, "");
  }

  // The server's side.

  tell(m: Message) {
    if (!this.ended) queueMicrotask(() => this.broken || this.onmessage?.({ data: JSON.stringify(m) }));
  }
  /** `lost`: what is under way does not arrive any more. */
  end(code: number, reason: string, lost = false) {
    if (this.ended) return;
    this.ended = true;
    this.broken = lost;
    this.server.joined(this, false);
    for (const stream of [...this.presence.keys()]) this.setPresence(stream, null);
    queueMicrotask(() => this.onclose?.({ code, reason }));
  }

  private receive(m: Message) {
    const ref = m.ref === undefined ? {} : { ref: m.ref };
    switch (m.type) {
      case "hello":
        return this.hello(m);
      case "subscribe":
        return this.subscribe(m as unknown as HelloSub);
      case "unsubscribe":
        this.subs.delete(m.sub as number);
        return this.tell({ type: "unsubscribed", sub: m.sub, ...ref });
      case "push":
        return this.push(m, ref);
      case "signal":
        for (const other of this.server.others(this)) other.hear(m.stream as string, { type: "signal", session: this.session, ...(this.by && { by: this.by }), data: m.data });
        return;
      case "presence":
        return this.setPresence(m.stream as string, m.data as Json);
      case "ping":
        return this.tell({ type: "pong", head: this.server.log.head, seq: this.server.log.head, mark: this.server.log.idAt(this.server.log.head), ...ref });
      case "auth": {
        const who = this.who(m.token as string);
        if (!who) return this.tell({ type: "error", code: "unauthorized", message: "bad token", ...ref });
        return this.tell({ type: "authenticated", ...who, ...ref });
      }
    }
    this.tell({ type: "error", code: "bad_message", message: "unknown type", ...ref });
  }

  private who(token: string | undefined): { by?: string; expires_at?: number } | undefined {
    if (!this.server.options.authenticate) return {};
    try {
      return this.server.options.authenticate(token);
    } catch {
      return undefined;
    }
  }

  private hello(m: Message) {
    const who = this.who(m.token as string | undefined);
    if (!who) return this.end(4401, "unauthorized");
    this.client = m.client as string;
    this.n = (m.n as number) ?? 0;
    for (const other of this.server.others(this)) if (this.client && other.client === this.client) (other.n > this.n ? this : other).end(4005, "replaced");
    if (this.ended) return;
    this.by = who.by;
    this.helloLog = m.log as string | undefined;
    const { heartbeat_ms = 25_000, limits } = this.server.options;
    const { id: log, head } = this.server.log;
    this.tell({ type: "welcome", log, session: this.session, head, ...who, server: "tidemark/test", features: [], heartbeat_ms, limits: { frame: 1 << 20, mutations: 1000, inflight: 1000, subs: 1000, ...limits } });
    if (this.server.cutHere("hello", this)) return;
    for (const sub of (m.subs as HelloSub[]) ?? []) this.subscribe(sub);
  }

  private subscribe({ sub, stream, since, mark, log = this.helloLog, from = "snapshot" }: HelloSub) {
    const { log: l } = this.server;
    const floor = l.floor; // of the log, which is enough for tests: no stream has lost more
    const cursor = since ?? (from === "start" ? floor : from === "now" ? l.head : undefined);
    const s: Sub = { sub, stream, from, cursor, live: false, liveAt: Math.max(since ?? 0, l.streamHead(stream)), busy: false };
    this.subs.set(sub, s);
    this.tell({ type: "subscribed", sub, stream, since: cursor ?? 0, head: l.streamHead(stream), floor });
    this.members(stream);
    const reason = since ? this.misfit(since, mark, log) : since === 0 && floor ? "trimmed" : undefined;
    if (reason) this.reset(s, reason);
    this.pump();
  }

  private misfit(since: number, mark: string | undefined, log: string | undefined): string | undefined {
    const { log: l } = this.server;
    if (log !== undefined && log !== l.id && since > (l.cuts.get(log) ?? -1)) return "log_changed";
    if (since > l.head) return "ahead";
    if (since < l.floor) return "trimmed";
    const id = l.idAt(since);
    return mark !== undefined && id !== undefined && id !== mark ? "log_changed" : undefined;
  }

  resetAll(reason: string) {
    for (const s of this.subs.values()) this.reset(s, reason);
    this.pump();
  }
  private reset(s: Sub, reason: string) {
    const { log: l } = this.server;
    s.live = false;
    s.cursor = s.from === "start" ? l.floor : s.from === "now" ? l.head : undefined;
    s.liveAt = l.streamHead(s.stream);
    this.tell({ type: "reset", sub: s.sub, reason, log: l.id, floor: l.floor, head: l.streamHead(s.stream) });
  }

  /** Sends what each subscription does not have yet. */
  pump() {
    for (const s of this.subs.values()) {
      if (s.busy) continue;
      if (s.cursor === undefined) this.snapshot(s);
      for (;;) {
        if (this.ended || s.cursor === undefined) return;
        if (this.server.holding) return;
        const page = this.server.log.after(s.stream, s.cursor, this.server.options.page ?? 100);
        if (!page.length) break;
        if (this.server.cutHere("events", this)) return;
        s.cursor = page[page.length - 1]!.seq;
        if (this.server.lose > 0 && this.server.lose--) continue;
        this.tell({ type: "events", sub: s.sub, events: page.map(({ stream: _, ...e }) => e) });
      }
      if (s.live) continue;
      s.live = true;
      const seq = Math.max(s.cursor, s.liveAt);
      this.tell({ type: "live", sub: s.sub, seq, mark: this.server.log.idAt(seq) });
    }
  }

  private snapshot(s: Sub) {
    const { log: l, options } = this.server;
    const seq = l.head;
    const mark = l.idAt(seq);
    const sent = new Set<string>();
    s.busy = true;
    for (;;) {
      const next = l.docs(s.stream).filter((d) => !sent.has(d.key) && ![...sent].some((k) => k > d.key)).slice(0, options.page ?? 100);
      for (const d of next) sent.add(d.key);
      const done = next.length < (options.page ?? 100);
      this.tell({ type: "snapshot", sub: s.sub, seq, docs: next, done, ...(done && { upto: l.head, mark }) });
      if (done) break;
      if (this.server.cutHere("snapshot", this)) return;
      this.server.duringSnapshot?.();
    }
    s.busy = false;
    s.cursor = seq;
    s.liveAt = Math.max(s.liveAt, l.head);
  }

  private push(m: Message, ref: object) {
    const mutations = (m.mutations as Mutation[]).map((one) => ({ ...(m.stream !== undefined && { stream: m.stream as string }), ...one }));
    this.server.pushes.push(mutations);
    if (this.server.cutHere("push", this)) return;
    const log = (m.log as string | undefined) ?? this.helloLog;
    const results = mutations.map((one) => this.judge(one, log));
    if (this.server.cutHere("ack", this)) return this.server.pump();
    // Before or after the ack: both happen.
    if (this.server.log.head % 2) this.server.pump();
    this.tell({ type: "ack", results, ...ref });
    this.server.pump();
  }

  private judge(m: Mutation, log: string | undefined): Verdict {
    if (this.lock !== undefined && this.lock !== m.id) return refusal(m, "overloaded", true);
    this.lock = undefined;
    const error = this.server.refuse?.(m);
    if (error?.later) this.lock = m.id;
    return error ? { id: m.id, error } : this.server.log.append(m, this.by, log);
  }

  private hear(stream: string, m: Message): boolean {
    const s = [...this.subs.values()].find((one) => one.stream === stream);
    if (s) this.tell({ ...m, sub: s.sub });
    return s !== undefined;
  }
  private setPresence(stream: string, data: Json) {
    if (data === null) this.presence.delete(stream);
    else this.presence.set(stream, data);
    const member: Member = { session: this.session, ...(this.by && { by: this.by }), data };
    for (const other of this.server.others(this)) other.hear(stream, { type: "presence", ...(data === null ? { gone: [this.session] } : { set: [member] }) });
  }
  private members(stream: string) {
    const set = this.server.others(this).filter((o) => o.presence.has(stream)).map((o) => ({ session: o.session, ...(o.by && { by: o.by }), data: o.presence.get(stream) }));
    this.hear(stream, { type: "presence", set, full: true });
  }
}
