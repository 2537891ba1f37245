import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createClient, indexedDB, NotSaved, type Client } from "@tidemark/client";
import { TestServer } from "@tidemark/client/testing";
import type { SharedHub } from "../src/shared.ts";
import { Outbox, entryOf } from "../src/outbox.ts";
import type { Storage } from "../src/storage.ts";
import { fakeLocks } from "./locks.ts";
import { gated } from "./gated.ts";
import { until } from "./util.ts";

// Each of these happened, or could: two things that usually come one after the other, here the other way round.

let server: TestServer;
let locks: ReturnType<typeof fakeLocks>;
const open = (storage: Storage = indexedDB("shared")) => createClient({ url: server.url, webSocket: server.webSocket, storage });
const hub = (tm: Client) => (tm as unknown as { hub: SharedHub }).hub;
const freeze = (tm: Client) => (hub(tm) as unknown as { sleep(): void }).sleep();
const thaw = (tm: Client) => (hub(tm) as unknown as { wake(): void }).wake();
const live = (tm: Client) => until(() => tm.status.phase === "live", () => tm.status);
const leads = (tm: Client) => until(() => tm.status.leader, () => tm.status);
const keys = (tm: Client, stream = "room") => tm.stream(stream).docs.entries().map((d) => d.key);
const outbox = async (storage: Storage) => (await storage.read([{ t: "outbox" }]))[0];

beforeEach(() => {
  globalThis.indexedDB = new IDBFactory();
  locks = fakeLocks();
  Object.defineProperty(globalThis, "navigator", { value: { locks }, configurable: true });
  server = new TestServer();
});
afterEach(() => void vi.useRealTimers());

test("what a tab saved, and ended before it could tell anybody, is sent by the one that leads", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  const a = open();
  await leads(a);
  await live(a);
  const b = open();
  freeze(b); // nobody hears it
  const m = b.stream("room").put("x", 1);
  await m.local;
  await b.close();
  expect(server.events("room")).toEqual([]);
  vi.advanceTimersByTime(10_000);
  await until(() => server.events("room").length === 1);
  await a.close();
});

test("a mutation that is settled, and not yet deleted on disk, is not taken for a new one", async () => {
  const storage = gated(indexedDB("shared"));
  const a = open(storage);
  await leads(a);
  await live(a);
  keys(a);
  const b = open();
  await live(b);
  storage.hold("append");
  a.stream("room").put("slow", 1);
  await until(() => storage.waiting("append") === 1);
  const x = b.stream("room").put("x", 1);
  await x.local;
  await until(() => server.events("room").length === 1);
  storage.hold("commit"); // what comes now is not deleted yet
  const y = b.stream("room").put("y", 1);
  await y.local;
  await until(() => server.events("room").length === 2 && hub(a).state.outbox.get(y.id) === undefined);
  await b.stream("room").put("z", 1).local; // a looks for what is new
  storage.release("append");
  await until(() => server.events("room").length === 4);
  storage.release("commit");
  await until(() => a.status.pending === 0 && b.status.pending === 0);
  const sent = server.pushes.flat().map((m) => m.id);
  expect(sent).toHaveLength(new Set(sent).size);
  await Promise.all([a.close(), b.close()]);
});

test("a mutation that is retried while the refused one is being deleted is saved", async () => {
  const inner = indexedDB("inner");
  const storage = gated(inner);
  const tm = open(storage);
  keys(tm);
  await live(tm);
  server.refuse = () => ({ code: "rule_denied" });
  storage.hold("commit");
  server.write({ stream: "room", key: "other", op: "put", data: 1 });
  await until(() => storage.waiting("commit") === 1); // the deletion has to wait behind this
  const bad = tm.stream("room").put("k", 1);
  await expect(bad.server).rejects.toThrow();
  server.stop();
  const again = tm.rejected[0]!.retry();
  await new Promise((resolve) => setTimeout(resolve, 5));
  storage.release("commit");
  await again.local;
  await (hub(tm) as unknown as { idle(): Promise<void> }).idle();
  expect((await outbox(inner)).map((row) => row.id)).toEqual([bad.id]);
  await tm.close();
});

test("a full device shows what is on it of a stream that is opened then", async () => {
  const inner = indexedDB("inner");
  for (const key of ["a", "b"]) server.write({ stream: "room", key, op: "put", data: 1 });
  const first = open(inner);
  await until(() => keys(first).length === 2);
  await first.close();
  const no = () => Promise.reject(new DOMException("no room", "QuotaExceededError"));
  const tm = open({ ...inner, append: no, commit: no });
  await live(tm);
  await expect(tm.stream("other").put("k", 1).local).rejects.toThrow(NotSaved);
  expect(tm.status.storage).toBe("lost");
  tm.stream("room").docs.entries();
  await until(() => tm.stream("room").docs.loaded && tm.status.phase === "live");
  expect(keys(tm)).toEqual(["a", "b"]);
  await tm.close();
});

test("a storage that cannot be read is made good by the server", async () => {
  for (const key of ["a", "b"]) server.write({ stream: "room", key, op: "put", data: 1 });
  const inner = indexedDB("inner");
  const no = () => Promise.reject(new DOMException("broken", "UnknownError"));
  const tm = open({ ...inner, lead: no, read: no as never, append: no, commit: no } as Storage);
  tm.stream("room").docs.entries();
  await until(() => keys(tm).length === 2, () => tm.status);
  expect(tm.status.storage).toBe("lost");
  await tm.close();
});

test("who leads after a tab that could not save is not mistaken for it", async () => {
  const storage = indexedDB("shared");
  let full = false;
  const { commit } = storage;
  const a = open({ ...storage, commit: (...args: Parameters<typeof commit>) => (full ? Promise.reject(new DOMException("no room", "QuotaExceededError")) : commit(...args)) });
  await leads(a);
  const [b, slow] = [open(), gated(indexedDB("shared"))];
  const c = open(slow);
  for (const tm of [a, b, c]) tm.stream("room").docs.entries();
  for (const tm of [a, b, c]) await live(tm);
  full = true;
  const seen = (tm: Client, n: number) => until(() => keys(tm).length === n, () => [keys(tm), tm.status]);
  for (const key of ["k1", "k2", "k3"]) {
    server.write({ stream: "room", key, op: "put", data: 1 });
    for (const tm of [a, b, c]) await seen(tm, Number(key[1]));
  }
  slow.hold("read"); // c learns late of the new lead
  await a.close();
  await leads(b);
  await live(b);
  const rev = (tm: Client) => (hub(tm) as unknown as { rev: number }).rev;
  for (let n = 4; n === 4 || rev(b) < rev(c); n++) {
    server.write({ stream: "room", key: "k" + n, op: "put", data: 1 });
    await seen(b, n);
  }
  slow.release("read");
  await until(() => keys(c).join() === keys(b).join(), () => [keys(b), keys(c)]);
  await Promise.all([b.close(), c.close()]);
});

test("the last word of the old lead does not make the new one read anew what its line is changing", async () => {
  for (const data of [1, 2]) server.write({ stream: "room", type: "said", data });
  const a = open();
  await leads(a);
  const storage = gated(indexedDB("shared"));
  const b = open(storage);
  const said = b.stream("room").view<unknown[]>([], (all, e) => [...all, e.data]);
  await live(b);
  await until(() => said.get().length === 2);
  const cur = () => hub(b).state.replicas.get("events:room")!.cur?.seq;
  storage.hold("lead");
  await a.close();
  await until(() => storage.waiting("lead") === 1);
  hub(b).note((hub(b) as unknown as { leader: string }).leader, { t: "lead", rev: 1, epoch: 1 }); // on its way since before a closed
  const done = hub(b).loaded("events:room").then(() => true);
  let over = false;
  void done.then(() => (over = true));
  storage.hold("read", "late");
  storage.release("lead");
  await until(() => storage.waiting("read") === 1);
  storage.release("read"); // what taking over reads
  storage.hold("read", "late");
  await leads(b);
  await live(b);
  server.write({ stream: "room", type: "said", data: 3 });
  await until(() => cur() === 3);
  await until(() => storage.waiting("read") === 1 || over);
  storage.release("read"); // if it reads, it finds that more happened
  storage.hold("read", "late");
  await until(() => storage.waiting("read") === 1 || over);
  server.cut("events");
  server.reset("trimmed"); // the events are dropped; the line breaks before they come again
  server.stop();
  await until(() => cur() === 0);
  storage.release("read");
  await done;
  server.start();
  await live(b);
  server.write({ stream: "room", type: "said", data: 4 });
  await until(() => said.get().length === 4, () => said.get());
  expect(said.get()).toEqual([1, 2, 3, 4]);
  await b.close();
});

test("a page that is frozen and wakes while it opens takes the lead once", async () => {
  const storage = gated(indexedDB("shared"));
  storage.hold("read");
  const tm = open(storage);
  const said = tm.stream("room").view<unknown[]>([], (all, e) => [...all, e.data]);
  await until(() => storage.waiting("read") === 1);
  freeze(tm);
  thaw(tm);
  for (const data of [1, 2]) server.write({ stream: "room", type: "said", data });
  let leads = 0;
  const { lead } = storage;
  storage.lead = (was) => {
    leads++;
    server.write({ stream: "room", type: "said", data: "at lead " + leads }); // comes on the line of the first, if there is a second
    return lead(was);
  };
  storage.release("read");
  await live(tm);
  await until(() => said.get().length === server.events("room").length, () => said.get());
  await hub(tm).loaded("events:room"); // whatever else was begun
  expect(leads).toBe(1);
  const [frames] = await storage.read([{ t: "events", s: "room" }]);
  expect(frames.flatMap((f) => f.ev.map((e) => e.data))).toEqual([1, 2, "at lead 1"]);
  await tm.close();
});

test("a view that is opened between an event and the word of it shows it once", async () => {
  const a = open();
  await leads(a);
  a.stream("room").view(0, (n) => n + 1);
  const b = open();
  await live(b);
  const { tabs } = hub(b) as unknown as { tabs: { hear(...note: unknown[]): void } };
  const { hear } = tabs;
  const late: unknown[][] = [];
  tabs.hear = (...note) => late.push(note); // what a did is on disk, and on its way
  const m = b.stream("room").append({ type: "said" });
  await m.local;
  await until(() => a.status.pending === 0 && hub(a).state.replicas.get("events:room")?.cur?.seq === 1);
  await until(() => late.some(([, note]) => (note as { changes?: { c: string }[] }).changes?.some(({ c }) => c === "events")));
  const view = b.stream("room").view<string[]>([], (all, e) => [...all, e.id]);
  const seen = new Set<number>();
  view.subscribe(() => seen.add(view.get().length));
  await until(() => hub(b).state.replicas.get("events:room")?.cur?.seq === 1);
  await hub(b).loaded("events:room");
  await new Promise((resolve) => setTimeout(resolve, 20)); // longer than it takes to read
  tabs.hear = hear;
  for (const note of late) tabs.hear(...note);
  await m.server;
  await until(() => [...hub(b).state.outbox.entries()].length === 0);
  expect([view.get(), [...seen]]).toEqual([[m.id], [1]]);
  await Promise.all([a.close(), b.close()]);
});

test("the presence of a tab ends with it, though the lead went and came back meanwhile", async () => {
  const a = open();
  await leads(a);
  const b = open();
  await live(b);
  const other = open(indexedDB("other"));
  const others = () => other.stream("room").presence.others.map((m) => m.data);
  b.stream("room").presence.set("b");
  await until(() => others().join() === "b", others);
  freeze(a);
  await leads(b);
  await until(() => others().join() === "b", others);
  thaw(a);
  await live(a);
  await b.close();
  await leads(a);
  await live(a);
  a.stream("room").presence.subscribe(() => undefined);
  a.stream("room").signal("here"); // it is on the stream now
  let heard = 0;
  other.stream("room").onSignal(() => heard++);
  await until(() => (a.stream("room").signal("here"), heard > 0));
  expect(others()).toEqual([]);
  await Promise.all([a.close(), other.close()]);
});

test("raw events go on after the page slept", async () => {
  const a = open();
  await leads(a);
  await live(a);
  const seen: unknown[] = [];
  let error: unknown;
  void (async () => {
    for await (const e of a.stream("room").events()) seen.push(e.data);
  })().catch((e) => (error = e));
  server.write({ stream: "room", type: "said", data: 1 });
  await until(() => seen.length === 1);
  const b = open();
  b.stream("room").view(0, (n) => n + 1);
  await live(b);
  freeze(a);
  await leads(b);
  await live(b);
  for (const data of [2, 3]) server.write({ stream: "room", type: "said", data });
  await until(() => hub(b).state.replicas.get("events:room")?.cur?.seq === 3);
  thaw(a);
  await until(() => seen.length === 3 || error !== undefined, () => seen);
  server.write({ stream: "room", type: "said", data: 4 });
  await until(() => seen.length === 4 || error !== undefined, () => seen);
  expect([seen, error]).toEqual([[1, 2, 3, 4], undefined]);
  await Promise.all([a.close(), b.close()]);
});

test("a mutation that is settled before its tab hears that it is on disk leaves nothing behind", () => {
  const box = new Outbox();
  const e = entryOf({ text: '{"id":"a","stream":"room","type":"said"}', at: 1 });
  box.add(e);
  box.remove("a");
  box.place(e, 1);
  box.add(entryOf({ text: '{"id":"b","stream":"room","type":"said"}', at: 1, k: 2 }));
  expect((box as unknown as { disorder: boolean }).disorder).toBe(false); // else every write sorts all of them
});

test("a tab that sleeps without being told loses the lead, and follows when it wakes up", async () => {
  const a = open();
  await leads(a);
  keys(a);
  await live(a);
  const b = open();
  keys(b);
  await live(b);
  const deaf = hub(a) as unknown as { tabs: { hear(): void }; robbed(): void };
  const { hear } = deaf.tabs;
  deaf.tabs.hear = () => undefined; // it does nothing any more, the loss of its lock it does not hear either
  const { robbed } = hub(a);
  let told = 0;
  deaf.robbed = () => told++;
  await leads(b);
  await live(b);
  expect(locks.stolen).toEqual(["tidemark/shared"]);
  expect([told, a.status.leader]).toEqual([1, true]);
  const c = open();
  keys(c);
  deaf.tabs.hear = hear; // it wakes up, and still believes that it leads
  deaf.robbed = robbed;
  (hub(a) as unknown as { tellLead(): void }).tellLead();
  await live(c);
  await b.stream("room").put("x", 1).server;
  await until(() => keys(c).length === 1, () => c.status);
  await c.stream("room").put("y", 1).server;
  hub(a).robbed(); // now its lock tells
  await until(() => keys(a).length === 2 && !a.status.leader);
  await a.stream("room").put("z", 1).server;
  for (const tm of [a, b, c]) await until(() => keys(tm).length === 3);
  expect([a, b, c].map((tm) => tm.status.leader)).toEqual([false, true, false]);
  const ids = server.events("room").map((e) => e.id);
  expect(ids).toHaveLength(3);
  await Promise.all([a, b, c].map((tm) => tm.close()));
});

test("a tab that leads and answers keeps the lead", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  const a = open();
  await leads(a);
  const b = open();
  await live(b);
  const unanswered = () => (hub(b) as unknown as { tabs: { unanswered: number } }).tabs.unanswered;
  for (let i = 0; i < 10; i++) {
    vi.advanceTimersByTime(200);
    await until(() => unanswered() === 0);
  }
  expect([a.status.leader, locks.stolen]).toEqual([true, []]);
  await Promise.all([a.close(), b.close()]);
});
