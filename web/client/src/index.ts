/**
 * `@tidemark/client`: writes at once, keeps everything, syncs in order. Begin with `createClient`.
 *
 * Layers, each on those before it: storage (storage, memory, indexeddb, saver) ← outbox and confirmed state (outbox, state) ←
 * session (the protocol as a pure state machine) ← connection loop (loop) ← one tab of several (tabs, hub) ← what apps use
 * (docs, view, stream, client).
 */
export { createClient } from "./client.ts";
export type { Client, ClientEvents, ClientOptions, Exported, Rejected, Status } from "./client.ts";
export type { Doc, Docs } from "./docs.ts";
export { Closed, HistoryLost, MutationRejected, NotSaved } from "./errors.ts";
export { indexedDB } from "./shared.ts";
export { memory } from "./memory.ts";
export type { Json, Op } from "./json.ts";
export type { Phase, Socket, TokenReason } from "./loop.ts";
export type { Storage } from "./storage.ts";
export type { AppendInput, Pending, Presence, Signal, Stream, WriteOptions } from "./stream.ts";
export type { Unsubscribe } from "./util.ts";
export type { Reducer, View, ViewEvent } from "./view.ts";
export type { Member, Mutation, TidemarkEvent, WireError } from "./wire.ts";
