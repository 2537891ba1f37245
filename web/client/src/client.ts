import { Hub, type HubOptions } from "./hub.ts";
import type { TokenReason, Phase, Socket } from "./loop.ts";
import type { Json } from "./json.ts";
import type { Rows, Storage } from "./storage.ts";
import { Listeners, Stream, type Pending, type Unsubscribe } from "./stream.ts";
import type { Mutation, TidemarkEvent, WireError } from "./wire.ts";

export interface ClientOptions {
  /** "ws://localhost:8080/v1/ws" */
  url: string;
  /** Asked before every connection, when a token nears its end, and when the server refused one. */
  token?: (why: TokenReason) => string | Promise<string>;
  /** `indexedDB("name")` or `memory()`. One per user of the app: a database belongs to one subject. */
  storage: Storage;
  /** "shared" (default): the tabs of one browser use one connection and one outbox. "alone": this database has one tab at a time. */
  tabs?: "shared" | "alone";
  /** The app's version, for the server's operator. */
  app?: string;
  /** Another maker of sockets: for tests, and where there is no global WebSocket. */
  webSocket?: (url: string, protocol: string) => Socket;
}

export interface Status {
  readonly phase: Phase;
  /** Mutations without a verdict of the server. */
  readonly pending: number;
  readonly oldestPendingAt: number | undefined;
  readonly lastError: { readonly code: string; readonly message: string } | undefined;
  /** "lost": this device cannot save now; what is written is in memory only. */
  readonly storage: "persistent" | "best-effort" | "memory" | "lost";
  /** Whether this tab has the connection. */
  readonly leader: boolean;
  /** The newest seq of the server's log that this client heard of. */
  readonly head: number;
}

/** A mutation that the server refused for good. It stays here, over restarts, until it is dismissed or retried. */
export interface Rejected {
  readonly id: string;
  readonly stream: string;
  readonly mutation: Mutation;
  readonly error: WireError;
  readonly at: number;
  dismiss(): Promise<void>;
  /** Sends it again, last of all; with another `expect` if one is given, without one for null. */
  retry(change?: { expect?: number | string | null }): Pending;
}

export interface ClientEvents {
  status: Status;
  rejected: readonly Rejected[];
  /** Confirmed events of the streams that this tab has open. `replayed`: they happened while this client was away. */
  events: { stream: string; events: readonly TidemarkEvent[]; replayed: boolean };
  /** Everything missed on a stream has come, so many events. */
  live: { stream: string; events: number };
  /** The server's history is not what this client knew; it begins anew. */
  reset: { stream: string; reason: string };
  error: { code: string; message: string; stream?: string };
}

/** Mutations on their way, for a file or another device. */
export interface Exported {
  tidemark: 1;
  mutations: { text: string; at: number; log?: string }[];
}

export interface Client {
  stream<T = Json>(name: string): Stream<T>;
  readonly status: Status;
  readonly rejected: readonly Rejected[];
  on<E extends keyof ClientEvents>(event: E, fn: (e: ClientEvents[E]) => void): Unsubscribe;
  /** Waits until the server has given its verdict on everything written so far: true; or until the timeout: false. */
  flush(options?: { timeout?: number }): Promise<boolean>;
  exportPending(): Exported;
  /** Takes over exported mutations, each at most once; resolves when they are on disk. */
  importPending(x: Exported): Promise<void>;
  /**
   * Takes this tab off the network, and away from the other tabs, until `connect`. It goes on writing to this device, from where
   * the other tabs may send what it wrote; it hears of that when it is back.
   */
  disconnect(): void;
  /** Ends `disconnect`, or begins anew after the server closed the connection for good. */
  connect(): void;
  close(): Promise<void>;
}

/** Opens a client. It reads the storage, connects, and stays connected until it is closed. */
export function createClient(options: ClientOptions): Client {
  return new TidemarkClient(options);
}

class TidemarkClient implements Client {
  private readonly hub: Hub;
  private readonly streams = new Map<string, Stream<never>>();
  private readonly listeners = new Map<string, Listeners<[never]>>();
  private readonly dirty = new Set<Stream<never>>();
  private readonly waiting = new Set<() => void>();
  private flags = { status: false, rejected: false, queued: false };
  private shown: Status | undefined;
  private list: readonly Rejected[] | undefined;

  constructor(options: ClientOptions) {
    const at = (name: string) => this.streams.get(name);
    const hubOptions: HubOptions = { ...options, tabs: options.tabs ?? "shared" };
    this.hub = new Hub(hubOptions, {
      docs: (s, key) => at(s)?.touch(key),
      pending: (s, added) => at(s)?.pending(added),
      events: (r, events) => {
        at(r.stream)?.came(r, events);
        const twin = r.kind === "docs" && this.hub.state.replicas.get("events:" + r.stream)?.loaded;
        if (!twin) this.emit("events", { stream: r.stream, events, replayed: this.hub.line.phase !== "live" });
      },
      dropped: (r, reread) => at(r.stream)?.dropped(r, reread),
      whole: (r) => at(r.stream)?.whole(r),
      verdict: () => this.soon("status"),
      rejected: () => {
        this.list = undefined;
        this.soon("rejected");
      },
      status: () => this.soon("status"),
      effect: (e) => {
        if ("stream" in e && e.stream) at(e.stream)?.effect(e);
        if (e.do === "live" || e.do === "reset" || e.do === "error") this.emit(e.do, e);
      },
    });
  }

  stream<T = Json>(name: string): Stream<T> {
    let s = this.streams.get(name);
    if (!s) {
      s = new Stream<never>(this.hub, name, (dirty) => {
        this.dirty.add(dirty);
        this.soon();
      });
      this.streams.set(name, s);
    }
    return s as unknown as Stream<T>;
  }

  get status(): Status {
    const { line, state, storage, leads } = this.hub;
    const { pending } = state.outbox;
    const next: Status = { phase: line.phase, pending, oldestPendingAt: pending ? state.outbox.oldest : undefined, lastError: line.lastError, storage, leader: leads, head: line.head };
    const same = this.shown && (Object.keys(next) as (keyof Status)[]).every((k) => next[k] === this.shown![k]);
    return same ? this.shown! : (this.shown = next);
  }

  get rejected(): readonly Rejected[] {
    return (this.list ??= [...this.hub.state.rejected.values()].map((row) => this.rejection(row)));
  }

  on<E extends keyof ClientEvents>(event: E, fn: (e: ClientEvents[E]) => void): Unsubscribe {
    let of = this.listeners.get(event);
    if (!of) this.listeners.set(event, (of = new Listeners()));
    return (of as unknown as Listeners<[ClientEvents[E]]>).add(fn);
  }

  async flush({ timeout = Infinity } = {}): Promise<boolean> {
    await this.hub.ready;
    const mine = [...this.hub.state.outbox.entries()].filter((e) => e.seq === undefined);
    const left = () => mine.some((e) => e.seq === undefined && this.hub.state.outbox.get(e.id) === e);
    if (!left()) return true;
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer);
        this.waiting.delete(look);
        resolve(!left());
      };
      const look = () => {
        if (!left()) end();
      };
      const timer = timeout < 2 ** 31 ? setTimeout(end, timeout) : undefined;
      this.waiting.add(look);
    });
  }

  exportPending(): Exported {
    const mutations = [...this.hub.state.outbox.entries()].filter((e) => e.seq === undefined).map(({ text, at, log }) => ({ text, at, ...(log && { log }) }));
    return { tidemark: 1, mutations };
  }

  async importPending(x: Exported): Promise<void> {
    await this.hub.ready;
    const news = x.mutations.filter((m) => !this.hub.state.outbox.get((JSON.parse(m.text) as Mutation).id));
    await Promise.all(news.map((m) => this.hub.write(m.text, m.log).local));
  }

  disconnect(): void {
    this.hub.connect(false);
  }
  connect(): void {
    this.hub.connect(true);
  }
  close(): Promise<void> {
    return this.hub.close();
  }

  private rejection({ id, text, error, at }: Rows["rejected"]): Rejected {
    const mutation = JSON.parse(text) as Mutation;
    return {
      id,
      stream: mutation.stream,
      mutation,
      error,
      at,
      dismiss: async () => void (await this.hub.dismiss(id)),
      retry: (change) => this.hub.retry(id, mutation, change),
    };
  }

  /** Tells everyone once the task is over: however much changed in it. */
  private soon(what?: "status" | "rejected") {
    if (what) this.flags[what] = true;
    if (this.flags.queued) return;
    this.flags.queued = true;
    queueMicrotask(() => this.tell());
  }
  private tell() {
    const { status, rejected } = this.flags;
    this.flags = { status: false, rejected: false, queued: false };
    const dirty = [...this.dirty];
    this.dirty.clear();
    for (const s of dirty) s.flush();
    if (rejected) this.emit("rejected", this.rejected);
    if (!status) return;
    const before = this.told;
    if (before !== this.status) this.emit("status", (this.told = this.status));
    for (const look of [...this.waiting]) look();
  }
  private told: Status | undefined;

  private emit<E extends keyof ClientEvents>(event: E, e: ClientEvents[E]) {
    (this.listeners.get(event) as unknown as Listeners<[ClientEvents[E]]> | undefined)?.call(e);
  }
}
