import { entryOf, type Entry } from "./outbox.ts";
import { State, type Docs, type Replica } from "./state.ts";
import type { Cursor, Rows } from "./storage.ts";
import type { TidemarkEvent, WireError } from "./wire.ts";

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

/** A state whose steps are also noted for the other tabs, or repeat what the leading tab noted. */
export class SharedState extends State {
  private changes: Change[] = [];

  /** What was noted for the other tabs since the last call. */
  news(): Change[] {
    const changes = this.changes;
    this.changes = [];
    return changes;
  }

  override events(r: Replica, ev: TidemarkEvent[], cur: Cursor): void {
    super.events(r, ev, cur);
    this.changes.push({ c: "events", r: r.id, ev, cur });
  }
  override moved(r: Replica, cur: Cursor): void {
    super.moved(r, cur);
    this.changes.push({ c: "moved", r: r.id, cur });
  }
  override drop(r: Replica, hide: boolean): void {
    super.drop(r, hide);
    this.changes.push({ c: "dropped", r: r.id, hide });
  }
  override complete(r: Replica): void {
    if (!r.whole) this.changes.push({ c: "whole", r: r.id });
    super.complete(r);
  }
  override replace(r: Replica, docs: Docs, cur: Cursor): void {
    super.replace(r, docs, cur);
    this.changes.push({ c: "load", r: r.id });
  }
  override accept(e: Entry, seq: number, log: string): void {
    super.accept(e, seq, log);
    this.changes.push({ c: "accepted", id: e.id, seq, log });
  }
  override requeue(e: Entry): void {
    super.requeue(e);
    this.changes.push({ c: "requeued", id: e.id });
  }
  override refuse(e: Entry, error: WireError, at: number): Rows["rejected"] {
    const row = super.refuse(e, error, at);
    this.changes.push({ c: "refused", row });
    return row;
  }
  override settle(): string[] {
    const ids = super.settle();
    if (ids.length) this.changes.push({ c: "settled", ids });
    return ids;
  }
  /** Mutations that are on disk, made here or in another tab. */
  added(rows: Rows["outbox"][]): void {
    for (const row of rows) this.add(entryOf(row));
    this.changes.push({ c: "added", rows });
  }

  /** Repeats a step of the leading tab. "load" is up to the caller, who can read the storage. */
  repeat(change: Change, wanted: (r: string) => Replica | undefined): void {
    switch (change.c) {
      case "added":
        for (const row of change.rows) this.add(entryOf(row));
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
}
