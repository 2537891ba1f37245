import type { Storage } from "../src/storage.ts";

type Method = "lead" | "read" | "append" | "commit";

export interface Gated extends Storage {
  /** Calls of this method wait from now on, before they reach the storage. */
  hold(method: Method): void;
  release(method: Method): void;
  /** How many wait there. */
  waiting(method: Method): number;
}

/** A storage that is slow exactly where a test wants it. */
export function gated(inner: Storage): Gated {
  const gates = new Map<Method, (() => void)[]>();
  const through = async <T>(method: Method, call: () => Promise<T>): Promise<T> => {
    const gate = gates.get(method);
    if (gate) await new Promise<void>((resolve) => gate.push(resolve));
    return call();
  };
  const storage: Gated = {
    name: inner.name,
    durable: inner.durable,
    lead: (was) => through("lead", () => inner.lead(was)),
    read: (queries) => through("read", () => inner.read(queries)) as never,
    append: (rows) => through("append", () => inner.append(rows)),
    commit: (writes, fence) => through("commit", () => inner.commit(writes, fence)),
    close: () => inner.close(),
    hold: (method) => void gates.set(method, gates.get(method) ?? []),
    release(method) {
      const gate = gates.get(method) ?? [];
      gates.delete(method);
      for (const pass of gate) pass();
    },
    waiting: (method) => gates.get(method)?.length ?? 0,
  };
  inner.onlost = () => storage.onlost?.();
  return storage;
}
