import type { SharedStorage, Storage } from "../src/storage.ts";

export interface Crashable extends SharedStorage {
  readonly inner: Storage;
  /** From now on nothing of this process reaches the storage, and nothing comes back. */
  crash(): void;
}

/** A storage whose process can die at any moment. */
export function crashable(inner: Storage): Crashable {
  let dead = false;
  const call = <T>(fn: () => Promise<T>) =>
    new Promise<T>((resolve, reject) => {
      queueMicrotask(() => dead || fn().then((v) => dead || resolve(v), (e) => dead || reject(e)));
    });
  const shared = inner as SharedStorage;
  return {
    ...shared,
    inner,
    crash: () => void (dead = true),
    lead: (was) => call(() => shared.lead(was)),
    read: (queries) => call(() => shared.read(queries)) as never,
    append: (rows) => call(() => shared.append(rows)),
    commit: (writes, fence) => call(() => shared.commit(writes, fence)),
    close: () => undefined,
  };
}
