import type { Key, Storage, Table } from "./storage.ts";
import { obtain } from "./util.ts";

/** Keeps everything in this page's memory: for tests, and where nothing may stay on the device. For one client at a time. */
export function memory(): Storage {
  /** Rows by key: those of each table, of docs and events those of each stream. */
  const parts = new Map<string, Map<string | number, unknown>>();
  let place = 0;

  const part = (t: Table, s = "") => obtain(parts, t + s, () => new Map<string | number, unknown>());
  const set = (t: Table, k: Key, row: unknown) => {
    const [s, key] = typeof k === "object" ? k : [undefined, k];
    if (row) part(t, s).set(key, row);
    else part(t, s).delete(key);
  };

  return {
    async read(queries) {
      return queries.map(({ t, s }) => [...part(t, s)].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row)) as never;
    },
    async append(rows) {
      return rows.map((row) => {
        set("outbox", ++place, { ...row, k: place });
        return place;
      });
    },
    async commit(writes) {
      for (const w of writes) {
        if ("k" in w) set(w.t, w.k, w.row);
        else {
          part(w.t, w.s).clear();
          for (const row of w.all) set(w.t, [w.s, row.key], row);
        }
      }
    },
    close() {},
  };
}
