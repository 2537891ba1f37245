import { pack, unpack, WORN, type Paged } from "./pages.ts";
import { Fenced, nextLead, type Meta, type Query, type Rows, type SharedStorage, type Table, type Write } from "./storage.ts";

const SLICE = 200; // requests issued in one task: keeps the page responsive while thousands are written
const CHUNK: { [T in Table]?: number } = { outbox: 1000, docs: 2000, events: 20 }; // rows read in one task; a row of events is a whole frame

/** Where the rows of each table have their key. */
const keys: Record<Table, string | string[]> = { meta: "k", outbox: "k", rejected: "id", replicas: "r", docs: ["s", "key"], events: ["s", "seq"] };

/** Errors after which a fresh connection to the database may work: WebKit drops connections, users clear them. */
const passing = new Set(["InvalidStateError", "UnknownError", "AbortError", "NotFoundError"]);

const result = <T>(request: IDBRequest<T>) =>
  new Promise<T>((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

/** Keeps everything in the IndexedDB database of this name, synced to disk before a write is said to be done. */
export function database(name: string): SharedStorage {
  let opening: Promise<IDBDatabase> | undefined;
  let closed = false;
  /** Streams whose documents are in too many rows: the next lead that commits packs them. */
  const worn = new Set<string>();

  const open = () =>
    (opening ??= new Promise<IDBDatabase>((resolve, reject) => {
      const request = globalThis.indexedDB.open(name, 1);
      request.onupgradeneeded = () => {
        for (const t in keys) {
          const mine = t === "outbox"; // the only rows that get their key here
          const store = request.result.createObjectStore(t, { keyPath: keys[t as Table], autoIncrement: mine });
          if (mine) store.createIndex("id", "id", { unique: true });
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
    const chunk = CHUNK[q.t];
    if (!chunk) return result(store.getAll());
    const rows: Rows[Table][] = [];
    let bounds = q.s === undefined ? undefined : range(q.s);
    for (;;) {
      const some: Rows[Table][] = await result(store.getAll(bounds, chunk));
      for (const row of some) rows.push(row);
      if (some.length < chunk) break;
      const path = store.keyPath as "k" | ["s", "key" | "seq"];
      const last = some[some.length - 1] as unknown as Record<string, IDBValidKey>;
      bounds = q.s === undefined ? IDBKeyRange.lowerBound(last[path as "k"], true) : IDBKeyRange.bound([q.s, last[path[1]!]!], [q.s, []], true);
    }
    if (q.t !== "docs" || q.s === undefined) return rows;
    const { docs, own } = unpack(rows as Paged[]);
    if (own > WORN) worn.add(q.s);
    return docs;
  }

  /** The requests that a write takes. */
  function steps(w: Write): [Table, "put" | "delete", unknown][] {
    if ("all" in w) return [[w.t, "delete", range(w.s)], ...pack(w.s, w.all).map((page): [Table, "put", Paged] => [w.t, "put", page])];
    if (w.t !== "docs") return [w.row ? [w.t, "put", w.row] : [w.t, "delete", w.k]];
    const [s, key] = w.k as [string, string];
    return [[w.t, "put", { s, seq: 0, ...w.row, key } satisfies Paged]];
  }

  const storage: SharedStorage = {
    name,
    lead: (was) =>
      transact(["meta"], "readwrite", async (tx) => {
        const row = nextLead(await guard(tx, undefined), was);
        await result(tx.objectStore("meta").put(row));
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
      transact([...new Set(["meta", ...writes.map((w) => w.t), ...(worn.size ? ["docs"] : [])] as Table[])], "readwrite", async (tx) => {
        const all = [...writes];
        if (fence !== undefined) {
          await guard(tx, fence);
          for (const s of worn) all.unshift({ t: "docs", s, all: (await select(tx, { t: "docs", s })) as Rows["docs"][] });
          worn.clear();
        }
        await each(tx, all.flatMap(steps), ([t, request, value]): IDBRequest => tx.objectStore(t)[request](value as IDBValidKey));
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
