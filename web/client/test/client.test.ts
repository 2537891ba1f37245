import { afterEach, expect, test, vi } from "vitest";
import "fake-indexeddb/auto";
import { createClient, HistoryLost, indexedDB, memory, NotSaved, type Client, type Storage } from "@tidemark/client";
import { TestServer } from "@tidemark/client/testing";
import { until } from "./util.ts";

const clients: Client[] = [];
const open = (server: TestServer, storage: Storage = memory()) => {
  const tm = createClient({ url: server.url, webSocket: server.webSocket, storage });
  clients.push(tm);
  return tm;
};
afterEach(async () => {
  await Promise.all(clients.splice(0).map((tm) => tm.close()));
});
const live = (tm: Client) => until(() => tm.status.phase === "live", () => tm.status);

test("importing does nothing, and an app may stay without a server", async () => {
  vi.stubGlobal("WebSocket", undefined);
  const module = await import("../src/index.ts");
  expect(Object.keys(module)).toContain("createClient");
  vi.unstubAllGlobals();
});

test("a subscriber hears once of everything that one task changed", async () => {
  const tm = open(new TestServer());
  const room = tm.stream<number>("room");
  let calls = 0;
  room.docs.subscribe(() => calls++);
  await live(tm);
  calls = 0;
  for (let i = 0; i < 100; i++) room.put("k" + i, i);
  expect(room.docs.entries()).toHaveLength(100);
  await Promise.resolve();
  expect(calls).toBe(1);
  const before = room.docs.entries();
  expect(room.docs.entries()).toBe(before);
  room.patch("other", { a: 1 } as never);
  expect(room.docs.entries()).not.toBe(before);
  expect(room.docs.entries()[5]).toBe(before[5]);
});

test("what is written is a copy: changing the object afterwards changes nothing", async () => {
  const tm = open(new TestServer());
  const data = { list: [1] };
  tm.stream<typeof data>("room").put("k", data);
  data.list.push(2);
  expect(tm.stream("room").docs.get("k")!.data).toEqual({ list: [1] });
});

test("mistakes are thrown at the call", async () => {
  const tm = open(new TestServer());
  for (const name of ["", "a//b", "/a", "a/", "..", "a/./b", "a*", "a\nb", "\ud800", "x".repeat(256)]) expect(() => tm.stream(name), JSON.stringify(name)).toThrow();
  const room = tm.stream("room");
  expect(() => room.put("", 1)).toThrow(TypeError);
  expect(() => room.put("k", null)).toThrow(TypeError);
  expect(() => room.patch("k", [1] as never)).toThrow(TypeError);
  expect(() => room.append({})).toThrow(TypeError);
});

test("an offline client builds on its own unsent writes", async () => {
  const server = new TestServer();
  server.stop();
  const tm = open(server);
  const room = tm.stream<{ n: number }>("room");
  room.put("k", { n: 1 }, { expect: 0 });
  for (let n = 2; n < 5; n++) room.patch("k", { n }, { expect: room.docs.get("k")!.version });
  server.start();
  expect(await tm.flush()).toBe(true);
  expect(tm.rejected).toEqual([]);
  expect(server.docs("room")).toEqual({ k: { n: 4 } });
});

test("a conflict tells the document as it is; retrying on top of it works", async () => {
  const server = new TestServer();
  server.write({ stream: "room", key: "k", op: "put", data: "theirs" });
  const tm = open(server);
  const m = tm.stream("room").put("k", "mine", { expect: 0 });
  await expect(m.server).rejects.toMatchObject({ code: "conflict", seq: 1, current: "theirs", id: m.id });
  const [refused] = tm.rejected;
  await refused!.retry({ expect: refused!.error.seq }).server;
  expect(server.docs("room")).toEqual({ k: "mine" });
  expect(tm.rejected).toEqual([]);
});

test("refused mutations outlast a restart", async () => {
  const server = new TestServer();
  const storage = memory();
  server.refuse = () => ({ code: "rule_denied" });
  const first = open(server, storage);
  await expect(first.stream("room").put("k", 1).server).rejects.toThrow();
  await first.close();
  const again = open(server, storage);
  await until(() => again.rejected.length === 1);
  await again.rejected[0]!.dismiss();
  expect((await storage.read([{ t: "rejected" }]))[0]).toEqual([]);
});

test("an acknowledgement that was lost doubles nothing", async () => {
  const server = new TestServer();
  const tm = open(server);
  await live(tm);
  server.dropAck();
  expect((await tm.stream("room").append({ type: "said", data: 1 }).server).seq).toBe(1);
  expect(server.events("room")).toHaveLength(1);
});

test("a frame that is lost without a trace is noticed with the next event", async () => {
  const server = new TestServer();
  const tm = open(server);
  const view = tm.stream("room").view<number[]>([], (s, e) => [...s, e.data as number]);
  await live(tm);
  server.lose = 1;
  server.write({ stream: "room", type: "said", data: 1 });
  server.write({ stream: "room", type: "said", data: 2 });
  await until(() => view.get().length === 2);
  expect(view.get()).toEqual([1, 2]);
});

test("raw events: from where one was, on into what comes, and an error instead of a gap", async () => {
  const server = new TestServer();
  for (let i = 1; i <= 4; i++) server.write({ stream: "room", type: "said", data: i });
  const tm = open(server);
  const seen: unknown[] = [];
  let error: unknown;
  const reading = (async () => {
    for await (const e of tm.stream("room").events({ since: 2 })) seen.push(e.data);
  })().catch((e) => (error = e));
  await until(() => seen.length === 2);
  server.write({ stream: "room", type: "said", data: 5 });
  await until(() => seen.length === 3);
  expect(seen).toEqual([3, 4, 5]);
  server.reset("trimmed");
  await reading;
  expect(error).toBeInstanceOf(HistoryLost);
  server.log.trim(3);
  const late = tm.stream("other/room").events({ since: 0 });
  server.write({ stream: "other/room", type: "said", data: "x" });
  expect((await late.next()).value).toMatchObject({ data: "x" });
  await late.return();
});

test("after a reset the old state is shown until the new one is there; after an erasure it is not", async () => {
  const server = new TestServer({ page: 1 });
  for (const key of ["a", "b"]) server.write({ stream: "room", key, op: "put", data: 1 });
  const tm = open(server);
  const { docs } = tm.stream("room");
  for (const [reason, shown] of [["trimmed", 2], ["erased", 0]] as const) {
    await until(() => docs.entries().length === 2 && tm.status.phase === "live");
    server.cut("snapshot"); // the line breaks before the new state is complete
    server.reset(reason);
    await until(() => tm.status.phase === "offline");
    expect(docs.entries(), reason).toHaveLength(shown);
  }
  await until(() => docs.entries().length === 2);
});

test("pending mutations can be carried to another device, each once", async () => {
  const server = new TestServer();
  server.stop();
  const tm = open(server);
  await Promise.all([tm.stream("room").put("a", 1).local, tm.stream("room").put("b", 2).local]);
  const carried = JSON.parse(JSON.stringify(tm.exportPending()));
  expect(carried.mutations).toHaveLength(2);
  const other = open(server);
  await other.importPending(carried);
  await other.importPending(carried);
  expect(other.status.pending).toBe(2);
  server.start();
  expect([await tm.flush(), await other.flush()]).toEqual([true, true]);
  expect(server.events("room")).toHaveLength(2);
});

test("flush gives up after its timeout", async () => {
  const server = new TestServer();
  server.stop();
  const tm = open(server);
  tm.stream("room").put("a", 1);
  expect(await tm.flush({ timeout: 20 })).toBe(false);
});

test("presence: who is here, and nobody while there is no line", async () => {
  const server = new TestServer();
  const [a, b] = [open(server), open(server)];
  a.stream("room").presence.set({ name: "A" });
  b.stream("room").presence.set({ name: "B" });
  const others = (tm: Client) => tm.stream("room").presence.others.map((m) => (m.data as { name: string }).name);
  await until(() => others(a).join() === "B" && others(b).join() === "A");
  server.stop();
  await until(() => others(a).length === 0);
  server.start();
  await until(() => others(a).join() === "B" && others(b).join() === "A", () => [others(a), others(b)]);
  b.stream("room").presence.set(null);
  await until(() => others(a).length === 0);
});

/** A storage on a device that is full for a while. */
function full(inner: Storage): Storage & { full: boolean } {
  const no = () => Promise.reject(new DOMException("no room", "QuotaExceededError"));
  const s = {
    ...inner,
    full: false,
    append: (rows: Parameters<Storage["append"]>[0]) => (s.full ? no() : inner.append(rows)),
    commit: (...a: Parameters<Storage["commit"]>) => (s.full ? no() : inner.commit(...a)),
  };
  return s;
}

test("a full device is said, work goes on, and it is saved when there is room again", async () => {
  const server = new TestServer();
  const inner = indexedDB("full");
  const storage = full(inner);
  const tm = open(server, storage);
  const room = tm.stream("room");
  room.docs.entries();
  await live(tm);
  storage.full = true;
  server.refuse = () => ({ code: "overloaded", later: true });
  const m = room.put("k", 1);
  await expect(m.local).rejects.toThrow(NotSaved);
  expect(tm.status).toMatchObject({ storage: "lost", lastError: { code: "QuotaExceededError" }, pending: 1 });
  server.write({ stream: "room", key: "other", op: "put", data: 2 });
  await until(() => room.docs.entries().length === 2);
  storage.full = false;
  await until(() => tm.status.storage === "best-effort");
  expect((await inner.read([{ t: "outbox" }]))[0]).toHaveLength(1);
  server.refuse = undefined;
  await m.server;
  await until(() => room.docs.get("k")?.pending === false && tm.status.phase === "live");
  await until(() => room.docs.entries().length === 2);
  await tm.close();
  const again = open(server, indexedDB("full"));
  await until(() => again.stream("room").docs.entries().length === 2);
});
