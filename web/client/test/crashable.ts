import type { Storage } from "../src/storage.ts";

export interface Crashable extends Storage {
  readonly inner: Storage;
  /** From now on nothing of this process reaches the storage, and nothing comes back. */
  crash(): void;
}

/** A storage whose process can die at any moment. */
export function crashable(inner: Storage): Crashable {
  let dead = false;
  const call = <T>(fn: () => Promise<T>) =>
    new Promise<T>((resolve, reject) => {
      if (!dead) fn().then((v) => dead || resolve(v), (e) => dead || reject(e));
    });
  return {
    inner,
    name: undefined,
    durable: inner.durable,
    crash: () => void (dead = true),
    lead: (was) => call(() => inner.lead(was)),
    read: (queries) => call(() => inner.read(queries)) as never,
    append: (rows) => call(() => inner.append(rows)),
    commit: (writes, fence) => call(() => inner.commit(writes, fence)),
    close: () => undefined,
  };
}
