import { Closed, MutationRejected } from "./errors.ts";
import { Loop, type Line, type LineOptions } from "./loop.ts";
import { entryOf, rowOf, type Entry } from "./outbox.ts";
import { Session, type Effect } from "./session.ts";
import { State, type Listener, type Replica } from "./state.ts";
import type { Rows, Storage } from "./storage.ts";
import { newId } from "./ids.ts";
import type { Json } from "./json.ts";
import type { Pending } from "./stream.ts";
import type { Member, Mutation, TidemarkEvent, WireError } from "./wire.ts";

export interface HubOptions extends LineOptions {
  storage: Storage;
  tabs?: "shared" | "alone";
}

/** What a client's own views hear. */
export interface Audience extends Listener {
  effect(e: Effect): void;
  /** Something in the status may have changed. */
  status(): void;
}

interface Promised {
  resolve(v: { seq: number }): void;
  reject(e: unknown): void;
}

/**
 * Ties a client together: what the app does goes to the outbox and the storage, from there to the session, and what comes of it
 * to the app. This one has its storage to itself; `SharedHub` is one tab of several, on a storage that may fail.
 */
export class Hub {
  readonly state: State;
  readonly session: Session;
  readonly ready: Promise<void>;
  /** Whether this client has the connection, and writes the confirmed state. */
  leads = false;
  storage: "persistent" | "best-effort" | "memory" | "lost" = "memory";

  protected readonly options: HubOptions;
  protected readonly audience: Audience;
  protected readonly store: Storage;
  protected readonly loop: Loop;
  /** Replicas that this client shows. */
  protected readonly wants = new Set<string>();
  /** Who else is on a stream. */
  protected readonly members = new Map<string, Map<string, Member>>();
  protected fresh: Entry[] = [];
  protected offline = false;
  protected closed = false;
  protected chain: Promise<void>;
  private readonly promised = new Map<string, Promised>();
  private readonly page = new AbortController();
  private readonly client = newId();
  private n = 0;

  constructor(options: HubOptions, audience: Audience) {
    this.options = options;
    this.audience = audience;
    this.store = options.storage;
    this.state = this.newState({ ...audience, verdict: (id, seq, error) => this.verdict(id, seq, error) });
    this.session = new Session(this.state);
    this.loop = new Loop(this.session, options, this);
    this.ready = this.chain = Promise.resolve().then(() => this.boot());
    for (const name of ["online", "pageshow", "visibilitychange"]) this.listen(name, () => this.poke());
  }

  get line(): Line {
    const { phase, lastError } = this.loop;
    return { phase, lastError, head: this.session.head };
  }

  // What the app does.

  /** A mutation: visible at once, saved soon, sent when it can be. */
  write(text: string, log?: string): Pending {
    if (this.closed) throw new Closed("the client is closed");
    const entry = entryOf({ text, at: Date.now(), log });
    const { id } = entry;
    const server = new Promise<{ seq: number }>((resolve, reject) => this.promised.set(id, { resolve, reject }));
    this.state.add(entry);
    const local = this.save(entry);
    for (const p of [server, local]) p.catch(() => undefined); // both may be ignored: the rejected list and the status tell the same
    this.audience.status();
    return { id, local, server };
  }

  /** The replica is shown from now on. */
  open(id: string): Replica {
    if (!this.wants.has(id)) {
      this.wants.add(id);
      this.then(() => this.need(id));
      this.announce();
    }
    return this.state.replica(id);
  }

  release(id: string): void {
    if (this.wants.delete(id)) this.announce();
  }

  /** Resolves when what the storage has of a replica is in memory: only from then on its events are heard. */
  loaded(id: string): Promise<void> {
    return new Promise((resolve) => this.then(async () => {
      await this.need(id);
      resolve();
    }));
  }

  tell(what: "signal" | "presence", stream: string, data: Json): void {
    this.loop.input((now) => this.session.tell(what, stream, data, now));
  }

  membersOf(stream: string): Member[] {
    return [...(this.members.get(stream)?.values() ?? [])];
  }

  /** All events of a stream that the storage has, oldest first. */
  async history(stream: string): Promise<TidemarkEvent[][]> {
    const [rows] = await this.store.read([{ t: "events", s: stream }]);
    return rows.map((r) => r.ev);
  }

  /** Ends or begins the use of the network. */
  connect(on: boolean): void {
    this.offline = !on;
    if (!on) this.loop.stop();
    else if (this.leads) this.loop.start();
    this.after();
  }

  async dismiss(id: string): Promise<void> {
    this.state.rejected.delete(id);
    this.audience.rejected();
    await this.store.commit([{ t: "rejected", k: id, row: undefined }]);
  }

  /** Sends a refused mutation again. It keeps its id, so that it takes effect at most once whatever happens meanwhile. */
  retry(id: string, m: Mutation, { expect = m.expect }: { expect?: number | string | null } = {}): Pending {
    const used = this.state.rejected.get(id)?.error.code === "id_reused";
    const text = JSON.stringify({ ...m, id: used ? newId() : id, expect: expect ?? undefined });
    const pending = this.write(text, typeof expect === "number" ? this.session.log || undefined : undefined);
    pending.local.then(() => this.dismiss(id)).catch(() => undefined);
    this.state.rejected.delete(id);
    this.audience.rejected();
    return pending;
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = this.offline = true;
    this.page.abort();
    this.loop.stop();
    this.flush();
    await this.leave();
    this.leads = false;
    this.store.close();
    for (const p of this.promised.values()) p.reject(new Closed("the client was closed; the mutation goes on when it is opened again"));
    this.audience.status();
  }

  // Where a client is more than this.

  protected newState(on: Listener): State {
    return new State(on);
  }
  protected async boot(): Promise<void> {
    this.install(await this.store.read([{ t: "outbox" }, { t: "rejected" }, { t: "replicas" }]));
    this.leads = true;
    this.reconcile();
    if (!this.offline) this.loop.start();
  }
  protected append(e: Entry): Promise<number> {
    return this.store.append([rowOf(e)]).then(([k]) => k!);
  }
  /** What this client shows changed. */
  protected announce(): void {
    this.reconcile();
  }
  /** What somebody needs. */
  protected needed(): string[] {
    return [...this.wants];
  }
  protected poke(): void {
    if (globalThis.document?.visibilityState !== "hidden") this.loop.poke();
  }
  protected async leave(): Promise<void> {}
  /** A new number for this connection. */
  async number(): Promise<{ client: string; n: number }> {
    return { client: this.client, n: ++this.n };
  }

  /** Runs after everything that was asked for before. */
  protected then(step: () => Promise<void> | void): void {
    this.chain = this.chain.then(() => (this.closed ? undefined : step()));
  }

  protected listen(name: string, fn: (e: Event) => void): void {
    globalThis.addEventListener?.(name, fn, { capture: true, signal: this.page.signal }); // capture: the document's do not all bubble
  }

  // Replicas.

  protected install([outbox, rejected, replicas]: readonly [Rows["outbox"][], Rows["rejected"][], Rows["replicas"][]]): void {
    for (const row of outbox) if (!this.state.outbox.get(row.id)) this.state.add(entryOf(row));
    this.listRejected(rejected);
    for (const row of replicas) {
      const r = this.state.replica(row.r);
      if (!r.loaded) r.cur = row.cur;
    }
    this.audience.status();
  }

  protected listRejected(rows: Rows["rejected"][]): void {
    this.state.rejected.clear();
    for (const row of rows) if (!this.state.outbox.get(row.id)) this.state.rejected.set(row.id, row); // else it is retried
    this.audience.rejected();
  }

  protected async need(id: string): Promise<void> {
    const r = this.state.replica(id);
    if (r.loaded) return;
    await this.load(r);
    this.reconcile();
  }

  protected async load(r: Replica): Promise<void> {
    const [replicas, docs] = await this.store.read([{ t: "replicas" }, { t: "docs", s: r.stream }]);
    this.fill(r, replicas, docs);
  }

  protected fill(r: Replica, replicas: Rows["replicas"][], docs: Rows["docs"][]): void {
    this.state.load(r, replicas.find((row) => row.r === r.id)?.cur, new Map(r.kind === "docs" ? docs.map((doc) => [doc.key, doc]) : []));
  }

  /** Subscribes to what is needed, and to what pending mutations must be seen in before they may be let go. */
  protected reconcile(): void {
    if (!this.leads) return;
    this.flush();
    const all = new Set(this.needed());
    for (const s of this.state.outbox.streams()) for (const kind of ["docs:", "events:"]) if (this.state.replicas.has(kind + s)) all.add(kind + s);
    const ready = new Set<Replica>();
    for (const id of all) {
      const r = this.state.replica(id);
      if (r.kind === "live" && (all.has("docs:" + r.stream) || all.has("events:" + r.stream))) continue;
      if (r.loaded) ready.add(r);
      else this.then(() => this.need(id));
    }
    this.loop.input((now) => this.session.want(ready, now));
  }

  // Mutations.

  protected async save(e: Entry): Promise<void> {
    this.state.outbox.place(e, await this.append(e));
    this.arrange(e);
  }

  /** It may be sent; those of one task together. */
  protected arrange(e: Entry): void {
    if (this.fresh.push(e) === 1) queueMicrotask(() => this.offer());
  }

  protected offer(): void {
    const due = this.fresh.filter((e) => this.state.outbox.has(e));
    this.fresh = [];
    this.reconcile();
    this.loop.input((now) => this.session.queue(due, now));
  }

  protected verdict(id: string, seq: number | undefined, error?: WireError): void {
    this.audience.verdict(id, seq, error);
    const promised = this.promised.get(id);
    this.promised.delete(id);
    if (error) promised?.reject(new MutationRejected(id, error));
    else promised?.resolve({ seq: seq! });
  }

  // What the loop tells.

  effect(e: Effect): void {
    if (e.do === "presence") {
      const all = new Map(e.full ? [] : this.members.get(e.stream));
      for (const m of e.set ?? []) all.set(m.session, m);
      for (const id of e.gone ?? []) all.delete(id);
      this.members.set(e.stream, all);
    }
    this.audience.effect(e);
  }

  after(): void {
    this.flush();
    if (!this.session.phase) this.nobody();
    this.audience.status();
  }

  /** Without a line nobody is there. */
  protected nobody(): void {
    for (const [stream, all] of this.members) if (all.size) this.effect({ do: "presence", stream, full: true });
  }

  /** Writes down what the last inputs changed. */
  protected flush(): void {
    const writes = this.state.take();
    if (writes.length) void this.store.commit(writes);
  }
}
