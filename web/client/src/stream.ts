import { docsView, type Docs, type DocsView } from "./docs.ts";
import { HistoryLost } from "./errors.ts";
import type { Hub } from "./hub.ts";
import { newId } from "./ids.ts";
import { utf8Length, type Json, type Op } from "./json.ts";
import type { Entry } from "./outbox.ts";
import type { Effect } from "./session.ts";
import type { Kind, Replica } from "./state.ts";
import { Listeners, type Soon, type Unsubscribe } from "./util.ts";
import { foldView, type Fold, type Reducer, type View } from "./view.ts";
import type { Member, TidemarkEvent } from "./wire.ts";

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

const KINDS = ["docs", "events", "live"] as const;

/** One stream: what happens in one room, board, document, tenant. */
export class Stream<T = Json> {
  readonly name: string;
  readonly presence: Presence;
  private readonly hub: Hub;
  private readonly soon: Soon;
  private readonly signals = new Listeners<[Signal]>();
  private readonly here = new Listeners();
  private readonly folds = new Set<Fold>();
  private readonly readers = new Set<(frame: Frame) => void>();
  private overlay: DocsView | undefined;
  private members: readonly Member[] = [];

  /** @internal */
  constructor(hub: Hub, name: string, soon: Soon) {
    checkName(name);
    this.hub = hub;
    this.name = name;
    this.soon = soon;
    const others = () => {
      this.open("live");
      return this.members;
    };
    this.presence = {
      set: (data) => {
        this.open("live");
        hub.tell("presence", name, data);
      },
      get others() {
        return others();
      },
      subscribe: (fn) => {
        this.open("live");
        return this.here.add(fn);
      },
    };
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
  get docs(): Docs<T> {
    return (this.overlay ??= docsView(this.hub.state, this.open("docs"), this.soon)) as unknown as Docs<T>;
  }

  /** A fold of all events of the stream, which are kept on this device from then on. */
  view<S>(initial: S, reduce: Reducer<S>): View<S> {
    const fold = foldView(this.hub.state, this.open("events"), initial, reduce, this.soon);
    this.folds.add(fold);
    void this.reread(fold);
    return { get: fold.get, subscribe: fold.subscribe, close: () => this.folds.delete(fold) };
  }

  /**
   * The confirmed events after `since` (default: all), those on this device first, then what comes. Throws HistoryLost when there
   * would be a gap. Ends only by `break`.
   */
  async *events({ since = 0 }: { since?: number } = {}): AsyncGenerator<TidemarkEvent, void, void> {
    const { id } = this.open("events");
    const frames: Frame[] = [];
    let wake = () => {};
    const reader = (frame: Frame) => {
      frames.push(frame);
      wake();
    };
    this.readers.add(reader);
    try {
      await this.hub.loaded(id);
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
    this.hub.tell("signal", this.name, data);
  }
  onSignal(fn: (s: Signal) => void): Unsubscribe {
    this.open("live");
    return this.signals.add(fn);
  }

  /** The tidemark: the seq up to which this device has everything of the stream. */
  get seq(): number {
    return Math.max(0, ...this.replicas().map((r) => r?.cur?.seq ?? 0));
  }
  /** The error code, when the server does not serve this stream to this client. */
  get error(): string | undefined {
    return this.replicas().find((r) => r?.error)?.error;
  }
  /** This tab does not need the stream any more. What is on the device stays; pending mutations go on. */
  close(): void {
    for (const kind of KINDS) this.hub.release(this.id(kind));
  }

  // What the hub has heard, for this stream.

  /** @internal */
  touch(key?: string): void {
    this.overlay?.touch(key);
  }
  /** @internal */
  pending(added?: Entry): void {
    for (const fold of this.folds) fold.pending(added);
  }
  /** @internal */
  came(events: TidemarkEvent[]): void {
    for (const fold of this.folds) if (fold.events(events)) void this.reread(fold);
    for (const read of this.readers) read(events);
  }
  /** @internal */
  dropped(reread: boolean): void {
    for (const fold of this.folds) {
      if (reread) void this.reread(fold);
      else fold.dropped();
    }
    for (const read of this.readers) read(reread ? "again" : new HistoryLost("reset"));
  }
  /** @internal */
  whole(): void {
    for (const fold of this.folds) fold.whole();
  }
  /** @internal */
  effect(e: Effect): void {
    if (e.do === "signal") this.signals.call({ session: e.session, by: e.by, data: e.data });
    else if (e.do === "presence") {
      this.members = this.hub.membersOf(this.name);
      this.soon(this.here.call);
    }
  }

  private id(kind: Kind) {
    return kind + ":" + this.name;
  }
  private open(kind: Kind): Replica {
    return this.hub.open(this.id(kind));
  }
  private replicas() {
    return KINDS.map((kind) => this.hub.state.replicas.get(this.id(kind)));
  }
  private async reread(fold: Fold) {
    await this.hub.loaded(this.id("events"));
    await fold.read(() => this.hub.history(this.name));
  }
  /** The log that the seqs which this device knows belong to. */
  private log() {
    const [docs, events] = this.replicas();
    return (docs?.seen ?? events?.seen ?? docs?.cur)?.log;
  }
}

function checkData(op: Op, data: Json | undefined) {
  if (data === undefined || data === null) throw new TypeError(`a ${op} needs data`);
  if (op === "patch" && (typeof data !== "object" || Array.isArray(data))) throw new TypeError("a patch needs an object");
}

function checkName(name: string) {
  encodeURIComponent(name); // throws on a lone surrogate
  if (utf8Length(name) > 255 || /[\0-\x1f\x7f-\x9f*]|(^|\/)\.{0,2}(\/|$)/.test(name)) throw new TypeError("not a stream name: " + name);
}
