import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { beforeEach, expect, test, vi } from "vitest";
import { createClient, indexedDB, MutationRejected, type Client } from "@tidemark/client";
import { TestServer } from "@tidemark/client/testing";
import { database } from "../src/indexeddb.ts";
import type { SharedHub } from "../src/shared.ts";
import { fakeLocks } from "./locks.ts";
import { until } from "./util.ts";

// Several clients in one process are the tabs: one database, Web Locks of a fake, Node's BroadcastChannel.

let server: TestServer;
const tab = () => createClient({ url: server.url, webSocket: server.webSocket, storage: indexedDB("shared") });
const hub = (tm: Client) => (tm as unknown as { hub: SharedHub }).hub;
/** What the browser does to a page that it freezes. */
const freeze = (tm: Client) => (hub(tm) as unknown as { sleep(): void }).sleep();
const thaw = (tm: Client) => (hub(tm) as unknown as { wake(): void }).wake();

beforeEach(() => {
  globalThis.indexedDB = new IDBFactory();
  Object.defineProperty(globalThis, "navigator", { value: { locks: fakeLocks() }, configurable: true });
  server = new TestServer();
});

const live = (tm: Client) => until(() => tm.status.phase === "live", () => tm.status);
const keys = (tm: Client) => tm.stream("room").docs.entries().map((d) => d.key);

test("one tab leads, the others write and see through it", async () => {
  const a = tab();
  await until(() => a.status.leader);
  const b = tab();
  b.stream("room").docs.entries();
  await live(a);
  await live(b);
  expect([a.status.leader, b.status.leader, server.connections]).toEqual([true, false, 1]);
  const m = b.stream("room").put("x", 1);
  await m.local;
  expect((await m.server).seq).toBe(1);
  await until(() => b.stream("room").docs.get("x")?.seq === 1);
  await until(() => keys(a).length === 1);
  server.write({ stream: "room", key: "y", op: "put", data: 2 });
  await until(() => keys(a).length === 2 && keys(b).length === 2);
  expect(server.pushes.flat()).toHaveLength(1);
  await b.close();
  await a.close();
});

test("the lead moves when its tab closes, and nothing is sent twice", async () => {
  const a = tab();
  await until(() => a.status.leader);
  const b = tab();
  const said = b.stream("room").view<number[]>([], (s, e) => [...s, e.data as number]);
  await live(b);
  for (let i = 0; i < 20; i++) (i % 2 ? a : b).stream("room").append({ type: "said", data: i });
  await until(() => b.status.pending === 0, () => b.status);
  await a.close();
  await until(() => b.status.leader);
  b.stream("room").append({ type: "said", data: 20 });
  await until(() => said.get().length === 21 && b.status.pending === 0);
  await live(b);
  const ids = server.pushes.flat().map((m) => m.id);
  expect(new Set(ids).size).toBe(ids.length);
  expect([...said.get()].sort((x, y) => x - y)).toEqual(Array.from({ length: 21 }, (_, i) => i));
  await b.close();
});

test("a tab writes offline without the lead; its refusal reaches it", async () => {
  server.stop();
  const a = tab();
  await until(() => a.status.leader);
  const b = tab();
  await until(() => hub(b).session !== undefined && b.status.storage === "best-effort");
  const good = b.stream("room").put("good", 1);
  const bad = b.stream("room").put("bad", 1);
  await Promise.all([good.local, bad.local]);
  await until(() => a.status.pending === 2);
  server.refuse = (m) => (m.key === "bad" ? { code: "rule_denied" } : undefined);
  server.start();
  await expect(bad.server).rejects.toThrow(MutationRejected);
  await good.server;
  expect(b.rejected.map((r) => r.id)).toEqual([bad.id]);
  await b.rejected[0]!.dismiss();
  await until(() => a.rejected.length === 0);
  await Promise.all([a.close(), b.close()]);
});

test("the lead moves when its page is frozen; the frozen one follows when it wakes up", async () => {
  const a = tab();
  await until(() => a.status.leader);
  const b = tab();
  for (const tm of [a, b]) tm.stream("room").docs.entries();
  await live(a);
  await live(b);
  freeze(a);
  await until(() => b.status.leader);
  await live(b);
  server.write({ stream: "room", key: "x", op: "put", data: 1 });
  await b.stream("room").put("y", 2).server;
  await until(() => keys(b).length === 2);
  expect(keys(a)).toEqual([]);
  thaw(a);
  await until(() => keys(a).length === 2);
  expect(a.status.leader).toBe(false);
  await a.stream("room").put("z", 3).server;
  await until(() => keys(b).length === 3);
  await Promise.all([a.close(), b.close()]);
});

test.each([0, 1])("a page that sleeps and wakes up while its client opens asks for the lead once: %d", async (begun) => {
  const asked = vi.spyOn(navigator.locks, "request");
  const a = tab();
  if (begun) await Promise.resolve(); // it reads already
  freeze(a);
  thaw(a);
  await live(a);
  await hub(a).loaded("events:room"); // after whatever else was begun
  expect(asked.mock.calls.filter(([name]) => name === "tidemark/shared")).toHaveLength(1);
  await a.close();
});

test("a leader that slept through the loss of its lead changes nothing", async () => {
  const a = tab();
  await until(() => a.status.leader);
  const room = a.stream("room");
  await room.put("x", 1).server;
  expect(keys(a)).toEqual([]);
  await until(() => keys(a).length === 1);
  await live(a);
  const thief = database("shared");
  await thief.lead(); // as a leader in another tab would
  server.write({ stream: "room", key: "y", op: "put", data: 2 });
  let epoch = 0;
  const look = () => void thief.read([{ t: "meta" }]).then(([[meta]]) => (epoch = meta!.epoch));
  await until(() => (look(), epoch >= 3)); // it found itself fenced off, and led anew
  await until(() => a.status.leader && keys(a).length === 2 && a.status.phase === "live");
  await a.close();
});

test("signals and presence pass through the tab that leads", async () => {
  const a = tab();
  await until(() => a.status.leader);
  const b = tab();
  const other = createClient({ url: server.url, webSocket: server.webSocket, storage: indexedDB("other") });
  const heard: unknown[] = [];
  other.stream("room").onSignal((s) => heard.push(s.data));
  b.stream("room").presence.set({ name: "B" });
  await until(() => other.stream("room").presence.others.length === 1, () => [heard, other.status, other.stream("room").presence.others, b.status, a.status], 1000);
  b.stream("room").signal("hello");
  await until(() => heard.length === 1, () => [heard, other.status, other.stream("room").presence.others, b.status, a.status], 1000);
  other.stream("room").presence.set({ name: "other" });
  await until(() => b.stream("room").presence.others.length === 1, () => [heard, other.status, other.stream("room").presence.others, b.status, a.status], 1000);
  await b.close();
  await until(() => other.stream("room").presence.others.length === 0, () => other.stream("room").presence.others);
  await Promise.all([a.close(), other.close()]);
});

test("a cleared database gets back what only the tabs know", async () => {
  server.stop();
  const a = tab();
  await until(() => a.status.leader);
  const b = tab();
  await until(() => b.status.storage === "best-effort");
  await a.stream("room").put("x", 1).local;
  await b.stream("room").put("y", 2).local;
  await new Promise((resolve) => (globalThis.indexedDB.deleteDatabase("shared").onsuccess = resolve));
  const look = database("shared");
  const outbox = async () => (await look.read([{ t: "outbox" }]))[0].length;
  let n = 0;
  await until(() => (void outbox().then((k) => (n = k)), n === 2));
  server.start();
  await until(() => Object.keys(server.docs("room")).length === 2);
  await until(() => keys(a).length === 2 && keys(b).length === 2 && a.status.pending === 0 && b.status.pending === 0);
  expect(server.events("room")).toHaveLength(2);
  await Promise.all([a.close(), b.close()]);
});

test("one tab is taken offline: the others go on, it writes for itself, and returns to all of it", async () => {
  const a = tab();
  await until(() => a.status.leader);
  const b = tab();
  for (const tm of [a, b]) tm.stream("room").docs.entries();
  await live(a);
  await live(b);
  a.disconnect(); // it led
  expect(a.status).toMatchObject({ phase: "offline", leader: false });
  await until(() => b.status.leader && b.status.phase === "live");
  server.write({ stream: "room", key: "x", op: "put", data: 1 });
  await until(() => keys(b).length === 1);
  const m = a.stream("room").put("y", 2);
  await m.local;
  await b.stream("room").put("z", 3).server;
  await until(() => keys(b).length === 2 || keys(b).length === 3); // b may find what a saved, and need not
  expect([keys(a), a.status.pending, a.status.phase]).toEqual([["y"], 1, "offline"]);
  thaw(a); // the page comes back from somewhere: it stays offline
  expect((hub(a) as unknown as { asleep: boolean }).asleep).toBe(true);
  a.connect();
  await m.server;
  for (const tm of [a, b]) await until(() => keys(tm).length === 3 && tm.status.phase === "live" && tm.status.pending === 0, () => tm.status);
  expect([a.status.leader, b.status.leader, server.connections]).toEqual([false, true, 1]);
  b.disconnect(); // and the other way round
  await until(() => a.status.leader);
  await live(a);
  await b.stream("room").put("w", 4).local;
  await b.close(); // without coming back
  await until(() => a.status.leader);
  const c = tab();
  c.stream("room").docs.entries();
  for (const tm of [a, c]) await until(() => keys(tm).length === 4 && tm.status.pending === 0);
  const ids = server.events("room").map((e) => e.id);
  expect(ids).toHaveLength(4);
  await Promise.all([a.close(), c.close()]);
});

test("a connection that the server closed for good begins anew when any tab asks for it", async () => {
  const a = tab();
  await until(() => a.status.leader);
  const b = tab();
  await live(b);
  const loop = (hub(a) as unknown as { loop: { lost(code: number, reason: string): void } }).loop;
  loop.lost(4403, "forbidden");
  await until(() => b.status.phase === "offline");
  b.connect();
  await live(b);
  await Promise.all([a.close(), b.close()]);
});

test("nothing flickers between the acknowledgement and the event, in whichever tab", async () => {
  const a = tab();
  await until(() => a.status.leader);
  const b = tab();
  const seen = new Map<Client, string[]>();
  for (const tm of [a, b]) {
    const room = tm.stream("room");
    const said = room.view<string[]>([], (all, e) => [...all, e.id]);
    const shots: string[] = [];
    seen.set(tm, shots);
    const shoot = () => shots.push(`${room.docs.get("k")?.data ?? "nothing"} ${said.get().length}`);
    room.docs.subscribe(shoot);
    said.subscribe(shoot);
  }
  for (const tm of [a, b]) await live(tm);
  await until(() => [a, b].every((tm) => tm.stream("room").docs.loaded));
  for (const shots of seen.values()) shots.length = 0;
  server.hold(true); // no events, only acknowledgements
  const m = b.stream("room").put("k", "new");
  await m.server;
  for (const tm of [a, b]) await until(() => tm.status.pending === 0 && tm.stream("room").docs.get("k")?.pending === false);
  server.hold(false);
  for (const tm of [a, b]) await until(() => tm.stream("room").docs.get("k")?.seq === 1 && [...hub(tm).state.outbox.entries()].length === 0);
  for (const shots of seen.values()) {
    const from = shots.indexOf("new 1"); // documents and views are told one after the other
    expect(from).toBeGreaterThanOrEqual(0);
    expect(new Set(shots.slice(from))).toEqual(new Set(["new 1"]));
  }
  await Promise.all([a.close(), b.close()]);
});

test("the browser is asked once to keep what is stored, and the status tells what it said", async () => {
  let asked = 0;
  const persist = async () => ++asked > 0;
  Object.defineProperty(globalThis, "navigator", { value: { locks: fakeLocks(), storage: { persist } }, configurable: true });
  const a = tab();
  await until(() => a.status.leader);
  expect([asked, a.status.storage]).toEqual([0, "best-effort"]); // only when there is something to keep
  await a.stream("room").put("x", 1).local;
  await a.stream("room").put("y", 1).local;
  await until(() => a.status.storage === "persistent");
  expect(asked).toBe(1);
  await a.close();
});
