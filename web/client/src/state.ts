import { fold } from "./json.ts";
import { covers, Outbox, type Entry } from "./outbox.ts";
import type { Cursor, Key, Rows, Table, Write } from "./storage.ts";
import { obtain } from "./util.ts";
import type { TidemarkEvent, WireError } from "./wire.ts";

/** What is kept of a stream: its documents, its events, or only the line to it (signals and presence). */
export type Kind = "docs" | "events" | "live";

export type Confirmed = Rows["docs"];
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

/** Hears at once of every step that matters to what is shown of one stream. */
export interface Reader {
  /** A document changed; without key: all may have. */
  touch(key?: string): void;
  /** The pending mutations changed; `added`: only by this one, at the end. */
  pending(added?: Entry): void;
  /** The events that all views are made of. */
  came(events: TidemarkEvent[]): void;
  /** They are void; `reread`: only those in memory, the storage has what counts. */
  dropped(reread: boolean): void;
  /** After a drop: all has come again. */
  whole(): void;
}

export interface Listener {
  reader(stream: string): Reader | undefined;
  events(r: Replica, events: TidemarkEvent[]): void;
  verdict(id: string, seq: number | undefined, error?: WireError): void;
  rejected(): void;
}

/** Outbox and confirmed state: every step changes memory at once, and notes what it means for the disk. */
export class State {
  readonly outbox = new Outbox();
  readonly replicas = new Map<string, Replica>();
  readonly rejected = new Map<string, Rows["rejected"]>();
  protected readonly on: Listener;
  private readonly writes = new Map<string, Write>();

  constructor(on: Listener) {
    this.on = on;
  }

  /** What was noted for the disk since the last call. */
  take(): Write[] {
    const writes = [...this.writes.values()];
    this.writes.clear();
    return writes;
  }

  replica(id: string): Replica {
    return obtain(this.replicas, id, () => new Replica(id));
  }

  /** Sets what the storage has. */
  load(r: Replica, cur: Cursor | undefined, docs: Docs): void {
    r.cur = r.seen = cur;
    r.docs = docs;
    r.loaded = r.whole = true;
    this.on.reader(r.stream)?.touch();
  }

  events(r: Replica, ev: TidemarkEvent[], cur: Cursor): void {
    for (const e of ev) this.arrived(e, cur.log);
    this.advance(r, cur);
    const s = r.stream;
    const reader = this.on.reader(s);
    if (r.kind === "events") {
      this.write("events", [s, ev[0]!.seq], { s, seq: ev[0]!.seq, ev });
      reader?.came(ev);
    } else for (const e of ev) {
      const key = foldEvent(r.docs, e);
      if (key === undefined) continue;
      this.write("docs", [s, key], r.docs.get(key));
      reader?.touch(key);
    }
    this.on.events(r, ev);
    reader?.pending();
  }

  /** An event with the id of a pending mutation is its acceptance. */
  arrived(e: TidemarkEvent, log: string): void {
    const mine = this.outbox.get(e.id);
    if (mine && mine.seq === undefined) this.accept(mine, e.seq, log);
  }

  moved(r: Replica, cur: Cursor): void {
    this.advance(r, cur);
  }

  /** The confirmed state is void. Unless it must be hidden it is shown until the new one is complete. */
  drop(r: Replica, hide: boolean): void {
    r.cur = undefined;
    r.whole = false;
    if (hide) {
      r.seen = undefined;
      r.docs = new Map();
      this.on.reader(r.stream)?.touch();
    }
    this.rewrite(r, []);
    if (r.kind === "events") this.on.reader(r.stream)?.dropped(false);
  }

  /** Everything has come, again if it was dropped. */
  complete(r: Replica): void {
    if (r.whole) return;
    r.whole = true;
    if (r.kind === "events") this.on.reader(r.stream)?.whole();
  }

  /** A snapshot is complete. */
  replace(r: Replica, docs: Docs, cur: Cursor): void {
    this.load(r, cur, docs);
    this.rewrite(r, [...docs.values()]);
  }

  /** A mutation made here, not yet on disk, or one that another tab made. */
  add(e: Entry): void {
    if (this.outbox.add(e)) this.touched(e, e);
  }

  accept(e: Entry, seq: number, log: string): void {
    e.seq = seq;
    e.slog = log;
    this.outbox.accepted.add(e);
    this.touched(e);
    this.on.verdict(e.id, seq);
  }

  /** The log that had accepted it is no longer the server's: it is sent again, which is always safe. */
  requeue(e: Entry): void {
    e.seq = e.slog = undefined;
    this.outbox.accepted.delete(e);
    this.touched(e);
  }

  refuse(e: Entry, error: WireError, at: number): Rows["rejected"] {
    const row = { id: e.id, text: e.text, at, error };
    this.forget(e);
    this.write("rejected", e.id, row);
    this.refused(row);
    return row;
  }

  /** Lets go of accepted mutations that are part of every replica of their stream. */
  settle(): string[] {
    const waits = (e: Entry, kind: Kind) => {
      const r = this.replicas.get(kind + ":" + e.stream);
      return r && !r.error && !(r.whole && covers(r.seen, e));
    };
    const done = [...this.outbox.accepted].filter((e) => !waits(e, "docs") && !waits(e, "events"));
    for (const e of done) this.forget(e);
    return done.map((e) => e.id);
  }

  /** Takes it out of the outbox. */
  gone(id: string): Entry | undefined {
    const e = this.outbox.remove(id);
    if (e) this.touched(e);
    return e;
  }

  protected refused(row: Rows["rejected"]): void {
    this.rejected.set(row.id, row);
    this.on.rejected();
    this.on.verdict(row.id, undefined, row.error);
  }

  private forget(e: Entry): void {
    this.gone(e.id);
    if (e.k !== undefined) this.write("outbox", e.k, undefined);
  }
  private touched(e: Entry, added?: Entry) {
    const reader = this.on.reader(e.stream);
    if (e.op) reader?.touch(e.key);
    reader?.pending(added);
  }
  private advance(r: Replica, cur: Cursor) {
    r.cur = r.seen = cur;
    this.cursor(r);
  }
  private cursor(r: Replica) {
    if (r.kind !== "live") this.write("replicas", r.id, { r: r.id, cur: r.cur });
  }
  private rewrite(r: Replica, all: Confirmed[]) {
    if (r.kind !== "live") this.note(r.kind + "\0" + r.stream, { t: r.kind, s: r.stream, all });
    this.cursor(r);
  }
  private write<T extends Table>(t: T, k: Key, row: Rows[T] | undefined) {
    this.note([t, k].flat().join("\0"), { t, k, row } as Write);
  }
  /** A later write to the same place makes the earlier one needless. */
  private note(place: string, w: Write) {
    this.writes.delete(place);
    this.writes.set(place, w);
  }
}
