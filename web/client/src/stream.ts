import { DocsView, type Doc } from "./docs.ts";
import { HistoryLost } from "./errors.ts";
import type { Hub } from "./hub.ts";
import { newId } from "./ids.ts";
import type { Json, Op } from "./json.ts";
import type { Entry } from "./outbox.ts";
import type { Effect } from "./session.ts";
import type { Replica } from "./state.ts";
import { Fold, type Reducer } from "./view.ts";
import type { Member, TidemarkEvent } from "./wire.ts";

export type Unsubscribe = () => void;

/** A mutation on its way. Both promises may be ignored: nothing is lost, and refusals are in `tm.rejected`. */
export interface Pending {
  readonly id: string;
  /** It is on this device's disk. Rejects with NotSaved when it could not be written there. */
  readonly local: Promise<void>;
  /** The server has it. Rejects with MutationRejected. */
  readonly server: Promise<{ seq: number }>;
}

export interface WriteOptions {
  /** The domain's name for what happened; the op, if there is none. */
  type?: string;
  /** `doc.version`: refuse when somebody else changed the document meanwhile. 0: it must not exist. */
  expect?: number | string;
}

export interface AppendInput extends WriteOptions {
  key?: string;
  op?: Op;
  data?: Json;
}

export interface Docs<T> {
  /** Whether what is on this device was read. Before, nothing is there. */
  readonly loaded: boolean;
  get(key: string): Doc<T> | undefined;
  /** All documents in the order of their keys: the same array as long as nothing changed. */
  entries(): readonly Doc<T>[];
  /** Called after changes, at most once per task. */
  subscribe(fn: () => void): Unsubscribe;
}

export interface View<S> {
  get(): S;
  subscribe(fn: () => void): Unsubscribe;
  close(): void;
}

export interface Presence {
  /** Tells the others about this client; null: it is not here any more. Kept over reconnects. */
  set(data: Json): void;
  /** Who else is here: the same array as long as nothing changed. */
  readonly others: readonly Member[];
  subscribe(fn: () => void): Unsubscribe;
}

export interface Signal {
  readonly session: string;
  readonly by?: string;
  readonly data: Json;
}

/** What a reader of raw events hears; "again": something was missed, the storage has it. */
type Frame = TidemarkEvent[] | HistoryLost | "again";

class Listeners<A extends unknown[]> {
  private readonly fns = new Set<{ fn: (...a: A) => void }>();
  add(fn: (...a: A) => void): Unsubscribe {
    const one = { fn };
    this.fns.add(one);
    return () => this.fns.delete(one);
  }
  call(...a: A) {
    for (const { fn } of [...this.fns]) {
      try {
        fn(...a);
      } catch (e) {
        queueMicrotask(() => { throw e; }); // the app's mistake, reported as such; the others still hear
      }
    }
  }
}
export { Listeners };

/** One stream: what happens in one room, board, document, tenant. */
export class Stream<T = Json> {
  readonly name: string;
  private readonly hub: Hub;
  private readonly soon: (s: Stream<never>) => void;
  private readonly opened = new Set<string>();
  private readonly signals = new Listeners<[Signal]>();
  private readonly here = new Listeners<[]>();
  private readonly docsChanged = new Listeners<[]>();
  private readonly folds = new Map<Fold<unknown>, Listeners<[]>>();
  private readonly dirty = new Set<Listeners<[]>>();
  private readonly readers = new Set<(frame: Frame) => void>();
  private overlay: DocsView | undefined;
  private members: readonly Member[] = [];

  /** @internal */
  constructor(hub: Hub, name: string, soon: (s: Stream<never>) => void) {
    checkName(name);
    this.hub = hub;
    this.name = name;
    this.soon = soon;
  }

  put(key: string, data: T, options?: WriteOptions): Pending {
    return this.append({ ...options, key, op: "put", data: data as Json });
  }
  /** Changes members of the document, as RFC 7396 says: null removes one. */
  patch(key: string, data: T extends object ? { [K in keyof T]?: T[K] | null } : Json, options?: WriteOptions): Pending {
    return this.append({ ...options, key, op: "patch", data: data as Json });
  }
  delete(key: string, options?: WriteOptions): Pending {
    return this.append({ ...options, key, op: "delete" });
  }
  /** Any event. Visible at once in documents and views; sent in the order of writing. */
  append({ type, key, op, data, expect }: AppendInput): Pending {
    if (!type && !op) throw new TypeError("an event needs a type or an op");
    if (op ? !key : key === "") throw new TypeError("an op needs a key, which is not empty");
    const text = JSON.stringify({ id: newId(), stream: this.name, type, key, op, data, expect });
    if (op === "put" || op === "patch") checkData(op, data);
    return this.hub.write(text, typeof expect === "number" ? this.log() : undefined);
  }

  /** Documents, kept on this device from the first use on. */
  readonly docs: Docs<T> = ((self) => ({
    get loaded() {
      return self.replica("docs").loaded;
    },
    get: (key) => self.view_().get(key) as Doc<T> | undefined,
    entries: () => self.view_().entries() as readonly Doc<T>[],
    subscribe: (fn) => {
      self.view_();
      return self.docsChanged.add(fn);
    },
  }))(this);

  /** A fold of all events of the stream, which are kept on this device from then on. */
  view<S>(initial: S, reduce: Reducer<S>): View<S> {
    const r = this.replica("events");
    const changed = new Listeners<[]>();
    const fold = new Fold<S>(this.hub.state, r, initial, reduce, () => this.mark(changed));
    this.folds.set(fold as Fold<unknown>, changed);
    void this.reread(fold as Fold<unknown>);
    return { get: () => fold.get(), subscribe: (fn) => changed.add(fn), close: () => this.folds.delete(fold as Fold<unknown>) };
  }

  /**
   * The confirmed events after `since` (default: all), those on this device first, then what comes. Throws HistoryLost when there
   * would be a gap. Ends only by `break`.
   */
  async *events({ since = 0 }: { since?: number } = {}): AsyncGenerator<TidemarkEvent, void, void> {
    this.replica("events");
    const frames: Frame[] = [];
    let wake = () => {};
    const reader = (frame: Frame) => {
      frames.push(frame);
      wake();
    };
    this.readers.add(reader);
    try {
      await this.hub.loaded("events:" + this.name);
      let last = since;
      frames.unshift("again");
      for (;;) {
        for (let frame = frames.shift(); frame; frame = frames.shift()) {
          if (frame instanceof HistoryLost) throw frame;
          if (frame === "again") {
            frames.unshift(...(await this.hub.history(this.name)));
            continue;
          }
          for (const e of frame) {
            if (e.seq <= last) continue;
            if (last && e.prev > last) throw new HistoryLost("trimmed");
            last = e.seq;
            if (!e.erased) yield e;
          }
        }
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      this.readers.delete(reader);
    }
  }

  /** To whoever is there now; never stored. */
  signal(data: Json): void {
    this.hub.signal("signal", this.name, data);
  }
  onSignal(fn: (s: Signal) => void): Unsubscribe {
    this.replica("live");
    return this.signals.add(fn);
  }
  readonly presence: Presence = ((self) => ({
    set: (data) => {
      self.replica("live");
      self.hub.signal("presence", self.name, data);
    },
    get others() {
      self.replica("live");
      return self.members;
    },
    subscribe: (fn) => {
      self.replica("live");
      return self.here.add(fn);
    },
  }))(this);

  /** The tidemark: the seq up to which this device has everything of the stream. */
  get seq(): number {
    return Math.max(0, ...["docs", "events"].map((kind) => this.hub.state.replicas.get(kind + ":" + this.name)?.cur?.seq ?? 0));
  }
  /** The error code, when the server does not serve this stream to this client. */
  get error(): string | undefined {
    for (const id of this.opened) if (this.hub.state.replica(id).error) return this.hub.state.replica(id).error;
    return undefined;
  }
  /** This tab does not need the stream any more. What is on the device stays; pending mutations go on. */
  close(): void {
    for (const id of this.opened) this.hub.release(id);
    this.opened.clear();
  }

  // What the hub has heard, for this stream.

  /** @internal */
  touch(key?: string): void {
    this.overlay?.touch(key);
    this.mark(this.docsChanged);
  }
  /** @internal */
  pending(added?: Entry): void {
    for (const fold of this.folds.keys()) fold.pending(added);
  }
  /** @internal */
  came(r: Replica, events: TidemarkEvent[]): void {
    if (r.kind !== "events") return;
    for (const fold of this.folds.keys()) if (fold.events(events)) void this.reread(fold);
    for (const read of this.readers) read(events);
  }
  /** @internal */
  dropped(r: Replica, reread: boolean): void {
    if (r.kind !== "events") return;
    for (const fold of this.folds.keys()) {
      if (reread) void this.reread(fold);
      else fold.dropped();
    }
    for (const read of this.readers) read(reread ? "again" : new HistoryLost("reset"));
  }
  /** @internal */
  whole(r: Replica): void {
    if (r.kind === "events") for (const fold of this.folds.keys()) fold.whole();
  }
  /** @internal */
  effect(e: Effect): void {
    if (e.do === "signal") this.signals.call({ session: e.session, by: e.by, data: e.data });
    else if (e.do === "presence") {
      this.members = [...(this.hub.membersOf(this.name)?.values() ?? [])];
      this.mark(this.here);
    }
  }
  /** @internal */
  flush(): void {
    const dirty = [...this.dirty];
    this.dirty.clear();
    for (const listeners of dirty) listeners.call();
  }

  private mark(listeners: Listeners<[]>) {
    this.dirty.add(listeners);
    this.soon(this as unknown as Stream<never>);
  }
  private replica(kind: "docs" | "events" | "live"): Replica {
    const id = kind + ":" + this.name;
    if (!this.opened.has(id)) {
      this.opened.add(id);
      this.hub.open(id);
    }
    return this.hub.state.replica(id);
  }
  private view_() {
    return (this.overlay ??= new DocsView(this.hub.state, this.replica("docs")));
  }
  private async reread(fold: Fold<unknown>) {
    await this.hub.loaded("events:" + this.name);
    await fold.read(() => this.hub.history(this.name));
  }
  /** The log that the seqs which this device knows belong to. */
  private log() {
    const at = (kind: string) => this.hub.state.replicas.get(kind + ":" + this.name);
    return at("docs")?.seen?.log ?? at("events")?.seen?.log ?? at("docs")?.cur?.log;
  }
}

function checkData(op: Op, data: Json | undefined) {
  if (data === undefined || data === null) throw new TypeError(`a ${op} needs data`);
  if (op === "patch" && (typeof data !== "object" || Array.isArray(data))) throw new TypeError("a patch needs an object");
}

function checkName(name: string) {
  encodeURIComponent(name); // throws on a lone surrogate
  if (new TextEncoder().encode(name).length > 255 || /[\0-\x1f\x7f-\x9f*]|(^|\/)\.{0,2}(\/|$)/.test(name)) throw new TypeError("not a stream name: " + name);
}
