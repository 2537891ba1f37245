import { fold, type Json } from "./json.ts";
import { covers, type Effect as Pending } from "./outbox.ts";
import type { Confirmed, Replica, State } from "./state.ts";

/** A document as the app sees it: confirmed state with the pending mutations on top. Not to be changed in place. */
export interface Doc<T = Json> {
  readonly key: string;
  readonly data: T;
  /** The last confirmed event of this document; 0: there is none yet. */
  readonly seq: number;
  /** Whether a mutation of this device is in it that the server has not accepted yet. */
  readonly pending: boolean;
  /** What to give as `expect` to build on exactly this. */
  readonly version: number | string;
}

/** The documents of one stream, for one tab. What is asked for is computed once and then kept until it changes. */
export class DocsView {
  private readonly state: State;
  private readonly r: Replica;
  private readonly cache = new Map<string, Doc | undefined>();
  private sorted: readonly Doc[] | undefined;
  private changed = new Set<string>();
  private base: Replica["docs"] | undefined;

  constructor(state: State, r: Replica) {
    this.state = state;
    this.r = r;
  }

  /** Something about this key changed; without: anything may have. */
  touch(key?: string): void {
    if (key !== undefined) {
      this.cache.delete(key);
      this.changed.add(key);
    } else {
      this.cache.clear();
      this.sorted = undefined;
    }
  }

  get(key: string): Doc | undefined {
    if (this.cache.has(key)) return this.cache.get(key);
    const doc = this.compute(key);
    this.cache.set(key, doc);
    return doc;
  }

  /** All documents in the order of their keys. The same array as long as nothing changed. */
  entries(): readonly Doc[] {
    if (!this.sorted || this.base !== this.r.docs) this.rebuild();
    else if (this.changed.size) this.patch();
    this.changed.clear();
    return this.sorted!;
  }

  private compute(key: string): Doc | undefined {
    const confirmed = this.r.docs.get(key);
    const pending = this.state.outbox.effects(this.r.stream, key);
    return pending.length ? overlay(key, confirmed, pending, this.r) : confirmed && { ...confirmed, pending: false, version: confirmed.seq };
  }

  private rebuild() {
    this.base = this.r.docs;
    const keys = new Set([...this.r.docs.keys(), ...this.state.outbox.keys(this.r.stream)]);
    this.sorted = [...keys].sort(order).map((key) => this.get(key)).filter((doc) => doc !== undefined);
  }

  /** A few keys changed: a copy of the array with only those done anew. */
  private patch() {
    if (this.changed.size > 200) return this.rebuild();
    const sorted = [...this.sorted!];
    for (const key of this.changed) {
      const doc = this.get(key);
      let lo = 0;
      let hi = sorted.length;
      while (lo < hi) {
        const mid = (lo + hi) >> 1;
        if (order(sorted[mid]!.key, key) < 0) lo = mid + 1;
        else hi = mid;
      }
      const there = sorted[lo]?.key === key;
      if (doc) sorted.splice(lo, there ? 1 : 0, doc);
      else if (there) sorted.splice(lo, 1);
    }
    this.sorted = sorted;
  }
}

const order = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

function overlay(key: string, confirmed: Confirmed | undefined, pending: readonly Pending[], r: Replica): Doc | undefined {
  let data = confirmed?.data;
  let version: number | string = confirmed?.seq ?? 0;
  let open = false;
  for (const e of pending) {
    if (covers(r.seen, e)) continue;
    data = fold(data, e.op, e.data);
    version = e.id;
    open ||= e.seq === undefined;
  }
  return data === undefined ? undefined : { key, data, seq: confirmed?.seq ?? 0, pending: open, version };
}
