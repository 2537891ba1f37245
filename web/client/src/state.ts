import { fold, type Json } from "./json.ts";
import { covers, entryOf, Outbox, rowOf, type Entry } from "./outbox.ts";
import { pack } from "./pages.ts";
import type { Cursor, Rows, Write } from "./storage.ts";
import type { TidemarkEvent, WireError } from "./wire.ts";

/** What is kept of a stream: its documents, its events, or only the line to it (signals and presence). */
export type Kind = "docs" | "events" | "live";

export interface Confirmed {
  readonly key: string;
  readonly seq: number;
  readonly data: Json;
}
export type Docs = Map<string, Confirmed>;

/** The confirmed part of one stream, as one subscription feeds it. */
export class Replica {
  readonly id: string;
  readonly kind: Kind;
  readonly stream: string;
  /** As on disk. Undefined: nothing is confirmed. */
  cur?: Cursor;
  /** The cursor of what `docs` shows. It outlives `cur` while a reset's snapshot is on its way. */
  seen?: Cursor;
  docs: Docs = new Map();
  loaded = false;
  /** False from a drop until everything has come again: until then the old state may be shown, without what was accepted since. */
  whole = true;
  /** Why the server does not serve it. */
  error?: string;

  constructor(id: string) {
    const i = id.indexOf(":");
    this.id = id;
    this.kind = id.slice(0, i) as Kind;
    this.stream = id.slice(i + 1);
  }
}

/** Applies an event to documents. One that is already in the document, as after a snapshot, is skipped. */
export function foldEvent(docs: Docs, e: TidemarkEvent): string | undefined {
  if (!e.op || e.key === undefined) return undefined;
  const old = docs.get(e.key);
  if (old && old.seq >= e.seq) return undefined;
  const data = fold(old?.data, e.op, e.data);
  if (data === undefined) docs.delete(e.key);
  else docs.set(e.key, { key: e.key, seq: e.seq, data });
  return e.key;
}

/** One step of the state: what the leading tab does and the other tabs repeat. */
export type Change =
  | { c: "events"; r: string; ev: TidemarkEvent[]; cur: Cursor }
  | { c: "moved"; r: string; cur: Cursor }
  | { c: "dropped"; r: string; hide: boolean }
  | { c: "whole"; r: string }
  /** Too large to tell: read it from the storage. */
  | { c: "load"; r: string }
  | { c: "added"; rows: Rows["outbox"][] }
  | { c: "accepted"; id: string; seq: number; log: string }
  | { c: "requeued"; id: string }
  | { c: "settled"; ids: string[] }
  | { c: "refused"; row: Rows["rejected"] };

/** Hears of every step, at once. */
export interface Listener {
  /** A document changed; without key: all of the stream may have. */
  docs(stream: string, key?: string): void;
  /** The pending mutations of a stream changed; `added`: only by this one, at the end. */
  pending(stream: string, added?: Entry): void;
  events(r: Replica, events: TidemarkEvent[]): void;
  /** Its events are void; `reread`: only those in memory, the storage has what counts. */
  dropped(r: Replica, reread: boolean): void;
  /** After a drop: all has come again. */
  whole(r: Replica): void;
  verdict(id: string, seq: number | undefined, error?: WireError): void;
  rejected(): void;
}

export interface Batch {
  writes: Write[];
  changes: Change[];
}

/** Outbox and confirmed state: every step changes memory at once, and notes what it means for the disk and for other tabs. */
export class State {
  readonly outbox = new Outbox();
  readonly replicas = new Map<string, Replica>();
  readonly rejected = new Map<string, Rows["rejected"]>();
  private writes = new Map<string, Write>();
  private changes: Change[] = [];
  private readonly on: Listener;

  constructor(on: Listener) {
    this.on = on;
  }

  /** What was noted since the last call. */
  take(): Batch | undefined {
    if (!this.writes.size && !this.changes.length) return undefined;
    const batch = { writes: [...this.writes.values()], changes: this.changes };
    this.writes = new Map();
    this.changes = [];
    return batch;
  }

  replica(id: string): Replica {
    let r = this.replicas.get(id);
    if (!r) this.replicas.set(id, (r = new Replica(id)));
    return r;
  }

  /** Sets what the storage has. */
  load(r: Replica, cur: Cursor | undefined, docs: Docs): void {
    r.cur = r.seen = cur;
    r.docs = docs;
    r.loaded = r.whole = true;
    this.on.docs(r.stream);
  }

  events(r: Replica, ev: TidemarkEvent[], cur: Cursor): void {
    for (const e of ev) this.arrived(e, cur.log);
    r.cur = r.seen = cur;
    for (const e of ev) {
      if (r.kind !== "docs") break;
      const key = foldEvent(r.docs, e);
      if (key === undefined) continue;
      const doc = r.docs.get(key);
      this.write("docs" + r.stream + "\0" + key, { t: "docs", put: doc ? { s: r.stream, ...doc } : { s: r.stream, key, seq: cur.seq } });
      this.on.docs(r.stream, key);
    }
    if (r.kind === "events") this.write("events" + r.stream + "\0" + ev[0]!.seq, { t: "events", put: { s: r.stream, seq: ev[0]!.seq, ev } });
    this.cursor(r);
    this.changes.push({ c: "events", r: r.id, ev, cur });
    this.on.events(r, ev);
    this.on.pending(r.stream);
  }

  /** An event with the id of a pending mutation is its acceptance. */
  arrived(e: TidemarkEvent, log: string): void {
    const mine = this.outbox.get(e.id);
    if (mine && mine.seq === undefined) this.accept(mine, e.seq, log);
  }

  moved(r: Replica, cur: Cursor): void {
    r.cur = r.seen = cur;
    this.cursor(r);
    this.changes.push({ c: "moved", r: r.id, cur });
  }

  /** The confirmed state is void. Unless it must be hidden it is shown until the new one is complete. */
  drop(r: Replica, hide: boolean): void {
    r.cur = undefined;
    r.whole = false;
    if (hide) {
      r.seen = undefined;
      r.docs = new Map();
      this.on.docs(r.stream);
    }
    this.clear(r);
    this.cursor(r);
    this.changes.push({ c: "dropped", r: r.id, hide });
    this.on.dropped(r, false);
  }

  /** Everything has come, again if it was dropped. */
  complete(r: Replica): void {
    if (r.whole) return;
    r.whole = true;
    this.changes.push({ c: "whole", r: r.id });
    this.on.whole(r);
  }

  /** A snapshot is complete. */
  replace(r: Replica, docs: Docs, cur: Cursor): void {
    r.docs = docs;
    this.repack(r);
    r.cur = r.seen = cur;
    r.whole = true;
    this.cursor(r);
    this.changes.push({ c: "load", r: r.id });
    this.on.docs(r.stream);
  }

  /** Writes all documents anew: few rows are faster to read. */
  repack(r: Replica): void {
    this.clear(r);
    for (const w of pack(r.stream, r.docs)) this.write("docs" + r.stream + "\0" + (w as { put: Rows["docs"] }).put.key, w);
  }

  /** Mutations that are on disk, made here or in another tab. */
  added(rows: Rows["outbox"][]): void {
    for (const row of rows) this.add(entryOf(row));
    this.changes.push({ c: "added", rows });
  }
  /** A mutation made here, not yet on disk, or one that another tab made. */
  add(e: Entry): void {
    if (this.outbox.add(e)) this.touched(e, e);
  }

  accept(e: Entry, seq: number, log: string): void {
    e.seq = seq;
    e.slog = log;
    this.outbox.accepted.add(e);
    this.changes.push({ c: "accepted", id: e.id, seq, log });
    this.touched(e);
    this.on.verdict(e.id, seq);
  }

  /** The log that had accepted it is no longer the server's: it is sent again, which is always safe. */
  requeue(e: Entry): void {
    e.seq = e.slog = undefined;
    this.outbox.accepted.delete(e);
    this.changes.push({ c: "requeued", id: e.id });
    this.touched(e);
  }

  refuse(e: Entry, error: WireError, at: number): void {
    const row = { id: e.id, text: e.text, at, error };
    this.forget(e);
    this.write("rejected" + e.id, { t: "rejected", put: row });
    this.changes.push({ c: "refused", row });
    this.refused(row);
  }

  /** Lets go of accepted mutations that are part of every replica of their stream. */
  settle(): void {
    const ids: string[] = [];
    for (const e of [...this.outbox.accepted]) {
      const waits = (kind: Kind) => {
        const r = this.replicas.get(kind + ":" + e.stream);
        return r !== undefined && !r.error && !(r.whole && covers(r.seen, e));
      };
      if (waits("docs") || waits("events")) continue;
      this.forget(e);
      ids.push(e.id);
    }
    if (ids.length) this.changes.push({ c: "settled", ids });
  }

  /** Repeats a step of the leading tab. "load" is up to the caller, who can read the storage. */
  repeat(change: Change, wanted: (r: string) => Replica | undefined): void {
    switch (change.c) {
      case "added":
        for (const row of change.rows) {
          const mine = this.outbox.get(row.id);
          if (!mine) this.add(entryOf(row));
        }
        return;
      case "accepted":
      case "requeued": {
        const e = this.outbox.get(change.id);
        if (e && change.c === "accepted") this.accept(e, change.seq, change.log);
        else if (e) this.requeue(e);
        return;
      }
      case "settled":
        for (const id of change.ids) this.gone(id);
        return;
      case "refused":
        this.gone(change.row.id);
        return this.refused(change.row);
      case "load":
        return;
    }
    const r = wanted(change.r);
    if (!r) return;
    if (change.c === "events") this.events(r, change.ev, change.cur);
    else if (change.c === "moved") this.moved(r, change.cur);
    else if (change.c === "whole") this.complete(r);
    else this.drop(r, change.hide);
  }

  /** Takes it out of the outbox. */
  gone(id: string): Entry | undefined {
    const e = this.outbox.remove(id);
    if (e) this.touched(e);
    return e;
  }

  private refused(row: Rows["rejected"]) {
    this.rejected.set(row.id, row);
    this.on.rejected();
    this.on.verdict(row.id, undefined, row.error);
  }

  private forget(e: Entry) {
    this.gone(e.id);
    if (e.k !== undefined) this.write("outbox" + e.id, { t: "outbox", del: e.k });
  }
  private touched(e: Entry, added?: Entry) {
    if (e.op) this.on.docs(e.stream, e.key);
    this.on.pending(e.stream, added);
  }
  private clear(r: Replica) {
    if (r.kind !== "live") this.write("clear" + r.id, { t: r.kind, clear: r.stream });
  }
  private cursor(r: Replica) {
    if (r.kind !== "live") this.write("replicas" + r.id, { t: "replicas", put: { r: r.id, ...(r.cur && { cur: r.cur }) } });
  }
  /** A later write to the same row makes the earlier one needless. */
  private write(row: string, w: Write) {
    this.writes.delete(row);
    this.writes.set(row, w);
  }
}

export { rowOf };
