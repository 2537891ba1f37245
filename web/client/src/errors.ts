import type { Json } from "./json.ts";
import type { WireError } from "./wire.ts";

/** The server refused a mutation for good. It is in `tm.rejected` until the app dismisses or retries it. */
export class MutationRejected extends Error {
  override readonly name = "MutationRejected";
  readonly id: string;
  /** "conflict", "forbidden", "rule_denied", …: the protocol's table of error codes. */
  readonly code: string;
  /** On a conflict: the seq of the last event with the key (0: there is no document). */
  readonly seq?: number;
  /** On a conflict: the document as it is now, where there is one that may be read. */
  readonly current?: Json;

  constructor(id: string, error: WireError) {
    super(error.message || error.code);
    this.id = id;
    this.code = error.code;
    this.seq = error.seq;
    this.current = error.data;
  }
}

/** This device could not save. What was written is still in memory, and on its way to the server. */
export class NotSaved extends Error {
  override readonly name = "NotSaved";
}

/** The server no longer has all events from where the reader was. */
export class HistoryLost extends Error {
  override readonly name = "HistoryLost";
  /** "log_changed", "trimmed", "ahead" or "erased". */
  readonly reason: string;

  constructor(reason: string) {
    super("events are missing: " + reason);
    this.reason = reason;
  }
}

/** The client was closed. */
export class Closed extends Error {
  override readonly name = "Closed";
}

/** What somebody threw, in words. */
export const messageOf = (e: unknown): string => String((e as Error)?.message ?? e);
