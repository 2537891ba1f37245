import type { SharedStorage, Storage } from "../src/storage.ts";

type Method = "lead" | "read" | "append" | "commit";

export interface Gated extends SharedStorage {
  /** Calls of this method wait from now on, before they reach the storage; or `late`, with the answer in hand. */
  hold(method: Method, late?: "late"): void;
  release(method: Method): void;
  /** How many wait there. */
  waiting(method: Method): number;
}

/** A storage that is slow exactly where a test wants it. */
export function gated(given: Storage): Gated {
  const inner = given as SharedStorage;
  const gates = new Map<Method, { late: boolean; passes: (() => void)[] }>();
  const through = async <T>(method: Method, call: () => Promise<T>): Promise<T> => {
    const gate = gates.get(method);
    const wait = () => gate && new Promise<void>((resolve) => gate.passes.push(resolve));
    if (!gate?.late) await wait();
    const answer = await call();
    if (gate?.late) await wait();
    return answer;
  };
  const storage: Gated = {
    hub: inner.hub,
    name: inner.name,
    lead: (was) => through("lead", () => inner.lead(was)),
    read: (queries) => through("read", () => inner.read(queries)) as never,
    append: (rows) => through("append", () => inner.append(rows)),
    commit: (writes, fence) => through("commit", () => inner.commit(writes, fence)),
    close: () => inner.close(),
    hold: (method, late) => void gates.set(method, { late: late !== undefined, passes: [] }),
    release(method) {
      const { passes } = gates.get(method)!;
      gates.delete(method);
      for (const pass of passes) pass();
    },
    waiting: (method) => gates.get(method)?.passes.length ?? 0,
  };
  inner.onlost = () => storage.onlost?.();
  return storage;
}
