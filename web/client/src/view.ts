import { covers, type Entry } from "./outbox.ts";
import type { Replica, State } from "./state.ts";
import type { Cursor } from "./storage.ts";
import type { Op, Json } from "./json.ts";
import type { TidemarkEvent } from "./wire.ts";

/** What a reducer sees: a confirmed event, or a pending mutation that has no place yet. */
export interface ViewEvent {
  readonly id: string;
  readonly type: string;
  readonly key?: string;
  readonly op?: Op;
  readonly data?: Json;
  /** When the server took it; for a pending one, when it was written here. */
  readonly at: number;
  readonly by?: string;
  readonly seq?: number;
  /** Not accepted by the server yet. */
  readonly pending: boolean;
}

/** Must give a new state and leave the old one alone: pending mutations are replayed over older states. */
export type Reducer<S> = (state: S, event: ViewEvent) => S;

const SLICE = 8; // ms of folding in one task

const provisional = (e: Entry): ViewEvent => ({ id: e.id, type: e.type ?? e.op!, key: e.key, op: e.op, data: e.data, at: e.at, pending: e.seq === undefined, ...(e.seq !== undefined && { seq: e.seq }) });

/** A state, and the last event in it. */
interface Folded<S> {
  state: S;
  seq: number;
}

/** A fold of a stream's events, with the pending mutations replayed on top. */
export class Fold<S> {
  private confirmed: Folded<S>;
  /** What came while older events were being read. */
  private waiting: TidemarkEvent[][] | undefined;
  private shown: S;
  private stale = true;
  /** The confirmed state to show until the new one is whole, after the events were dropped, and how far it went. */
  private held: { state: S; seen: Cursor | undefined } | undefined;
  private run = 0;
  private asked = 0;
  private readonly state: State;
  private readonly r: Replica;
  private readonly initial: S;
  private readonly reduce: Reducer<S>;
  private readonly changed: () => void;

  constructor(state: State, r: Replica, initial: S, reduce: Reducer<S>, changed: () => void) {
    this.state = state;
    this.r = r;
    this.reduce = reduce;
    this.changed = changed;
    this.initial = this.shown = initial;
    this.confirmed = { state: initial, seq: 0 };
  }

  get(): S {
    if (this.stale) {
      const { state, seen } = this.held ?? { state: this.confirmed.state, seen: this.r.seen };
      let s = state;
      for (const e of this.state.outbox.stream(this.r.stream)) if (!covers(seen, e)) s = this.reduce(s, provisional(e));
      this.shown = s;
      this.stale = false;
    }
    return this.shown;
  }

  /** Folds what the storage has, a bit per task, then goes on with what came meanwhile. Until then the old state is shown. */
  async read(history: () => Promise<TidemarkEvent[][]>): Promise<void> {
    const run = ++this.run;
    const waiting: TidemarkEvent[][] = (this.waiting = []);
    const frames = await history();
    let folded: Folded<S> = { state: this.initial, seq: 0 };
    let until = performance.now() + SLICE;
    for (const frame of frames) {
      if (run !== this.run) return;
      for (const e of frame) this.state.arrived(e, this.r.seen?.log ?? ""); // the storage may tell before the tab that leads does
      folded = this.fold(folded, frame);
      if (performance.now() < until) continue;
      await new Promise((resolve) => setTimeout(resolve));
      until = performance.now() + SLICE;
    }
    if (run !== this.run) return;
    for (const frame of waiting) folded = this.fold(folded, frame);
    this.confirmed = folded;
    this.waiting = undefined;
    if (this.r.whole) this.held = undefined;
    this.update();
  }

  /** True: these do not follow what was folded, so it must be read again. */
  events(events: TidemarkEvent[]): boolean {
    const [first] = events;
    const gap = !this.waiting && first!.prev > this.confirmed.seq && first!.seq !== this.asked;
    if (gap) this.asked = first!.seq; // once: after a trim the first event has a predecessor that is gone
    if (this.waiting) this.waiting.push(events);
    else this.confirmed = this.fold(this.confirmed, events);
    this.update();
    return gap;
  }

  /** The server's history changed: from the start again. */
  dropped(): void {
    this.held = this.r.seen ? (this.held ?? { state: this.confirmed.state, seen: this.r.seen }) : undefined; // no cursor: it must be hidden
    this.run++;
    this.confirmed = { state: this.initial, seq: 0 };
    this.waiting = undefined;
    this.update();
  }

  whole(): void {
    if (!this.held) return;
    this.held = undefined;
    this.update();
  }

  pending(added?: Entry): void {
    if (added && !this.stale) this.shown = this.reduce(this.shown, provisional(added));
    else this.stale = true;
    this.changed();
  }

  private fold({ state, seq }: Folded<S>, events: TidemarkEvent[]): Folded<S> {
    for (const e of events) {
      if (e.seq <= seq) continue;
      seq = e.seq;
      if (!e.erased) state = this.reduce(state, { id: e.id, type: e.type, key: e.key, op: e.op, data: e.data, at: e.at, by: e.by, seq, pending: false });
    }
    return { state, seq };
  }
  private update() {
    this.stale = true;
    this.changed();
  }
}
