import type { Json, Op } from "./json.ts";

// The messages of tidemark.v1 as this client uses them; docs/protocol.md is the norm.

/** A mutation that has its place in the log. */
export interface TidemarkEvent {
  readonly seq: number;
  readonly prev: number;
  readonly id: string;
  readonly type: string;
  readonly key?: string;
  readonly op?: Op;
  readonly data?: Json;
  /** Server time in Unix milliseconds. */
  readonly at: number;
  /** The authenticated subject that wrote it. */
  readonly by?: string;
  /** What is left of an event that was erased on purpose: only seq and prev. */
  readonly erased?: true;
}

/** What a client wants to happen. `expect` is a seq, or the id of a mutation that the last event with this key must be. */
export interface Mutation {
  readonly id: string;
  readonly stream: string;
  readonly type?: string;
  readonly key?: string;
  readonly op?: Op;
  readonly data?: Json;
  readonly expect?: number | string;
}

export interface WireError {
  code: string;
  message?: string;
  later?: boolean;
  seq?: number;
  data?: Json;
}

export interface Member {
  readonly session: string;
  readonly by?: string;
  readonly data: Json;
}

export interface Limits {
  frame: number;
  mutations: number;
  inflight: number;
  subs: number;
}

export type ServerMessage =
  | { type: "welcome"; log: string; session: string; head: number; by?: string; expires_at?: number; heartbeat_ms?: number; limits?: Partial<Limits> }
  | { type: "subscribed"; sub: number; since: number; head: number; floor: number }
  | { type: "events"; sub: number; events: TidemarkEvent[] }
  | { type: "live"; sub: number; seq: number; mark?: string }
  | { type: "reset"; sub: number; reason: string; log: string; floor: number; head: number }
  | { type: "snapshot"; sub: number; seq: number; docs: { key: string; seq: number; data: Json }[]; done: boolean; upto?: number; mark?: string }
  | { type: "unsubscribed"; sub: number }
  | { type: "ack"; results: { id?: string; seq?: number; dup?: boolean; error?: WireError }[]; ref?: number }
  | { type: "signal"; sub: number; session: string; by?: string; data: Json }
  | { type: "presence"; sub: number; set?: Member[]; gone?: string[]; full?: boolean }
  | { type: "pong"; head: number; seq: number; mark?: string }
  | { type: "authenticated"; by?: string; expires_at?: number }
  | { type: "error"; code: string; message: string; sub?: number; ref?: number | string }
  | { type: "goodbye"; reason: string; reconnect_after_ms?: number };
