import type { Op, Json } from "./json.ts";
import type { Cursor, Unplaced } from "./storage.ts";
import { obtain } from "./util.ts";
import type { Mutation } from "./wire.ts";

/** A mutation on its way: written here, not yet known to be in the confirmed state. */
export interface Entry extends Readonly<Mutation> {
  readonly text: string;
  readonly at: number;
  /** The log that a numeric expect belongs to. */
  readonly log?: string;
  /** Its place in the outbox; undefined: not yet on disk. */
  k?: number;
  /** Its place in the log `slog`, once the server accepted it. */
  seq?: number;
  slog?: string;
}

export const entryOf = (row: Omit<Unplaced, "id"> & { k?: number }): Entry => ({ ...(JSON.parse(row.text) as Mutation), ...row });
export const rowOf = ({ id, text, at, log }: Entry): Unplaced => ({ id, text, at, ...(log && { log }) });

/** Whether everything up to the cursor includes this entry's event. */
export const covers = (cur: Cursor | undefined, e: Entry) => e.seq !== undefined && cur !== undefined && e.slog === cur.log && e.seq <= cur.seq;

/** What an entry does to a document, for those that do something. */
export type Effect = Entry & { readonly key: string; readonly op: Op; readonly data?: Json };

/** Those of one stream, and of them those that change documents, by key. */
interface Part {
  all: Map<string, Entry>;
  keys: Map<string, Effect[]>;
}

/** The pending mutations in the order in which they will be sent: those on disk by place, then those that are being written. */
export class Outbox {
  private all = new Map<string, Entry>();
  private parts = new Map<string, Part>();
  /** Accepted, but not yet part of the confirmed state. */
  readonly accepted = new Set<Entry>();
  private highest = 0;
  private unplaced = 0;
  private disorder = false;

  get(id: string): Entry | undefined {
    return this.all.get(id);
  }
  /** Whether this very entry is still on its way. */
  has(e: Entry): boolean {
    return this.all.get(e.id) === e;
  }
  entries(): Iterable<Entry> {
    this.sort();
    return this.all.values();
  }
  /** Those without a verdict. */
  unanswered(): Entry[] {
    return [...this.entries()].filter((e) => e.seq === undefined);
  }
  stream(name: string): Iterable<Entry> {
    this.sort();
    return this.parts.get(name)?.all.values() ?? [];
  }
  /** What changes the document at this key, in order. */
  effects(stream: string, key: string): readonly Effect[] {
    this.sort();
    return this.parts.get(stream)?.keys.get(key) ?? [];
  }
  keys(stream: string): Iterable<string> {
    return this.parts.get(stream)?.keys.keys() ?? [];
  }
  streams(): Iterable<string> {
    return this.parts.keys();
  }
  /** How many have no verdict yet. */
  get pending(): number {
    return this.all.size - this.accepted.size;
  }
  /** When the oldest of those was written. */
  get oldest(): number | undefined {
    if (!this.pending) return undefined;
    for (const e of this.entries()) if (e.seq === undefined) return e.at;
    return undefined;
  }

  add(e: Entry): boolean {
    if (this.all.has(e.id)) return false;
    this.all.set(e.id, e);
    this.file(e);
    if (e.k === undefined) this.unplaced++;
    else if (e.k < this.highest || this.unplaced) this.disorder = true;
    this.highest = Math.max(this.highest, e.k ?? 0);
    return true;
  }

  /** The entry is on disk now. */
  place(e: Entry, k: number): void {
    const here = this.all.get(e.id) === e; // else it was settled before this tab heard that it is on disk
    if (here && e.k === undefined) this.unplaced--;
    e.k = k;
    if (!here) return;
    if (k < this.highest) this.disorder = true;
    this.highest = Math.max(this.highest, k);
  }

  remove(id: string): Entry | undefined {
    const e = this.all.get(id);
    if (!e) return undefined;
    if (e.k === undefined) this.unplaced--;
    this.all.delete(id);
    this.accepted.delete(e);
    const part = this.parts.get(e.stream)!;
    part.all.delete(id);
    if (!part.all.size) this.parts.delete(e.stream);
    const same = e.key !== undefined && part.keys.get(e.key);
    if (same) {
      const i = same.indexOf(e as Effect);
      if (i >= 0) same.splice(i, 1);
      if (!same.length) part.keys.delete(e.key!);
    }
    return e;
  }

  private file(e: Entry) {
    const part = obtain(this.parts, e.stream, (): Part => ({ all: new Map(), keys: new Map() }));
    part.all.set(e.id, e);
    if (e.op && e.key !== undefined) obtain(part.keys, e.key, (): Effect[] => []).push(e as Effect);
  }

  private sort() {
    if (!this.disorder) return;
    this.disorder = false;
    const inOrder = [...this.all.values()].sort((a, b) => (a.k ?? Infinity) - (b.k ?? Infinity) || 0);
    this.all = new Map();
    this.parts = new Map();
    for (const e of inOrder) {
      this.all.set(e.id, e);
      this.file(e);
    }
  }
}
