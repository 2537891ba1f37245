import type { Json } from "./json.ts";
import type { Rows } from "./storage.ts";

// Many documents in few rows: a whole state is kept as pages of JSON, five times faster to read than a row for each document
// and thirty times faster to write. What changes afterwards has a row of its own, which counts more than the page.

const PAGE = 500;
/** So many rows of their own are worth new pages. */
export const WORN = 2_000;

/** A page of documents, or one that changed since; without data: deleted since. Keys have no control characters, so pages sort before all. */
export interface Paged {
  s: string;
  key: string;
  seq: number;
  data?: Json;
}

type Packed = [key: string, seq: number, data: Json][];

export function pack(s: string, docs: Rows["docs"][]): Paged[] {
  const pages: Paged[] = [];
  for (let i = 0; i < docs.length; i += PAGE) {
    const page: Packed = docs.slice(i, i + PAGE).map((d) => [d.key, d.seq, d.data]);
    pages.push({ s, key: "\0" + i, seq: 0, data: JSON.stringify(page) });
  }
  return pages;
}

/** The documents of rows in the order of their keys, and how many had a row of their own. */
export function unpack(rows: Paged[]): { docs: Rows["docs"][]; own: number } {
  const docs = new Map<string, Rows["docs"]>();
  let own = 0;
  for (const row of rows) {
    if (row.key[0] === "\0") {
      for (const [key, seq, data] of JSON.parse(row.data as string) as Packed) docs.set(key, { key, seq, data });
      continue;
    }
    own++;
    if (row.data === undefined) docs.delete(row.key);
    else docs.set(row.key, { key: row.key, seq: row.seq, data: row.data });
  }
  return { docs: [...docs.values()], own };
}
