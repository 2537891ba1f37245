import { newId } from "./ids.ts";
import type { Hub } from "./hub.ts";
import type { Json } from "./json.ts";
import type { TidemarkEvent, WireError } from "./wire.ts";

// What is kept on the device, and the narrow door to it.

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
  /** Confirmed documents. */
  docs: { readonly key: string; readonly seq: number; readonly data: Json };
  /** A frame of events, as it came. */
  events: { s: string; seq: number; ev: TidemarkEvent[] };
}
export type Table = keyof Rows;
export type Meta = Rows["meta"];
/** A mutation that has no place in the outbox yet. */
export type Unplaced = Omit<Rows["outbox"], "k">;

export type Key = string | number | readonly [stream: string, key: string | number];
export type Write =
  /** Puts the row at this key; without one, removes what is there. */
  | { [T in Table]: { t: T; k: Key; row: Rows[T] | undefined } }[Table]
  /** In place of all rows of one stream. */
  | { t: "docs" | "events"; s: string; all: Rows["docs"][] };

/** All rows of a table, or those of one stream. */
export interface Query {
  t: Table;
  s?: string;
}

/** Storage keeps rows. Each method is atomic, and takes effect in the order of the calls. */
export interface Storage {
  /** The answers of all queries, as of one moment; outbox and events in order of their keys. */
  read<const Q extends readonly Query[]>(queries: Q): Promise<{ [I in keyof Q]: Rows[Q[I]["t"]][] }>;
  /** Puts mutations at the end of the outbox, gives their places. */
  append(rows: Unplaced[]): Promise<number[]>;
  /** Applies the writes in order. */
  commit(writes: Write[]): Promise<void>;
  close(): void;
  /** What a client on this storage runs on, when it takes more than `Hub`: see SharedStorage. */
  readonly hub?: typeof Hub;
}

/**
 * A storage that outlives the page, that tabs share, and that may fail: what it resolved for is on disk. Its `hub` knows how to
 * live with all that, so that who only needs memory does not load it.
 */
export interface SharedStorage extends Storage {
  /** What the tabs that share this storage have in common. */
  readonly name: string;
  /** Called when the storage broke away (the user cleared it, the browser dropped the connection). */
  onlost?: (() => void) | undefined;
  /** Takes the lead: raises `epoch`, and goes on from `was` where that is further, or where there is no row. */
  lead(was?: Partial<Meta>): Promise<Meta>;
  /** Whoever is in the outbox already (by id) keeps its place. */
  append(rows: Unplaced[]): Promise<number[]>;
  /** With a fence only while `epoch` is that, else rejects with Fenced. */
  commit(writes: Write[], fence?: number): Promise<void>;
}

/** The row of a new lead. What an earlier lead did without being able to save it (`was`) is counted, so that no number comes twice. */
export function nextLead(old: Meta | undefined, was: Partial<Meta> = {}): Meta {
  const meta = old ?? { client: newId(), epoch: 0, n: 0, rev: 0, ...was, k: "meta", birth: newId() };
  const { epoch = 0, n = 0, rev = 0 } = was;
  return { ...meta, epoch: Math.max(meta.epoch, epoch) + 1, n: Math.max(meta.n, n), rev: rev > meta.rev ? rev + 1 : meta.rev };
}

/** Somebody else took the lead since: the batch was not written. */
export class Fenced extends Error {}
