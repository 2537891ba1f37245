/**
 * React hooks for `@tidemark/client`. Each reads what the client has now, and renders again when that changes: tear-free, and
 * empty on a server. Reducers and initial states are told apart by identity, so define them outside of components.
 */
import { useCallback, useSyncExternalStore } from "react";
import type { Client, Doc, Json, Member, Reducer, Status, Stream, View } from "@tidemark/client";

const nothing: readonly never[] = [];
const offline: Status = { phase: "offline", pending: 0, oldestPendingAt: undefined, lastError: undefined, storage: "memory", leader: false, head: 0 };

/** All documents of the stream in the order of their keys; pending changes are in them. */
export function useDocs<T = Json>(stream: Stream<T>): readonly Doc<T>[] {
  const subscribe = useCallback((fn: () => void) => stream.docs.subscribe(fn), [stream]);
  return useSyncExternalStore(subscribe, () => stream.docs.entries(), () => nothing);
}

/** One document, or undefined while there is none. */
export function useDoc<T = Json>(stream: Stream<T>, key: string): Doc<T> | undefined {
  const subscribe = useCallback((fn: () => void) => stream.docs.subscribe(fn), [stream]);
  return useSyncExternalStore(subscribe, () => stream.docs.get(key), () => undefined);
}

const views = new WeakMap<object, Map<unknown, Map<unknown, View<unknown>>>>();

/** One fold for all components that ask for the same one. */
function viewOf<S>(stream: object, initial: S, reduce: Reducer<S>): View<S> {
  let ofStream = views.get(stream);
  if (!ofStream) views.set(stream, (ofStream = new Map()));
  let ofReducer = ofStream.get(reduce);
  if (!ofReducer) ofStream.set(reduce, (ofReducer = new Map()));
  let view = ofReducer.get(initial);
  if (!view) ofReducer.set(initial, (view = (stream as Stream).view(initial, reduce) as View<unknown>));
  return view as View<S>;
}

/** A fold of the stream's events, with the pending ones on top. */
export function useView<S, T = Json>(stream: Stream<T>, initial: S, reduce: Reducer<S>): S {
  const subscribe = useCallback((fn: () => void) => viewOf(stream, initial, reduce).subscribe(fn), [stream, initial, reduce]);
  return useSyncExternalStore(subscribe, () => viewOf(stream, initial, reduce).get(), () => initial);
}

/** Phase of the connection, pending mutations, storage. */
export function useStatus(client: Client): Status {
  const subscribe = useCallback((fn: () => void) => client.on("status", fn), [client]);
  return useSyncExternalStore(subscribe, () => client.status, () => offline);
}

/** Who else is on the stream, and how to tell them about oneself. */
export function usePresence<T = Json>(stream: Stream<T>): readonly [others: readonly Member[], set: (data: Json) => void] {
  const subscribe = useCallback((fn: () => void) => stream.presence.subscribe(fn), [stream]);
  const others = useSyncExternalStore(subscribe, () => stream.presence.others, () => nothing);
  const set = useCallback((data: Json) => stream.presence.set(data), [stream]);
  return [others, set];
}
