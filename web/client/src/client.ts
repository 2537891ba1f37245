import { Hub } from "./hub.ts";
import type { LineOptions, Phase } from "./loop.ts";
import type { Json } from "./json.ts";
import type { Rows, Storage } from "./storage.ts";
import { Stream, type Pending } from "./stream.ts";
import { Listeners, obtain, soon, type Unsubscribe } from "./util.ts";
import type { Mutation, TidemarkEvent, WireError } from "./wire.ts";

export interface ClientOptions extends LineOptions {
  /** `indexedDB("name")` or `memory()`. One per user of the app: a database belongs to one subject. */
  storage: Storage;
  /** "shared" (default): the tabs of one browser use one connection and one outbox. "alone": this database has one tab at a time. */
  tabs?: "shared" | "alone";
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
  private readonly soon = soon();
  private readonly streams = new Map<string, Stream<never>>();
  private readonly listeners = new Map<string, Listeners<[never]>>();
  private readonly verdicts = new Listeners();
  private shown: Status | undefined;
  private told: Status | undefined;
  private list: readonly Rejected[] | undefined;

  constructor(options: ClientOptions) {
    const reader = (name: string) => this.streams.get(name);
    const status = () => this.soon(this.tellStatus);
    const Kind = options.storage.hub ?? Hub;
    this.hub = new Kind(options, {
      reader,
      events: ({ stream, kind }, events) => {
        const twin = kind === "docs" && this.hub.state.replicas.get("events:" + stream)?.loaded;
        if (!twin) this.emit("events", { stream, events, replayed: this.hub.line.phase !== "live" });
      },
      verdict: status,
      status,
      rejected: () => {
        this.list = undefined;
        this.soon(this.tellRejected);
      },
      effect: (e) => {
        if ("stream" in e && e.stream) reader(e.stream)?.effect(e);
        if (e.do === "live" || e.do === "reset" || e.do === "error") this.emit(e.do, e);
      },
    });
  }

  stream<T = Json>(name: string): Stream<T> {
    return obtain(this.streams, name, () => new Stream<never>(this.hub, name, this.soon)) as unknown as Stream<T>;
  }

  get status(): Status {
    const { line, state, storage, leads: leader } = this.hub;
    const { pending, oldest } = state.outbox;
    const next: Status = { ...line, pending, oldestPendingAt: oldest, storage, leader };
    const same = this.shown && (Object.keys(next) as (keyof Status)[]).every((k) => next[k] === this.shown![k]);
    return same ? this.shown! : (this.shown = next);
  }

  get rejected(): readonly Rejected[] {
    return (this.list ??= [...this.hub.state.rejected.values()].map((row) => this.rejection(row)));
  }

  on<E extends keyof ClientEvents>(event: E, fn: (e: ClientEvents[E]) => void): Unsubscribe {
    return obtain(this.listeners, event, () => new Listeners()).add(fn);
  }

  async flush({ timeout = Infinity } = {}): Promise<boolean> {
    await this.hub.ready;
    const { outbox } = this.hub.state;
    const mine = outbox.unanswered();
    return new Promise((resolve) => {
      const look = () => {
        if (!mine.some((e) => e.seq === undefined && outbox.has(e))) end(true);
      };
      const end = (done: boolean) => {
        clearTimeout(timer);
        off();
        resolve(done);
      };
      const off = this.verdicts.add(look);
      const timer = timeout < 2 ** 31 ? setTimeout(end, timeout, false) : undefined;
      look();
    });
  }

  exportPending(): Exported {
    const mutations = this.hub.state.outbox.unanswered().map(({ text, at, log }) => ({ text, at, log }));
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
      dismiss: () => this.hub.dismiss(id),
      retry: (change) => this.hub.retry(id, mutation, change),
    };
  }

  private readonly tellRejected = () => this.emit("rejected", this.rejected);
  private readonly tellStatus = () => {
    const { told, status } = this;
    if (told !== status) this.emit("status", (this.told = status));
    this.verdicts.call();
  };

  private emit<E extends keyof ClientEvents>(event: E, e: ClientEvents[E]) {
    (this.listeners.get(event) as unknown as Listeners<[ClientEvents[E]]> | undefined)?.call(e);
  }
}
