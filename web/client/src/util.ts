export type Unsubscribe = () => void;

/** What the map has at this key; makes it when there is nothing yet. */
export function obtain<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}

/** Functions of the app that want to hear of something. */
export class Listeners<A extends unknown[] = []> {
  private readonly fns = new Set<{ fn: (...a: A) => void }>();

  readonly add = (fn: (...a: A) => void): Unsubscribe => {
    const one = { fn };
    this.fns.add(one);
    return () => this.fns.delete(one);
  };
  readonly call = (...a: A): void => {
    for (const { fn } of [...this.fns]) {
      try {
        fn(...a);
      } catch (e) {
        queueMicrotask(() => { throw e; }); // the app's mistake, reported as such; the others still hear
      }
    }
  };
}

export type Soon = (fn: () => void) => void;

/** Calls what it is given once the task is over: once, however often it was given. */
export function soon(): Soon {
  const due = new Set<() => void>();
  const run = () => {
    const fns = [...due];
    due.clear();
    for (const fn of fns) fn();
  };
  return (fn) => {
    if (!due.size) queueMicrotask(run);
    due.add(fn);
  };
}
