import { Fenced, nextLead, type Query, type Rows, type Storage, type Table, type Write } from "./storage.ts";

const keyOf: { [T in Table]: (row: Rows[T]) => string | number } = {
  meta: (r) => r.k,
  outbox: (r) => r.k,
  rejected: (r) => r.id,
  replicas: (r) => r.r,
  docs: (r) => r.s + "\0" + r.key,
  events: (r) => r.s + "\0" + r.seq,
};

type Tables = { [T in Table]: Map<string | number, Rows[T]> };

/** Keeps everything in this page's memory: for tests, and where nothing may stay on the device. */
export function memory(): Storage {
  const tables: Tables = { meta: new Map(), outbox: new Map(), rejected: new Map(), replicas: new Map(), docs: new Map(), events: new Map() };
  let place = 0;

  const table = <T extends Table>(t: T) => tables[t] as unknown as Map<string | number, Rows[Table]>;
  const meta = () => tables.meta.get("meta");
  const check = (fence?: number) => {
    if (fence !== undefined && meta()?.epoch !== fence) throw new Fenced("another tab leads");
  };
  const select = (q: Query) => {
    const rows = [...table(q.t).values()].filter((r) => q.s === undefined || (r as { s?: string }).s === q.s);
    const order = q.t === "docs" ? (r: Rows[Table]) => (r as Rows["docs"]).key : q.t === "events" ? (r: Rows[Table]) => (r as Rows["events"]).seq : keyOf[q.t] as (r: Rows[Table]) => string | number;
    return rows.sort((a, b) => (order(a) < order(b) ? -1 : 1));
  };
  const apply = (w: Write) => {
    if ("put" in w) table(w.t).set((keyOf[w.t] as (r: unknown) => string | number)(w.put), w.put);
    else if ("del" in w) table(w.t).delete(typeof w.del === "object" ? w.del.join("\0") : w.del);
    else for (const [k, row] of table(w.t)) if ((row as { s: string }).s === w.clear) table(w.t).delete(k);
  };

  return {
    name: undefined,
    durable: false,
    async lead(was) {
      const row = nextLead(meta(), was);
      tables.meta.set("meta", row);
      return row;
    },
    async read(queries) {
      return queries.map(select) as never;
    },
    async append(rows) {
      const places = new Map([...tables.outbox.values()].map((row) => [row.id, row.k]));
      return rows.map((row) => {
        const there = places.get(row.id);
        if (there !== undefined) return there;
        tables.outbox.set(++place, { ...row, k: place });
        places.set(row.id, place);
        return place;
      });
    },
    async commit(writes, fence) {
      check(fence);
      writes.forEach(apply);
    },
    close() {},
  };
}
