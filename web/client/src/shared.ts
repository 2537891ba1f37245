import { messageOf, NotSaved } from "./errors.ts";
import { Hub, type Audience, type HubOptions } from "./hub.ts";
import { database } from "./indexeddb.ts";
import type { Line } from "./loop.ts";
import { entryOf, rowOf, type Entry } from "./outbox.ts";
import type { Pending } from "./stream.ts";
import { lane, type Lane } from "./saver.ts";
import type { Effect } from "./session.ts";
import type { Listener, Replica } from "./state.ts";
import { SharedState, type Change } from "./steps.ts";
import { Fenced, nextLead, type Meta, type Rows, type SharedStorage, type Storage, type Unplaced, type Write } from "./storage.ts";
import { Tabs, type Note, type TabsListener } from "./tabs.ts";
import type { Json } from "./json.ts";
import type { TidemarkEvent, WireError } from "./wire.ts";

const RECOVER_AFTER = 1_000;
/** How often the leading tab looks for what a tab left that ended before it could tell: ms. */
const SWEEP = 10_000;
/** Places of mutations that could not be stored: after all that are. */
const UNSTORED = 2 ** 52;

/** Keeps everything in the IndexedDB database of this name, synced to disk before a write is said to be done. */
export function indexedDB(name: string): Storage {
  return Object.assign(database(name), { hub: SharedHub });
}

/**
 * One tab's part of a client whose storage outlives it, and may fail. The tab that leads owns the connection and writes the
 * confirmed state; it tells the others what it did, after it is on disk. Every tab writes its own mutations to the outbox itself.
 */
export class SharedHub extends Hub implements TabsListener {
  declare readonly state: SharedState;
  declare protected readonly store: SharedStorage;
  /** New mutations go to the disk in one lane, what the leading tab confirms in the other. */
  private readonly appends: Lane<Unplaced, number>;
  private readonly commits: Lane<Write, void>;
  /** The lead that commits are made under. */
  private fence: number | undefined;
  private readonly tabs: Tabs;
  /** The line as the leading tab told of it. */
  private told: Line;
  /** Mutations made here, not on disk. */
  private readonly unsaved = new Set<Entry>();
  /** The tries to save them that are under way. */
  private readonly saves = new Set<Promise<void>>();
  /** What the other tabs need. */
  private readonly others = new Map<string, string[]>();
  /** Which tab spoke for this client on a stream, and what this one said. */
  private readonly present = new Map<string, string>();
  private readonly mine = new Map<string, Json>();
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
  /** The last commit, with what is told after it. */
  private written: Promise<void> | undefined;
  /** The confirmed state in memory is ahead of a storage that failed. */
  private ahead = false;
  private term = 0;
  private asleep = false;
  private unstored = UNSTORED;
  private recovering: ReturnType<typeof setTimeout> | undefined;
  private sweeping: ReturnType<typeof setInterval> | undefined;
  private asked = false;

  constructor(options: HubOptions, audience: Audience) {
    super(options, audience);
    this.storage = "best-effort";
    this.told = super.line;
    this.appends = lane((rows) => this.store.append(rows));
    this.commits = lane(async (writes) => {
      await this.store.commit(writes, this.fence);
      return [];
    });
    this.tabs = new Tabs(options.tabs === "alone" ? undefined : this.store.name, this);
    this.store.onlost = () => this.recover(0);
    for (const name of ["freeze", "pagehide"]) this.listen(name, () => this.sleep());
    this.listen("resume", () => {
      this.wake();
      this.poke();
    });
    this.listen("pageshow", (e) => {
      if ((e as PageTransitionEvent).persisted) this.wake();
    });
  }

  protected override newState(on: Listener): SharedState {
    return new SharedState(on);
  }

  override get line(): Line {
    return this.leads ? super.line : this.told;
  }

  // What the app does.

  override write(text: string, log?: string): Pending {
    const pending = super.write(text, log);
    this.persist();
    return pending;
  }

  override tell(what: "signal" | "presence", stream: string, data: Json): void {
    if (what === "presence") {
      if (data === null) this.mine.delete(stream);
      else this.mine.set(stream, data);
    }
    this.say(what, stream, data, "");
  }

  private say(what: "signal" | "presence", stream: string, data: Json, from: string) {
    if (!this.leads) return this.tabs.send({ t: what, stream, data });
    if (what === "presence") this.present.set(stream, from);
    super.tell(what, stream, data);
  }

  override async history(stream: string): Promise<TidemarkEvent[][]> {
    await this.idle();
    return super.history(stream).catch((e) => {
      this.lost(e);
      return [];
    });
  }

  /** Ends or begins the use of the network by this tab. Offline it has nothing to do with the others: one of them leads. */
  override connect(on: boolean): void {
    this.offline = !on;
    if (on) {
      this.wake();
      if (this.leads) this.loop.start();
      else this.tabs.send({ t: "connect" });
      return;
    }
    this.demote();
    this.told = { ...this.told, phase: "offline" };
    this.nobody();
  }

  override async dismiss(id: string): Promise<void> {
    await super.dismiss(id);
    this.tabs.send({ t: "rejected" });
  }

  protected override async leave(): Promise<void> {
    this.term++; // a lead that is being taken comes too late
    clearTimeout(this.recovering);
    clearInterval(this.sweeping);
    await Promise.allSettled(this.saves); // each tells the others what it saved
    await this.idle();
    this.leads = false;
    this.tabs.stop();
  }

  // Starting, leading, following.

  protected override async boot(): Promise<void> {
    try {
      await this.sync();
    } catch (e) {
      this.lost(e);
    }
    if (!this.closed && !this.term) this.tabs.start(() => this.announce()); // else it slept meanwhile, and waking up does it
  }

  protected override then(step: () => Promise<void> | void): void {
    super.then(step);
    this.chain = this.chain.catch((e) => this.lost(e));
  }

  lead(): void {
    const { term } = this;
    this.then(() => this.takeOver(term));
  }

  private async takeOver(term: number) {
    if (term !== this.term || this.leads) return; // a line that is up would be changing what is read here
    await this.idle(); // what an earlier lead still writes is written under its own fence
    const heard = this.heard();
    let meta: Meta | undefined;
    try {
      this.meta = meta = await this.store.lead(heard);
      this.fence = meta.epoch;
      await this.sync();
    } catch (e) {
      if (!meta) this.meta = nextLead(this.meta, heard);
      this.lost(e);
    }
    if (term !== this.term) return; // put to sleep meanwhile
    this.loop.lastError ??= this.told.lastError;
    this.leads = true;
    this.ahead = this.storage === "lost";
    this.epoch = this.meta!.epoch;
    this.others.clear();
    this.leaving.clear();
    for (const stream of this.present.keys()) this.session.tell("presence", stream, null, Date.now()); // whoever is still here says so again
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
    this.told = this.line;
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
    for (const [stream, by] of this.present) if (by === tab) this.tell("presence", stream, null);
    this.reconcile();
    this.pull();
  }

  note(from: string, n: Note): void {
    switch (n.t) {
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
          for (const e of this.unsaved) if (e.k !== undefined) this.arrange(e); // tells it again what could not be stored
        });
    }
    if (this.leads) this.serve(from, n);
    else if (from === this.leader) this.follow(n);
  }

  /** What the other tabs ask of the one that leads. */
  private serve(from: string, n: Note) {
    switch (n.t) {
      case "hi":
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
        return this.pull(n.rows);
      case "signal":
      case "presence":
        return this.say(n.t, n.stream, n.data, from);
      case "poke":
        return this.loop.poke();
      case "connect":
        this.loop.start();
    }
  }

  /** What the one that leads tells the other tabs. */
  private follow(n: Note) {
    switch (n.t) {
      case "did":
        return this.then(() => this.repeat(n.rev, n.changes));
      case "line":
        this.told = { phase: n.phase, lastError: n.lastError, head: n.head };
        return this.audience.status();
      case "effect":
        this.then(() => super.effect(n.e));
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
    this.flush();
    this.audience.status();
  }

  /** Brings memory to what the storage has. */
  private async sync() {
    await this.idle(); // else rows come back whose deletion is under way
    const there = new Set<string>();
    for (const e of this.state.outbox.entries()) if (e.k !== undefined && !this.unsaved.has(e)) there.add(e.id);
    const [[meta], ...rows] = await this.store.read([{ t: "meta" }, { t: "outbox" }, { t: "rejected" }, { t: "replicas" }]);
    if (this.birth !== undefined && meta?.birth !== this.birth) return this.wiped(meta);
    this.birth = meta?.birth;
    const [outbox, rejected] = rows;
    for (const row of outbox) there.delete(row.id);
    for (const id of there) {
      const seq = this.state.gone(id)?.seq ?? 0;
      this.verdict(id, seq, rejected.find((row) => row.id === id)?.error);
    }
    this.install(rows);
    const rev = meta?.rev ?? 0;
    if (rev === this.rev) return;
    for (const r of this.state.replicas.values()) if (r.loaded) await this.load(r);
    this.rev = rev;
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
      if (r.kind === "events" && r.loaded) this.audience.reader(r.stream)?.dropped(false);
    }
    await this.store.commit([...this.state.rejected.values()].map((row) => ({ t: "rejected" as const, k: row.id, row })));
    await this.saveAll();
  }

  protected override announce(): void {
    if (this.leads) this.reconcile();
    else this.tabs.send({ t: "hi", wants: super.needed() });
    for (const [stream, data] of this.mine) this.tell("presence", stream, data);
  }

  protected override needed(): string[] {
    return [super.needed(), ...this.others.values()].flat();
  }

  protected override need(id: string): Promise<void> {
    return super.need(id).catch((e) => {
      this.lost(e);
      if (!this.leads) this.rev = -1;
      this.fill(this.state.replica(id), [], []); // what cannot be read comes from the server again
      this.reconcile();
    });
  }

  protected override async load(r: Replica): Promise<void> {
    if (this.leads) await this.idle();
    const again = r.loaded;
    if (r.kind === "live") this.fill(r, [], []);
    else {
      const [[meta], replicas, docs] = await this.store.read([{ t: "meta" }, { t: "replicas" }, { t: "docs", s: r.stream }]);
      this.bases.set(r.id, meta?.rev ?? 0);
      this.fill(r, replicas, docs);
    }
    if (again && r.kind === "events") this.audience.reader(r.stream)?.dropped(true);
  }

  private idle() {
    return Promise.all([this.appends.idle(), this.commits.idle()]);
  }

  // Mutations.

  protected override async append(e: Entry): Promise<number> {
    this.unsaved.add(e);
    // A retried one only when the refused one is deleted on disk: else its deletion would take the new one, of the same id, along.
    if (this.state.rejected.has(e.id)) await this.idle();
    const [k] = await this.appends.add([rowOf(e)]);
    this.unsaved.delete(e);
    return k!;
  }

  protected override save(e: Entry): Promise<void> {
    const saved = this.trySave(e).finally(() => this.saves.delete(saved));
    this.saves.add(saved);
    return saved;
  }

  private async trySave(e: Entry) {
    try {
      await super.save(e);
    } catch (err) {
      this.state.outbox.place(e, ++this.unstored);
      this.arrange(e);
      this.lost(err);
      throw new NotSaved("this device could not save the change: " + messageOf(err), { cause: err });
    }
  }

  private async saveAll() {
    await Promise.all([...this.unsaved].map((e) => this.save(e)));
  }

  protected override offer(): void {
    if (this.leads) {
      this.state.added(this.fresh.filter((e) => this.state.outbox.has(e)).map((e) => ({ ...rowOf(e), k: e.k! })));
      return super.offer();
    }
    this.tabs.send({ t: "added", rows: this.fresh.filter((e) => this.unsaved.has(e)).map(rowOf) });
    this.fresh = [];
  }

  /** Takes over what other tabs put into the outbox, and what they could not put there. */
  private pull(carried: Unplaced[] = []) {
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
      this.loop.input((now) => this.session.queue(entries, now));
    });
  }

  protected override verdict(id: string, seq: number | undefined, error?: WireError): void {
    const e = this.state.outbox.get(id);
    if (e) this.unsaved.delete(e);
    super.verdict(id, seq, error);
  }

  // The disk.

  /** Writes down what the last inputs changed, then tells the other tabs. */
  protected override flush(): void {
    const writes = this.state.take();
    const changes = this.state.news();
    if (!this.leads || !(writes.length || (changes.length && this.others.size))) return;
    const meta = (this.meta = { ...this.meta!, rev: this.meta!.rev + 1 });
    this.rev = meta.rev;
    const tell = () => this.tabs.send({ t: "did", rev: meta.rev, changes });
    const deleted = writes.flatMap((w) => (w.t === "outbox" ? [w.k] : []));
    for (const k of deleted) this.leaving.add(k);
    if (this.ahead) return tell();
    const { term } = this;
    const done = () => {
      for (const k of deleted) this.leaving.delete(k);
      tell();
    };
    this.written = this.commits.add([...writes, { t: "meta", k: "meta", row: meta }]).then(done, (e) => {
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
    (this.leads ? this.loop : this.told).lastError = { code: (e as Error)?.name ?? "storage", message: messageOf(e) };
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
    if (this.asked) return;
    this.asked = true;
    globalThis.navigator?.storage?.persist?.().then((yes) => {
      if (yes && this.storage === "best-effort") this.storage = "persistent";
      this.audience.status();
    }, () => undefined);
  }

  // The page.

  private sleep() {
    if (!this.closed) this.demote();
  }
  private wake() {
    if (this.closed || this.offline || !this.asleep) return;
    this.asleep = false;
    const { term } = this;
    this.then(() => this.sync());
    this.then(() => {
      if (term === this.term) this.tabs.start(() => this.announce()); // else it sleeps again
    });
  }
  protected override poke(): void {
    if (this.leads) super.poke();
    else if (globalThis.document?.visibilityState !== "hidden") this.tabs.send({ t: "poke" });
  }

  // What the loop tells.

  override async number(): Promise<{ client: string; n: number }> {
    const meta = (this.meta = { ...this.meta!, n: this.meta!.n + 1 });
    if (!this.ahead) await this.commits.add([{ t: "meta", k: "meta", row: meta }]).catch((e) => {
      this.lost(e);
      if (e instanceof Fenced) throw e;
    });
    return { client: meta.client, n: meta.n };
  }

  override effect(e: Effect): void {
    const tell = () => this.tabs.send({ t: "effect", e });
    // The others hear of it after what it stands for, which is told when it is on disk.
    if (e.do === "live" || e.do === "reset") void Promise.resolve().then(() => this.written).then(tell);
    else tell();
    super.effect(e);
  }

  override after(): void {
    if (!this.leads) return this.flush();
    const old = this.told;
    super.after();
    const { phase, lastError, head } = (this.told = this.line);
    if (old.phase !== phase || old.lastError !== lastError || old.head !== head) this.tabs.send({ t: "line", phase, lastError, head });
  }
}
