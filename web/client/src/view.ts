import { covers, type Entry } from "./outbox.ts";
import type { Replica, State } from "./state.ts";
import type { Cursor } from "./storage.ts";
import type { Op, Json } from "./json.ts";
import { Listeners, type Soon, type Unsubscribe } from "./util.ts";
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

const seen = (e: Entry | TidemarkEvent, pending: boolean): ViewEvent => ({ id: e.id, type: (e.type ?? e.op)!, key: e.key, op: e.op, data: e.data, at: e.at, by: (e as TidemarkEvent).by, seq: e.seq, pending });
const provisional = (e: Entry) => seen(e, e.seq === undefined);

/** A state, and the last event in it. */
interface Folded<S> {
  state: S;
  seq: number;
}

export interface View<S> {
  get(): S;
  subscribe(fn: () => void): Unsubscribe;
  close(): void;
}

export interface Fold {
  /** Folds what the storage has, a bit per task, then goes on with what came meanwhile. Until then the old state is shown. */
  read(history: () => Promise<TidemarkEvent[][]>): Promise<void>;
  /** True: these do not follow what was folded, so it must be read again. */
  events(events: TidemarkEvent[]): boolean;
  /** The server's history changed: from the start again. */
  dropped(): void;
  /** After that: all has come again. */
  whole(): void;
  pending(added?: Entry): void;
}

/** A fold of a stream's events, with the pending mutations replayed on top. */
export function foldView<S>(state: State, r: Replica, initial: S, reduce: Reducer<S>, soon: Soon): Fold & Omit<View<S>, "close"> {
  const listeners = new Listeners();
  let confirmed: Folded<S> = { state: initial, seq: 0 };
  /** What came while older events were being read. */
  let waiting: TidemarkEvent[][] | undefined;
  let shown = initial;
  let stale = true;
  /** The confirmed state to show until the new one is whole, after the events were dropped, and how far it went. */
  let held: { state: S; seen: Cursor | undefined } | undefined;
  let run = 0;
  let asked = 0;

  function fold({ state, seq }: Folded<S>, events: TidemarkEvent[]): Folded<S> {
    for (const e of events) {
      if (e.seq <= seq) continue;
      seq = e.seq;
      if (!e.erased) state = reduce(state, seen(e, false));
    }
    return { state, seq };
  }

  function update() {
    stale = true;
    soon(listeners.call);
  }

  return {
    get() {
      if (!stale) return shown;
      const from = held ?? { state: confirmed.state, seen: r.seen };
      shown = from.state;
      for (const e of state.outbox.stream(r.stream)) if (!covers(from.seen, e)) shown = reduce(shown, provisional(e));
      stale = false;
      return shown;
    },
    subscribe: listeners.add,

    async read(history) {
      const mine = ++run;
      const later: TidemarkEvent[][] = (waiting = []);
      let folded: Folded<S> = { state: initial, seq: 0 };
      const frames = await history();
      let until = performance.now() + SLICE;
      for (const frame of frames) {
        if (mine !== run) return;
        for (const e of frame) state.arrived(e, r.seen?.log ?? ""); // the storage may tell before the tab that leads does
        folded = fold(folded, frame);
        if (performance.now() < until) continue;
        await new Promise((resolve) => setTimeout(resolve));
        until = performance.now() + SLICE;
      }
      if (mine !== run) return;
      confirmed = later.reduce(fold, folded);
      waiting = undefined;
      if (r.whole) held = undefined;
      update();
    },

    events(events) {
      const [first] = events;
      const gap = !waiting && first!.prev > confirmed.seq && first!.seq !== asked;
      if (gap) asked = first!.seq; // once: after a trim the first event has a predecessor that is gone
      if (waiting) waiting.push(events);
      else confirmed = fold(confirmed, events);
      update();
      return gap;
    },

    dropped() {
      held = r.seen && (held ?? { state: confirmed.state, seen: r.seen }); // no cursor: it must be hidden
      run++;
      confirmed = { state: initial, seq: 0 };
      waiting = undefined;
      update();
    },

    whole() {
      held = undefined;
      update();
    },

    pending(added) {
      if (added && !stale) {
        shown = reduce(shown, provisional(added));
        soon(listeners.call);
      } else update();
    },
  };
}
