import { Fenced, nextLead, type Meta, type Query, type Rows, type Storage, type Table, type Write } from "./storage.ts";

const SLICE = 200; // requests issued in one task: keeps the page responsive while thousands are written
const CHUNK: { [T in Table]?: number } = { outbox: 1000, docs: 2000, events: 20 }; // rows read in one task; a row of events is a whole frame

const tables: Record<Table, IDBObjectStoreParameters> = {
  meta: { keyPath: "k" },
  outbox: { keyPath: "k", autoIncrement: true },
  rejected: { keyPath: "id" },
  replicas: { keyPath: "r" },
  docs: { keyPath: ["s", "key"] },
  events: { keyPath: ["s", "seq"] },
};

/** Errors after which a fresh connection to the database may work: WebKit drops connections, users clear them. */
const passing = new Set(["InvalidStateError", "UnknownError", "AbortError", "NotFoundError"]);

const result = <T>(request: IDBRequest<T>) =>
  new Promise<T>((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Keeps everything in the IndexedDB database of this name, synced to disk before a write is said to be done. */
export function indexedDB(name: string): Storage {
  let opening: Promise<IDBDatabase> | undefined;
  let closed = false;

  const open = () =>
    (opening ??= new Promise<IDBDatabase>((resolve, reject) => {
      const request = globalThis.indexedDB.open(name, 1);
      request.onupgradeneeded = () => {
        for (const t in tables) {
          const store = request.result.createObjectStore(t, tables[t as Table]);
          if (t === "outbox") store.createIndex("id", "id", { unique: true });
        }
      };
      request.onsuccess = () => {
        const db = request.result;
        const gone = () => {
          opening = undefined;
          if (!closed) storage.onlost?.();
        };
        db.onclose = gone;
        db.onversionchange = () => {
          db.close(); // whoever deletes the database must not wait for us
          gone();
        };
        resolve(db);
      };
      request.onerror = () => reject(request.error);
    }).catch((e) => {
      opening = undefined;
      throw e;
    }));

  /** Runs `work` in one transaction; resolves with its result when the transaction is on disk. */
  async function transact<T>(stores: Table[], mode: IDBTransactionMode, work: (tx: IDBTransaction) => Promise<T>): Promise<T> {
    for (let attempt = 0; ; attempt++) {
      if (closed) throw new DOMException("the storage is closed", "InvalidStateError");
      try {
        const db = await open();
        const tx = db.transaction(stores, mode, { durability: "strict" });
        const done = new Promise<void>((resolve, reject) => {
          tx.oncomplete = () => resolve();
          tx.onabort = () => reject(tx.error ?? new DOMException("aborted", "AbortError"));
        });
        const value = await work(tx).catch(async (e) => {
          tryAbort(tx);
          await done.catch(() => undefined);
          throw tx.error ?? e; // the transaction knows why; its requests may only know that it ended
        });
        await done;
        return value;
      } catch (e) {
        if (attempt > 0 || !passing.has((e as Error).name)) throw e;
        (await opening?.catch(() => undefined))?.close();
        opening = undefined;
      }
    }
  }

  /** Issues the requests slice by slice, and ends the transaction after the last one. */
  async function each<T, R>(tx: IDBTransaction, items: readonly T[], issue: (item: T) => IDBRequest<R>): Promise<R[]> {
    const results: R[] = [];
    for (let i = 0; i < items.length; i += SLICE) {
      const slice = items.slice(i, i + SLICE).map(issue);
      const last = i + SLICE >= items.length;
      if (last) tx.commit?.(); // now: the page may be gone before the callbacks come
      await result(slice[slice.length - 1]!);
      for (const r of slice) results.push(r.result);
    }
    return results;
  }

  async function guard(tx: IDBTransaction, fence: number | undefined): Promise<Meta | undefined> {
    const meta: Meta | undefined = await result(tx.objectStore("meta").get("meta"));
    if (fence !== undefined && meta?.epoch !== fence) throw new Fenced("another tab leads");
    return meta;
  }

  const range = (s: string) => IDBKeyRange.bound([s], [s, []]);

  async function select(tx: IDBTransaction, q: Query): Promise<Rows[Table][]> {
    const store = tx.objectStore(q.t);
    const chunk = CHUNK[q.t] ?? Infinity;
    if (chunk === Infinity) return result(store.getAll());
    const rows: Rows[Table][] = [];
    let bounds = q.s === undefined ? undefined : range(q.s);
    for (;;) {
      const some: Rows[Table][] = await result(store.getAll(bounds, chunk));
      for (const row of some) rows.push(row);
      if (some.length < chunk) return rows;
      const path = store.keyPath as "k" | ["s", "key" | "seq"];
      const last = some[some.length - 1] as unknown as Record<string, IDBValidKey>;
      bounds = q.s === undefined ? IDBKeyRange.lowerBound(last[path as "k"], true) : IDBKeyRange.bound([q.s, last[path[1]!]!], [q.s, []], true);
    }
  }

  const storage: Storage = {
    name,
    durable: true,
    lead: (was) =>
      transact(["meta"], "readwrite", async (tx) => {
        const row = nextLead(await guard(tx, undefined), was);
        await each(tx, [row], (r) => tx.objectStore("meta").put(r));
        return row;
      }),
    read: (queries) =>
      transact([...new Set(queries.map((q) => q.t))], "readonly", (tx) => Promise.all(queries.map((q) => select(tx, q)))) as never,
    async append(rows) {
      const add = (known: boolean) =>
        transact(["outbox"], "readwrite", async (tx) => {
          const store = tx.objectStore("outbox");
          const places: IDBValidKey[] = [];
          if (!known) return each(tx, rows, (r) => store.add(r));
          for (const r of rows) places.push((await result(store.index("id").getKey(r.id))) ?? (await result(store.add(r))));
          return places;
        });
      return (await add(false).catch((e) => {
        if ((e as Error).name === "ConstraintError") return add(true);
        throw e;
      })) as number[];
    },
    commit: (writes, fence) =>
      transact(["meta", ...new Set(writes.map((w) => w.t).filter((t) => t !== "meta"))], "readwrite", async (tx) => {
        if (fence !== undefined) await guard(tx, fence);
        await each(tx, writes, (w): IDBRequest => {
          const store = tx.objectStore(w.t);
          return "put" in w ? store.put(w.put) : store.delete("del" in w ? (w.del as IDBValidKey) : range(w.clear));
        });
      }),
    close() {
      closed = true;
      opening?.then((db) => db.close()).catch(() => undefined);
    },
  };
  return storage;
}

function tryAbort(tx: IDBTransaction) {
  try {
    tx.abort();
  } catch {
    // it ended already
  }
}
