import { newId } from "./ids.ts";
import type { Json } from "./json.ts";
import type { TidemarkEvent, WireError } from "./wire.ts";

// What is kept on the device, and the narrow door to it. Every row carries its own key.

/** Up to where everything of a replica was applied. Each cursor has its own log id and, where known, the id of the event there. */
export interface Cursor {
  seq: number;
  log: string;
  mark?: string;
}

export interface Rows {
  /**
   * One row. `birth` tells this storage from one made anew after the user cleared it, `client` names the outbox, `epoch` counts
   * the leads and is the fence of each, `n` counts connections, `rev` what leaders committed.
   */
  meta: { k: "meta"; birth: string; client: string; epoch: number; n: number; rev: number };
  /** Mutations whose verdict is out, in order of `k`. `text` is the exact JSON that is sent; `log` belongs to a numeric expect. */
  outbox: { k: number; id: string; text: string; at: number; log?: string };
  /** Mutations that the server refused for good. */
  rejected: { id: string; text: string; at: number; error: WireError };
  /** One per stream and kind: how far the docs or events of that stream go. */
  replicas: { r: string; cur?: Cursor };
  /** A page of documents, or one that changed since; without data: deleted since. See pages.ts. */
  docs: { s: string; key: string; seq: number; data?: Json };
  /** A frame of events, as it came. */
  events: { s: string; seq: number; ev: TidemarkEvent[] };
}
export type Table = keyof Rows;
export type Meta = Rows["meta"];

export type Write =
  | { [T in Table]: { t: T; put: Rows[T] } }[Table]
  | { t: Table; del: string | number | readonly [string, string] }
  /** Removes all rows of one stream from docs or events. */
  | { t: "docs" | "events"; clear: string };

/** The row of a new lead. What an earlier lead did without being able to save it (`was`) is counted, so that no number comes twice. */
export function nextLead(old: Meta | undefined, was: Partial<Meta> = {}): Meta {
  const meta = old ?? { client: newId(), epoch: 0, n: 0, rev: 0, ...was, k: "meta", birth: newId() };
  const { epoch = 0, n = 0, rev = 0 } = was;
  return { ...meta, epoch: Math.max(meta.epoch, epoch) + 1, n: Math.max(meta.n, n), rev: rev > meta.rev ? rev + 1 : meta.rev };
}

/** All rows of a table, or those of one stream. */
export interface Query {
  t: Table;
  s?: string;
}

/** Somebody else took the lead since: the batch was not written. */
export class Fenced extends Error {}

/**
 * Storage keeps rows. Each method is atomic, and what it resolved for survives a crash of the process, as far as `durable` says.
 * Calls take effect in the order in which they were made.
 */
export interface Storage {
  /** What the tabs that share this storage have in common; undefined: it cannot be shared. */
  readonly name: string | undefined;
  readonly durable: boolean;
  /** Called when the storage broke away (the user cleared it, the browser dropped the connection). */
  onlost?: (() => void) | undefined;
  /** Takes the lead: raises `epoch`, and goes on from `was` where that is further, or where there is no row. */
  lead(was?: Partial<Meta>): Promise<Meta>;
  /** The answers of all queries, as of one moment, each in order of its keys. */
  read<const Q extends readonly Query[]>(queries: Q): Promise<{ [I in keyof Q]: Rows[Q[I]["t"]][] }>;
  /** Puts mutations at the end of the outbox, gives their places. Whoever is there already (by id) keeps its place. */
  append(rows: Omit<Rows["outbox"], "k">[]): Promise<number[]>;
  /** Applies the writes in order; with a fence only while `epoch` is that, else rejects with Fenced. */
  commit(writes: Write[], fence?: number): Promise<void>;
  close(): void;
}
