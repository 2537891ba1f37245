import { newId } from "../ids.ts";
import { fold, type Json } from "../json.ts";
import type { Mutation, TidemarkEvent, WireError } from "../wire.ts";

export interface LogEvent extends TidemarkEvent {
  stream: string;
}
interface Last {
  seq: number;
  id: string;
  data: Json | undefined;
}
export type Verdict = { id?: string; seq?: number; prev?: number; at?: number; dup?: true; error?: WireError };

const keyed = (stream: string, key: string) => stream + "\0" + key;

/** The ordered log and its documents, without durability. */
export class Log {
  id = newId();
  events: LogEvent[] = [];
  head = 0;
  /** Events up to here are gone. */
  floor = 0;
  /** Older log ids, and up to where their history is this one's. */
  readonly cuts = new Map<string, number>();
  private ids = new Map<string, { seq: number; print: string }>();
  private heads = new Map<string, number>();
  private last = new Map<string, Last>();

  streamHead(stream: string): number {
    return this.heads.get(stream) ?? 0;
  }

  docs(stream: string): { key: string; seq: number; data: Json }[] {
    const all = [...this.last].filter(([k, d]) => k.startsWith(stream + "\0") && d.data !== undefined);
    return all.map(([k, d]) => ({ key: k.slice(stream.length + 1), seq: d.seq, data: d.data! })).sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  idAt(seq: number): string | undefined {
    return this.events.find((e) => e.seq === seq)?.id;
  }

  after(stream: string, seq: number, limit: number): LogEvent[] {
    return this.events.filter((e) => e.seq > seq && e.stream === stream).slice(0, limit);
  }

  append(m: Mutation, by: string | undefined, log: string | undefined): Verdict {
    const print = JSON.stringify([m.stream, m.type ?? m.op, m.key, m.op, m.data]);
    const known = this.ids.get(m.id);
    if (known) return known.print === print ? { id: m.id, seq: known.seq, dup: true } : refusal(m, "id_reused");
    const key = m.key === undefined ? undefined : keyed(m.stream, m.key);
    const last = key === undefined ? undefined : this.last.get(key);
    if (m.expect !== undefined && !this.holds(m, last, log)) return { id: m.id, error: { code: "conflict", message: "it has changed", seq: last?.data === undefined ? 0 : last.seq, ...(last?.data !== undefined && { data: last.data }) } };
    const prev = this.streamHead(m.stream);
    const seq = ++this.head;
    const at = Date.now();
    const { id, stream, type, op, data } = m;
    const e: LogEvent = { seq, prev, id, stream, type: type ?? op!, ...(m.key !== undefined && { key: m.key }), ...(op && { op }), ...(data !== undefined && { data }), at, ...(by && { by }) };
    this.events.push(e);
    this.ids.set(m.id, { seq, print });
    this.heads.set(m.stream, seq);
    if (key !== undefined) this.last.set(key, { seq, id: m.id, data: op ? fold(last?.data, op, data) : last?.data });
    return { id: m.id, seq, prev, at };
  }

  /** Forgets events up to `seq`; documents and ids stay. */
  trim(seq: number): void {
    this.floor = Math.max(this.floor, Math.min(seq, this.head));
    this.events = this.events.filter((e) => e.seq > this.floor);
  }

  /** A restore: the log ends at `seq` and has a new id. Needs an untrimmed log. */
  restore(seq: number): void {
    for (const [id, cut] of this.cuts) this.cuts.set(id, Math.min(cut, seq));
    this.cuts.set(this.id, seq);
    const kept = this.events.filter((e) => e.seq <= seq);
    this.id = newId();
    this.clear();
    for (const e of kept) this.append(e, e.by, undefined);
  }

  /** Another history altogether. */
  replace(): void {
    this.id = newId();
    this.cuts.clear();
    this.clear();
  }

  private clear() {
    this.events = [];
    this.head = this.floor = 0;
    this.ids = new Map();
    this.heads = new Map();
    this.last = new Map();
  }

  private holds(m: Mutation, last: Last | undefined, log: string | undefined): boolean {
    const { expect } = m;
    if (typeof expect === "number" && log !== undefined && log !== this.id && expect > (this.cuts.get(log) ?? -1)) return false;
    if (m.key === undefined) return typeof expect === "number" ? expect === this.streamHead(m.stream) : this.idAt(this.streamHead(m.stream)) === expect;
    if (typeof expect === "string") return last?.id === expect;
    return expect === 0 ? last?.data === undefined : last?.seq === expect;
  }
}

export const refusal = (m: { id?: string }, code: string, later?: boolean): Verdict => ({ ...(m.id && { id: m.id }), error: { code, message: code.replace("_", " "), ...(later && { later }) } });
