import { Closed, MutationRejected, NotSaved } from "./errors.ts";
import { Loop, type Env, type Phase, type Socket, type TokenReason } from "./loop.ts";
import { entryOf, rowOf, type Entry } from "./outbox.ts";
import { unpack, WORN } from "./pages.ts";
import { Saver } from "./saver.ts";
import { Session, type Effect } from "./session.ts";
import { State, type Change, type Docs, type Listener, type Replica } from "./state.ts";
import { Fenced, nextLead, type Cursor, type Meta, type Query, type Rows, type Storage } from "./storage.ts";
import { Tabs, type Note, type TabsListener } from "./tabs.ts";
import { newId } from "./ids.ts";
import type { Json } from "./json.ts";
import type { Pending } from "./stream.ts";
import type { Member, Mutation, TidemarkEvent, WireError } from "./wire.ts";

export interface HubOptions {
  url: string;
  token?: (why: TokenReason) => string | Promise<string>;
  storage: Storage;
  tabs: "shared" | "alone";
  app?: string;
  webSocket?: (url: string, protocol: string) => Socket;
}

/** What a tab's own views hear. */
export interface Audience extends Listener {
  effect(e: Effect): void;
  /** Something in the status may have changed. */
  status(): void;
}

interface Promised {
  resolve(v: { seq: number }): void;
  reject(e: unknown): void;
}

const PROTOCOL = "tidemark.v1";
const RECOVER_AFTER = 1_000;
/** How often the leading tab looks for what a tab left that ended before it could tell: ms. */
const SWEEP = 10_000;
/** Places of mutations that could not be stored: after all that are. */
const UNSTORED = 2 ** 52;

type Core = [Rows["meta"][], Rows["outbox"][], Rows["rejected"][], Rows["replicas"][]];
const core = [{ t: "meta" }, { t: "outbox" }, { t: "rejected" }, { t: "replicas" }] as const satisfies Query[];

/**
 * One tab's part of a client. The tab that leads owns the connection and writes the confirmed state; it tells the others what
 * it did, after it is on disk. Every tab writes its own mutations to the outbox itself.
 */
export class Hub implements TabsListener {
  readonly state: State;
  readonly session: Session;
  leads = false;
  storage: "persistent" | "best-effort" | "memory" | "lost";
  /** The line as the leading tab sees it. */
  line: { phase: Phase; lastError: { code: string; message: string } | undefined; head: number; session: string } = { phase: "offline", lastError: undefined, head: 0, session: "" };
  readonly ready: Promise<void>;

  private readonly options: HubOptions;
  private readonly audience: Audience;
  private readonly store: Storage;
  private readonly saver: Saver;
  private readonly loop: Loop;
  private readonly tabs: Tabs;
  private readonly promised = new Map<string, Promised>();
  /** Mutations made here, not on disk. */
  private readonly unsaved = new Set<Entry>();
  private fresh: Entry[] = [];
  /** Replicas that this tab needs (counted), and what the others need. */
  private readonly wants = new Map<string, number>();
  private readonly others = new Map<string, string[]>();
  /** Who else is on a stream, and which tab spoke for this client there. */
  private readonly members = new Map<string, Map<string, Member>>();
  private readonly present = new Map<string, string>();
  private readonly mine = new Map<string, Json>();
  private readonly loading = new Set<string>();
  /** Replicas whose documents are in too many rows. */
  private readonly worn = new Set<Replica>();
  private meta: Meta | undefined;
  private birth: string | undefined;
  /** Which of the leading tab's steps are in memory: all of them, or those of one replica that was read later. */
  private rev = -1;
  private readonly bases = new Map<string, number>();
  /** The tab that leads, and since when. */
  private leader = "";
  private epoch = 0;
  /** Places of mutations that are settled here, and not yet deleted on disk. */
  private readonly leaving = new Set<unknown>();
  /** The confirmed state in memory is ahead of a storage that failed. */
  private ahead = false;
  private term = 0;
  private asleep = false;
  private unstored = UNSTORED;
  private recovering: ReturnType<typeof setTimeout> | undefined;
  private sweeping: ReturnType<typeof setInterval> | undefined;
  private asked = false;
  private offline = false;
  private closed = false;
  private chain: Promise<void>;

  constructor(options: HubOptions, audience: Audience) {
    this.options = options;
    this.audience = audience;
    this.store = options.storage;
    this.storage = this.store.durable ? "best-effort" : "memory";
    this.saver = new Saver(this.store);
    this.state = new State({
      docs: (s, k) => audience.docs(s, k),
      pending: (s, e) => audience.pending(s, e),
      events: (r, e) => audience.events(r, e),
      dropped: (r, reread) => audience.dropped(r, reread),
      whole: (r) => audience.whole(r),
      rejected: () => audience.rejected(),
      verdict: (id, seq, error) => this.verdict(id, seq, error),
    });
    this.session = new Session(this.state);
    this.loop = new Loop(this.session, this.env());
    this.tabs = new Tabs(options.tabs === "shared" ? this.store.name : undefined, this);
    this.store.onlost = () => this.recover(0);
    this.chain = this.boot();
    this.ready = this.chain;
    this.follow(true);
  }

  // What the app does.

  /** A mutation: visible at once, saved soon, sent when it can be. */
  write(text: string, log?: string, after?: Promise<void>): Pending {
    if (this.closed) throw new Closed("the client is closed");
    const entry = entryOf({ id: (JSON.parse(text) as { id: string }).id, text, at: Date.now(), ...(log && { log }) });
    const server = new Promise<{ seq: number }>((resolve, reject) => this.promised.set(entry.id, { resolve, reject }));
    this.state.add(entry);
    const local = after ? after.then(() => this.save(entry)) : this.save(entry);
    server.catch(() => undefined); // both may be ignored: the rejected list and the status tell the same
    local.catch(() => undefined);
    this.persist();
    this.audience.status();
    return { id: entry.id, local, server };
  }

  /** This tab shows the replica from now on. */
  open(id: string): void {
    const n = this.wants.get(id) ?? 0;
    this.wants.set(id, n + 1);
    if (n) return;
    this.then(() => this.need(id));
    this.announce();
  }

  /** Resolves when what the storage has of a replica is in memory: only from then on its events are heard. */
  loaded(id: string): Promise<void> {
    return new Promise((resolve) => this.then(async () => {
      await this.need(id);
      resolve();
    }));
  }

  release(id: string): void {
    const n = this.wants.get(id)! - 1;
    if (n) return void this.wants.set(id, n);
    this.wants.delete(id);
    this.announce();
  }

  signal(t: "signal" | "presence", stream: string, data: Json, from = ""): void {
    if (t === "presence" && !from) {
      if (data === null) this.mine.delete(stream);
      else this.mine.set(stream, data);
    }
    if (!this.leads) return this.tabs.send({ t, stream, data });
    if (t === "presence") this.present.set(stream, from);
    this.loop.input(() => (t === "signal" ? this.session.signal(stream, data, Date.now()) : this.session.setPresence(stream, data, Date.now())));
  }

  /** All events of a stream that the storage has, oldest first. */
  async history(stream: string): Promise<TidemarkEvent[][]> {
    await this.saver.idle();
    const [rows] = await this.store.read([{ t: "events", s: stream }]).catch((e) => {
      this.lost(e);
      return [[] as Rows["events"][]];
    });
    return rows.map((r) => r.ev);
  }

  /** Ends or begins the use of the network by this tab. Offline it has nothing to do with the others: one of them leads. */
  connect(on: boolean): void {
    this.offline = !on;
    if (on) {
      this.wake();
      if (this.leads) this.loop.start();
      else this.tabs.send({ t: "connect" });
      return;
    }
    this.line = { ...this.line, phase: "offline" };
    this.demote();
    this.nobody();
  }

  async dismiss(id: string): Promise<Rows["rejected"] | undefined> {
    const row = this.state.rejected.get(id);
    this.state.rejected.delete(id);
    this.audience.rejected();
    await this.store.commit([{ t: "rejected", del: id }]);
    this.tabs.send({ t: "rejected" });
    return row;
  }

  /** Sends a refused mutation again. It keeps its id, so that it takes effect at most once whatever happens meanwhile. */
  retry(id: string, { id: _, expect, ...m }: Mutation, change: { expect?: number | string | null } = {}): Pending {
    const code = this.state.rejected.get(id)?.error.code;
    const next = "expect" in change ? (change.expect ?? undefined) : expect;
    const text = JSON.stringify({ id: code === "id_reused" ? newId() : id, ...m, expect: next });
    // Only when the refused one is deleted on disk: else its deletion would take the new one, of the same id, along.
    const pending = this.write(text, typeof next === "number" ? this.session.logId || undefined : undefined, this.saver.idle());
    pending.local.then(() => this.dismiss(id)).catch(() => undefined);
    this.state.rejected.delete(id);
    this.audience.rejected();
    return pending;
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    this.term++; // a lead that is being taken comes too late
    this.follow(false);
    clearTimeout(this.recovering);
    clearInterval(this.sweeping);
    this.loop.stop();
    this.flush();
    await this.saver.idle();
    this.leads = false;
    this.tabs.stop();
    this.store.close();
    for (const p of this.promised.values()) p.reject(new Closed("the client was closed; the mutation goes on when it is opened again"));
    this.audience.status();
  }

  // Starting, leading, following.

  private async boot() {
    const { term } = this;
    try {
      await this.sync();
    } catch (e) {
      this.lost(e);
    }
    if (!this.closed && term === this.term) this.tabs.start(() => this.announce()); // else it slept meanwhile, and waking up does it
  }

  /** Runs after everything that was asked for before. */
  private then(step: () => Promise<void> | void): void {
    this.chain = this.chain.then(async () => {
      if (!this.closed) await step();
    }).catch((e) => this.lost(e));
  }

  lead(): void {
    const term = this.term;
    this.then(() => this.takeOver(term));
  }

  private async takeOver(term: number) {
    if (term !== this.term || this.leads) return; // a line that is up would be changing what is read here
    await this.saver.idle(); // what an earlier lead still writes is written under its own fence
    const heard = this.heard();
    let meta: Meta | undefined;
    try {
      this.meta = meta = await this.store.lead(heard);
      this.saver.fence = meta.epoch;
      await this.sync();
    } catch (e) {
      if (!meta) this.meta = nextLead(this.meta, heard);
      this.lost(e);
    }
    if (term !== this.term) return; // put to sleep meanwhile
    this.leads = true;
    this.ahead = this.storage === "lost";
    this.epoch = this.meta!.epoch;
    this.others.clear();
    this.leaving.clear();
    for (const stream of this.present.keys()) this.session.setPresence(stream, null, Date.now()); // whoever is still here says so again
    this.present.clear();
    this.tellLead();
    this.announce();
    this.sweeping = setInterval(() => this.pull(), SWEEP);
    this.loop.start();
  }

  /** What was done by leads that this tab knows of: some of it may not be on disk. */
  private heard(): Partial<Meta> {
    const { meta } = this;
    return { ...meta, epoch: Math.max(this.epoch, meta?.epoch ?? 0), rev: Math.max(this.rev, meta?.rev ?? 0) };
  }

  private tellLead() {
    const { rev, epoch } = this.meta!;
    this.tabs.send({ t: "lead", rev, epoch });
  }

  robbed(): void {
    if (this.closed || this.asleep) return;
    this.demote();
    this.wake();
  }

  /** Steps down: somebody else leads, or the page is put to sleep. What is in memory may be ahead of the disk. */
  private demote() {
    this.term++;
    this.asleep = true;
    this.leads = false;
    this.rev = -1;
    clearInterval(this.sweeping);
    this.loop.stop();
    this.tabs.stop();
    this.audience.status();
  }

  died(tab: string): void {
    this.others.delete(tab);
    for (const [stream, by] of this.present) if (by === tab) this.signal("presence", stream, null);
    this.reconcile();
    this.pull();
  }

  note(from: string, n: Note): void {
    switch (n.t) {
      case "hi":
        if (!this.leads) return;
        if (!this.others.has(from)) {
          this.tabs.watch(from);
          this.tellLead();
          this.pull();
          for (const [stream, set] of this.members) this.tabs.send({ t: "effect", e: { do: "presence", stream, set: [...set.values()], full: true } });
        }
        this.others.set(from, n.wants);
        this.tabs.send({ t: "line", ...this.line });
        return this.reconcile();
      case "added":
        if (this.leads) this.pull(n.rows);
        return;
      case "signal":
      case "presence":
        if (this.leads) this.signal(n.t, n.stream, n.data, from);
        return;
      case "poke":
        return this.loop.poke();
      case "connect":
        if (this.leads) this.loop.start();
        return;
      case "rejected":
        return this.then(async () => {
          const [rows] = await this.store.read([{ t: "rejected" }]);
          this.listRejected(rows);
        });
      case "lead":
        if (n.epoch < this.epoch) return; // from a tab that hung, and does not know yet that another one leads
        this.epoch = n.epoch;
        this.leader = from;
        if (this.leads) return this.robbed();
        this.announce();
        return this.then(async () => {
          if (this.leads) return; // since: what was read now would undo what the line brings meanwhile
          await this.sync();
          this.resend();
        });
    }
    if (this.leads || from !== this.leader) return;
    if (n.t === "did") this.then(() => this.repeat(n.rev, n.changes));
    else if (n.t === "effect") this.then(() => this.effect(n.e));
    else if (n.t === "line") {
      this.line = n;
      this.audience.status();
    }
  }

  /** Does what the leading tab did. */
  private async repeat(rev: number, changes: Change[]) {
    if (this.leads || rev <= this.rev) return;
    if (rev > this.rev + 1) {
      await this.sync(); // notes were missed, while this tab slept
      if (rev <= this.rev) return;
    }
    for (const c of changes) if (c.c === "load" && this.state.replicas.get(c.r)?.loaded) await this.load(this.state.replica(c.r));
    this.rev = rev;
    const wanted = (id: string) => {
      const r = this.state.replicas.get(id);
      return r?.loaded && rev > (this.bases.get(id) ?? -1) ? r : undefined;
    };
    for (const c of changes) this.state.repeat(c, wanted);
    this.state.take();
    this.audience.status();
  }

  /** Brings memory to what the storage has. */
  private async sync() {
    await this.saver.idle(); // else rows come back whose deletion is under way
    const there = new Set<string>();
    for (const e of this.state.outbox.entries()) if (e.k !== undefined && !this.unsaved.has(e)) there.add(e.id);
    const rows = (await this.store.read(core)) as Core;
    const meta = rows[0][0];
    if (this.birth !== undefined && meta?.birth !== this.birth) return this.wiped(meta);
    this.birth = meta?.birth;
    this.install(rows, there);
    const rev = meta?.rev ?? 0;
    if (rev === this.rev) return;
    for (const r of this.state.replicas.values()) if (r.loaded) await this.load(r);
    this.rev = rev;
  }

  private install([, outbox, rejected, replicas]: Core, there: Set<string>) {
    for (const row of outbox) {
      there.delete(row.id);
      if (!this.state.outbox.get(row.id)) this.state.add(entryOf(row));
    }
    for (const id of there) {
      const seq = this.state.gone(id)?.seq ?? 0;
      this.verdict(id, seq, rejected.find((row) => row.id === id)?.error);
    }
    this.listRejected(rejected);
    for (const row of replicas) {
      const r = this.state.replica(row.r);
      if (!r.loaded) r.cur = row.cur;
    }
    this.audience.status();
  }

  private listRejected(rows: Rows["rejected"][]) {
    this.state.rejected.clear();
    for (const row of rows) if (!this.state.outbox.get(row.id)) this.state.rejected.set(row.id, row); // else it is retried
    this.audience.rejected();
  }

  /** The user cleared the storage: what only this tab knows goes back to it, the rest comes from the server again. */
  private async wiped(meta: Meta | undefined) {
    this.birth = meta?.birth;
    this.rev = meta?.rev ?? this.meta?.rev ?? this.rev;
    for (const e of [...this.state.outbox.entries()]) {
      this.state.outbox.place(e, ++this.unstored); // its old place may be another's in the new storage
      if (e.seq === undefined) this.unsaved.add(e);
    }
    for (const r of this.state.replicas.values()) {
      r.cur = undefined;
      r.whole = false;
      if (r.kind === "events" && r.loaded) this.audience.dropped(r, false);
    }
    await this.store.commit([...this.state.rejected.values()].map((put) => ({ t: "rejected" as const, put })));
    await this.saveAll();
  }

  private announce() {
    if (this.leads) this.reconcile();
    else this.tabs.send({ t: "hi", wants: [...this.wants.keys()] });
    for (const [stream, data] of this.mine) this.signal("presence", stream, data);
  }

  // Replicas.

  private async need(id: string) {
    const r = this.state.replica(id);
    if (r.loaded) return;
    await this.load(r).catch((e) => {
      this.lost(e);
      if (!this.leads) this.rev = -1;
      this.state.load(r, undefined, new Map()); // what cannot be read comes from the server again
    });
    this.reconcile();
  }

  private async load(r: Replica) {
    if (this.leads) await this.saver.idle();
    let docs: Docs = new Map();
    let cur: Cursor | undefined;
    if (r.kind !== "live") {
      const [metas, replicas, rows] = await this.store.read([{ t: "meta" }, { t: "replicas" }, { t: "docs", s: r.stream }]);
      if (r.kind === "docs") {
        const unpacked = unpack(rows);
        docs = unpacked.docs;
        if (unpacked.own > WORN) this.worn.add(r);
      }
      cur = replicas.find((row) => row.r === r.id)?.cur;
      this.bases.set(r.id, metas[0]?.rev ?? 0);
    }
    const again = r.loaded;
    this.state.load(r, cur, docs);
    if (again && r.kind === "events") this.audience.dropped(r, true);
  }

  /** Subscribes to what some tab needs, and to what pending mutations must be seen in before they may be let go. */
  private reconcile() {
    if (!this.leads) return;
    for (const r of this.worn) if (r.cur) this.state.repack(r);
    this.worn.clear();
    this.flush();
    const all = new Set([...this.wants.keys(), ...[...this.others.values()].flat()]);
    for (const s of this.state.outbox.streams()) for (const kind of ["docs:", "events:"]) if (this.state.replicas.has(kind + s)) all.add(kind + s);
    for (const id of all) {
      const r = this.state.replica(id);
      if (r.kind === "live" && (all.has("docs:" + r.stream) || all.has("events:" + r.stream))) all.delete(id);
      else if (!r.loaded) this.loadOnce(id);
      else if (!this.session.wants(r)) this.loop.input(() => this.session.want(r, Date.now()));
    }
    for (const r of this.session.all()) if (!all.has(r.id)) this.loop.input(() => this.session.unwant(r, Date.now()));
  }

  private loadOnce(id: string) {
    if (this.loading.has(id)) return;
    this.loading.add(id);
    this.then(async () => {
      this.loading.delete(id);
      await this.need(id);
    });
  }

  // Mutations.

  private async save(e: Entry): Promise<void> {
    this.unsaved.add(e);
    try {
      const k = await this.saver.append(rowOf(e));
      this.unsaved.delete(e);
      this.state.outbox.place(e, k);
    } catch (err) {
      this.state.outbox.place(e, ++this.unstored);
      this.arrange(e);
      this.lost(err);
      throw new NotSaved("this device could not save the change: " + (err as Error)?.message, { cause: err });
    }
    this.arrange(e);
  }

  private async saveAll() {
    await Promise.all([...this.unsaved].map((e) => this.save(e)));
  }

  /** It may be sent; those of one task together. */
  private arrange(e: Entry) {
    if (this.fresh.push(e) === 1) queueMicrotask(() => this.offer());
  }

  private offer() {
    const entries = this.fresh;
    this.fresh = [];
    if (!this.leads) return this.tabs.send({ t: "added", rows: entries.filter((e) => this.unsaved.has(e)).map(rowOf) });
    const due = entries.filter((e) => this.state.outbox.get(e.id) === e);
    this.state.added(due.map((e) => ({ ...rowOf(e), k: e.k! })));
    this.reconcile();
    this.loop.input(() => this.session.queue(due, Date.now()));
  }

  /** Tells the leading tab again what could not be stored. */
  private resend() {
    for (const e of this.unsaved) if (e.k !== undefined) this.arrange(e);
  }

  /** Takes over what other tabs put into the outbox, and what they could not put there. */
  private pull(carried: Omit<Rows["outbox"], "k">[] = []) {
    this.then(async () => {
      if (!this.leads) return;
      const known = new Set([...[...this.state.outbox.entries()].map((e) => e.id), ...this.leaving]);
      const [rows] = await this.store.read([{ t: "outbox" }]).catch(() => [[] as Rows["outbox"][]]);
      const stray = carried.map((row) => ({ ...row, k: ++this.unstored }));
      const news = [...rows, ...stray].filter((row) => !known.has(row.id) && !known.has(row.k) && !this.state.outbox.get(row.id));
      if (!news.length) return;
      this.state.added(news);
      const entries = news.map((row) => this.state.outbox.get(row.id)!);
      for (const row of stray) this.unsaved.add(this.state.outbox.get(row.id)!);
      this.reconcile();
      this.loop.input(() => this.session.queue(entries, Date.now()));
    });
  }

  private verdict(id: string, seq: number | undefined, error?: WireError) {
    const e = this.state.outbox.get(id);
    if (e) this.unsaved.delete(e);
    this.audience.verdict(id, seq, error);
    const promised = this.promised.get(id);
    if (!promised) return;
    this.promised.delete(id);
    if (error) promised.reject(new MutationRejected(id, error));
    else promised.resolve({ seq: seq! });
  }

  // The disk.

  /** Writes down what the last inputs changed, then tells the other tabs. */
  private flush() {
    const batch = this.state.take();
    if (!batch || !this.leads || (!batch.writes.length && !this.others.size)) return;
    const meta = (this.meta = { ...this.meta!, rev: this.meta!.rev + 1 });
    this.rev = meta.rev;
    const tell = () => this.tabs.send({ t: "did", rev: meta.rev, changes: batch.changes });
    const deleted = batch.writes.filter((w) => w.t === "outbox").map((w) => (w as { del: unknown }).del);
    for (const k of deleted) this.leaving.add(k);
    if (this.ahead) return tell();
    const { term } = this;
    const done = () => {
      for (const k of deleted) this.leaving.delete(k);
      tell();
    };
    this.saver.commit([...batch.writes, { t: "meta", put: meta }]).then(done, (e) => {
      if (term !== this.term) return;
      this.lost(e);
      tell();
    });
  }

  private lost(e: unknown) {
    if (e instanceof Fenced) {
      if (this.leads) this.robbed();
      return;
    }
    if (this.closed) return;
    this.ahead = this.leads;
    this.storage = "lost";
    this.line.lastError = { code: (e as Error)?.name ?? "storage", message: String((e as Error)?.message ?? e) };
    this.audience.status();
    this.recover(RECOVER_AFTER);
  }

  /** Tries to come back to a storage that failed or broke away. */
  private recover(after: number) {
    clearTimeout(this.recovering);
    if (this.closed) return;
    this.recovering = setTimeout(() => this.then(async () => {
      const [metas] = await this.store.read([{ t: "meta" }]);
      const gone = metas[0]?.birth !== this.birth;
      if (gone && !this.leads) await this.sync();
      await this.saveAll();
      if (this.storage === "lost") this.storage = "best-effort";
      if (this.leads && (this.ahead || gone)) this.robbed();
      this.audience.status();
    }), after);
  }

  private persist() {
    if (this.asked || !this.store.durable || typeof navigator === "undefined") return;
    this.asked = true;
    navigator.storage?.persist?.().then((yes) => {
      if (yes && this.storage === "best-effort") this.storage = "persistent";
      this.audience.status();
    }, () => undefined);
  }

  // The page.

  private readonly sleep = () => {
    if (this.closed) return;
    this.demote();
  };
  private readonly wake = () => {
    if (this.closed || this.offline || !this.asleep) return;
    this.asleep = false;
    const { term } = this;
    this.then(() => this.sync());
    this.then(() => {
      if (term === this.term) this.tabs.start(() => this.announce()); // else it sleeps again
    });
  };
  private readonly resume = (e: Event) => {
    if (e.type !== "pageshow" || (e as PageTransitionEvent).persisted) this.wake();
    this.poke();
  };
  private readonly poke = () => {
    if (typeof document !== "undefined" && document.visibilityState === "hidden") return;
    if (this.leads) this.loop.poke();
    else this.tabs.send({ t: "poke" });
  };

  private follow(on: boolean) {
    if (typeof addEventListener === "undefined") return;
    const listen = (target: EventTarget, name: string, fn: (e: Event) => void) => (on ? target.addEventListener(name, fn) : target.removeEventListener(name, fn));
    listen(globalThis, "online", this.poke);
    listen(globalThis, "pageshow", this.resume);
    listen(globalThis, "pagehide", this.sleep);
    if (typeof document === "undefined") return;
    listen(document, "visibilitychange", this.poke);
    listen(document, "freeze", this.sleep);
    listen(document, "resume", this.resume);
  }

  private env(): Env {
    const { options } = this;
    return {
      connect: () => (options.webSocket ? options.webSocket(options.url, PROTOCOL) : (new WebSocket(options.url, PROTOCOL) as Socket)),
      token: options.token,
      app: options.app,
      number: async () => {
        const meta = (this.meta = { ...this.meta!, n: this.meta!.n + 1 });
        if (!this.ahead) await this.saver.commit([{ t: "meta", put: meta }]).catch((e) => {
          this.lost(e);
          if (e instanceof Fenced) throw e;
        });
        return { client: meta.client, n: meta.n };
      },
      effect: (e) => {
        // The others hear of it after what it stands for, which is told when it is on disk.
        if (e.do === "live" || e.do === "reset") void Promise.resolve().then(() => this.saver.idle()).then(() => this.tabs.send({ t: "effect", e }));
        else this.tabs.send({ t: "effect", e });
        this.effect(e);
      },
      after: () => this.after(),
      random: Math.random,
      now: () => Date.now(),
    };
  }

  membersOf(stream: string): Map<string, Member> | undefined {
    return this.members.get(stream);
  }

  private effect(e: Effect) {
    if (e.do === "presence") {
      const all = new Map(e.full ? [] : this.members.get(e.stream));
      for (const m of e.set ?? []) all.set(m.session, m);
      for (const id of e.gone ?? []) all.delete(id);
      this.members.set(e.stream, all);
    }
    this.audience.effect(e);
  }

  /** Without a line nobody is there. */
  private nobody() {
    for (const [stream, all] of this.members) if (all.size) this.env().effect({ do: "presence", stream, full: true });
  }

  private after() {
    this.flush();
    if (!this.leads) return;
    if (!this.session.phase) this.nobody();
    const { phase, lastError } = this.loop;
    const { head, id } = this.session;
    const old = this.line;
    if (old.phase !== phase || old.lastError !== (lastError ?? old.lastError) || old.head !== head || old.session !== id) {
      this.line = { phase, lastError: lastError ?? old.lastError, head, session: id };
      this.tabs.send({ t: "line", ...this.line });
    }
    this.audience.status();
  }
}
