import { fold, type Json } from "./json.ts";
import { covers } from "./outbox.ts";
import type { Replica, State } from "./state.ts";
import { Listeners, type Soon, type Unsubscribe } from "./util.ts";

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

export interface Docs<T> {
  /** Whether what is on this device was read. Before, nothing is there. */
  readonly loaded: boolean;
  get(key: string): Doc<T> | undefined;
  /** All documents in the order of their keys: the same array as long as nothing changed. */
  entries(): readonly Doc<T>[];
  /** Called after changes, at most once per task. */
  subscribe(fn: () => void): Unsubscribe;
}

export interface DocsView extends Docs<Json> {
  /** Something about this key changed; without: anything may have. */
  touch(key?: string): void;
}

/** More changed keys than this are worth sorting everything anew. */
const MANY = 200;

/** The documents of one stream. What is asked for is computed once and then kept until it changes. */
export function docsView(state: State, r: Replica, soon: Soon): DocsView {
  const listeners = new Listeners();
  const cache = new Map<string, Doc | undefined>();
  const changed = new Set<string>();
  let sorted: Doc[] | undefined;
  let base: Replica["docs"] | undefined;

  function get(key: string): Doc | undefined {
    if (!cache.has(key)) cache.set(key, compute(key));
    return cache.get(key);
  }

  /** The confirmed document with the pending mutations on top. */
  function compute(key: string): Doc | undefined {
    const confirmed = r.docs.get(key);
    const seq = confirmed?.seq ?? 0;
    let data = confirmed?.data;
    let version: number | string = seq;
    let pending = false;
    for (const e of state.outbox.effects(r.stream, key)) {
      if (covers(r.seen, e)) continue;
      data = fold(data, e.op, e.data);
      version = e.id;
      pending ||= e.seq === undefined;
    }
    return data === undefined ? undefined : { key, data, seq, pending, version };
  }

  function rebuild() {
    base = r.docs;
    const keys = new Set([...r.docs.keys(), ...state.outbox.keys(r.stream)]);
    return [...keys].sort().map(get).filter((doc) => doc !== undefined);
  }

  /** A few keys changed: a copy of the array with only those done anew. */
  function patch(old: Doc[]) {
    const docs = [...old];
    for (const key of changed) {
      const doc = get(key);
      let lo = 0;
      let hi = docs.length;
      while (lo < hi) {
        const mid = (lo + hi) >> 1;
        if (docs[mid]!.key < key) lo = mid + 1;
        else hi = mid;
      }
      docs.splice(lo, docs[lo]?.key === key ? 1 : 0, ...(doc ? [doc] : []));
    }
    return docs;
  }

  return {
    get loaded() {
      return r.loaded;
    },
    get,
    entries() {
      if (!sorted || base !== r.docs || changed.size > MANY) sorted = rebuild();
      else if (changed.size) sorted = patch(sorted);
      changed.clear();
      return sorted;
    },
    subscribe: listeners.add,
    touch(key) {
      if (key !== undefined) {
        cache.delete(key);
        changed.add(key);
      } else {
        cache.clear();
        sorted = undefined;
      }
      soon(listeners.call);
    },
  };
}
