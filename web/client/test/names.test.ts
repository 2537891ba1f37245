import "fake-indexeddb/auto";
import { expect, test } from "vitest";
import { createClient, indexedDB } from "@tidemark/client";
import { TestServer } from "@tidemark/client/testing";
import { fakeLocks } from "./locks.ts";
import { until } from "./util.ts";

// The names that leave the client: to the server, to other tabs (of which one may run an older build), to the disk. The published
// build shortens inner names; this runs against it, too.

const list = (text: string) => text.trim().split(/\s*[,\n]\s*/).sort();

const FRAMES = list(`
  hello.app, hello.client, hello.n, hello.subs, hello.token, presence.data, presence.stream, push.log, push.mutations
  push.mutations.data, push.mutations.expect, push.mutations.id, push.mutations.key, push.mutations.op, push.mutations.stream
  push.mutations.type, push.ref, signal.data, signal.stream, subscribe.from, subscribe.stream, subscribe.sub
`);
const ROWS = list(`
  docs.data, docs.key, docs.s, docs.seq, events.ev, events.ev.at, events.ev.data, events.ev.id, events.ev.key, events.ev.op
  events.ev.prev, events.ev.seq, events.ev.type, events.s, events.seq, meta.birth, meta.client, meta.epoch, meta.k, meta.n, meta.rev
  outbox.at, outbox.id, outbox.k, outbox.text, rejected.at, rejected.error, rejected.error.code, rejected.error.message, rejected.id
  rejected.text, replicas.cur, replicas.cur.log, replicas.cur.mark, replicas.cur.seq, replicas.r
`);
/** By the kind of note; of those that carry a change or an effect, by its kind. */
const NOTES = list(`
  added.rows, added.rows.at, added.rows.id, added.rows.log, added.rows.text, did accepted.id, did accepted.log
  did accepted.seq, did added.rows, did added.rows.at, did added.rows.id, did added.rows.k, did added.rows.log, did added.rows.text
  did dropped.hide, did dropped.r, did events.cur, did events.cur.log, did events.cur.mark, did events.cur.seq, did events.ev
  did events.ev.at, did events.ev.data, did events.ev.id, did events.ev.key, did events.ev.op, did events.ev.prev, did events.ev.seq
  did events.ev.type, did events.r, did load.r, did moved.cur, did moved.cur.log, did moved.cur.mark, did moved.cur.seq, did moved.r
  did refused.row, did refused.row.at, did refused.row.error, did refused.row.error.code, did refused.row.error.message
  did refused.row.id, did refused.row.text, did requeued.id, did settled.ids, did whole.r, did.changes, did.rev, effect error.code
  effect error.do, effect error.message, effect goodbye.after, effect goodbye.do, effect live.do, effect live.events
  effect live.stream, effect presence.do, effect presence.full, effect presence.gone, effect presence.set, effect presence.stream
  effect presence.sub, effect presence.type, effect reset.do, effect reset.reason, effect reset.stream, effect welcome.do, effect.e
  hi.wants, lead.epoch, lead.rev, line.head, line.lastError, line.lastError.code, line.lastError.message, line.phase, presence.data
  presence.stream, signal.data, signal.stream
`);

/** "push.mutations.id" for every member of it, but not of what apps put in. */
function names(value: unknown, path: string, into: Set<string>) {
  if (Array.isArray(value)) for (const one of value) names(one, path, into);
  else if (typeof value === "object" && value !== null) {
    for (const [name, member] of Object.entries(value)) {
      if (member === undefined) continue;
      into.add(path + "." + name);
      if (name !== "data" && name !== "changes" && name !== "e") names(member, path + "." + name, into);
    }
  }
}

/** Everything in a database. */
const dump = (name: string) =>
  new Promise<[store: string, row: unknown][]>((resolve) => {
    globalThis.indexedDB.open(name).onsuccess = (e) => {
      const db = (e.target as IDBOpenDBRequest).result;
      const all: [string, unknown][] = [];
      const tx = db.transaction([...db.objectStoreNames]);
      for (const store of db.objectStoreNames) tx.objectStore(store).getAll().onsuccess = (e) => all.push(...(e.target as IDBRequest<unknown[]>).result.map((row): [string, unknown] => [store, row]));
      tx.oncomplete = () => {
        db.close();
        resolve(all);
      };
    };
  });

test("what leaves the client has the names that others know", async () => {
  Object.defineProperty(globalThis, "navigator", { value: { locks: fakeLocks() }, configurable: true });
  const server = new TestServer();
  const frames = new Set<string>();
  const notes = new Set<string>();
  const rows = new Set<string>();
  const channel = new BroadcastChannel("tidemark/names");
  channel.onmessage = (e) => {
    const { t, ...note } = (e as MessageEvent).data.note;
    names(note, t, notes);
    if (t === "did") for (const { c, ...change } of note.changes) names(change, "did " + c, notes);
    if (t === "effect") names(note.e, "effect " + note.e.do, notes);
  };
  const webSocket = (url: string, protocol: string) => {
    const socket = server.webSocket(url, protocol);
    const send = socket.send.bind(socket);
    socket.send = (text) => {
      const { type, ...m } = JSON.parse(text);
      names(m, type, frames);
      send(text);
    };
    return socket;
  };
  const open = () => createClient({ url: server.url, webSocket, storage: indexedDB("names"), token: () => "t", app: "test" });

  const a = open();
  await until(() => a.status.leader && a.status.phase === "live");
  const b = open();
  await until(() => b.status.phase === "live");
  const room = b.stream("room");
  const said = room.view(0, (n) => n + 1);
  room.presence.set({ here: true });
  room.put("k", { n: 1 });
  room.patch("k", { n: 2 }, { expect: room.docs.get("k")!.version, type: "changed" });
  await room.append({ type: "said", data: "x" }).server;
  await until(() => said.get() === 3 && room.docs.get("k")?.seq === 2);
  await room.delete("k", { expect: 2 }).server;
  server.refuse = (m) => (m.key === "bad" ? { code: "rule_denied", message: "no" } : undefined);
  await room.put("bad", 1).server.catch(() => undefined);
  await a.stream("room").put("good", 1).server;
  room.signal("hello");
  server.reset("trimmed");
  await until(() => a.status.phase === "live" && room.docs.get("good")?.pending === false);
  server.stop();
  await room.put("later", 1).local;
  a.disconnect();
  await Promise.all([a.close(), b.close()]);
  for (const [store, row] of await dump("names")) names(row, store, rows);
  channel.close();

  expect([...frames].sort()).toEqual(FRAMES);
  expect([...rows].sort()).toEqual(ROWS);
  expect([...notes].filter((name) => !NOTES.includes(name))).toEqual([]); // which of them are told, timing decides
  for (const name of ["hi.wants", "lead.rev", "did.rev", "did events.ev.seq", "line.phase"]) expect([...notes]).toContain(name);
});
