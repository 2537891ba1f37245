import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, test } from "vitest";
import { createClient, memory } from "../client/src/index.ts";
import { TestServer } from "../client/src/testing/index.ts";
import type { Harness } from "./harness.ts";
import { out } from "./paths.ts";
import { pause, until, World, type Tab } from "./world.ts";

// The client's speed in Chromium against the real server, and in Node against the one in memory. It records, it never fails.

declare const t: Harness;

let w: World;
const rows: string[] = [];
beforeAll(async () => {
  w = await World.open();
  await w.serve("bench");
});
afterAll(async () => {
  await w.close();
  console.log(["| work | reach at least | measured |", "|---|---|---|", ...rows].join("\n"));
});
const row = (work: string, aim: string, measured: string) => rows.push(`| ${work} | ${aim} | ${measured} |`);
const card = { title: "A card of ordinary length", column: "doing", pos: 12.5, by: "somebody", tags: ["one", "two"] };

test("local write to visible view, 10,000 documents", async () => {
  const measure = async () => {
    const { createClient, memory, indexedDB } = t.tidemark;
    const tm = createClient({ url: "ws://127.0.0.1:1/", storage: true ? indexedDB("write") : memory() });
    const room = tm.stream("room");
    const card = { title: "A card of ordinary length", column: "doing", pos: 12.5, by: "somebody", tags: ["one", "two"] };
    const all = [];
    for (let i = 0; i < 10_000; i++) all.push(room.put("card/" + i, { ...card, i }).local);
    await Promise.all(all);
    room.docs.entries();
    const times = [];
    for (let i = 0; i < 1000; i++) {
      const start = performance.now();
      room.patch("card/" + ((i * 7919) % 10_000), { pos: i });
      room.docs.entries();
      times.push(performance.now() - start);
      if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve));
    }
    times.sort((a, b) => a - b);
    return [times[500]!, times[990]!];
  };
  const tab = await w.tab(await w.profile());
  const [p50, p99] = await tab.page.evaluate(measure);
  row("local write to visible view, 10,000 documents (Chromium)", "under 1 ms", `p50 ${p50!.toFixed(3)} ms, p99 ${p99!.toFixed(3)} ms`);
  await tab.page.close();
});

test("10,000 mutations queued offline, then sent and acknowledged", async () => {
  const tab = await w.tab(await w.profile(), { db: "queue" });
  await tab.live();
  await tab.page.evaluate(() => t.tm.disconnect());
  const { queued, sent, long } = await tab.page.evaluate(async (card) => {
    const room = t.tm.stream("room");
    t.long.length = 0;
    const start = performance.now();
    const all = [];
    for (let i = 0; i < 10_000; i++) {
      all.push(room.put("card/" + (i % 1000), { ...card, i }).local);
      if (i % 100 === 99) await new Promise((resolve) => setTimeout(resolve)); // an app that stays responsive itself
    }
    await Promise.all(all);
    const queued = performance.now() - start;
    const again = performance.now();
    t.tm.connect();
    await t.tm.flush();
    const sent = performance.now() - again;
    await new Promise((resolve) => setTimeout(resolve, 500));
    return { queued, sent, long: [...t.long] };
  }, card);
  row("10,000 mutations queued offline, then sent and acknowledged (Chromium, IndexedDB)", "under 3 s, no task over 50 ms", `${(sent / 1000).toFixed(2)} s (queueing ${(queued / 1000).toFixed(2)} s); tasks over 50 ms: ${long.length ? long.join(", ") + " ms" : "none"}`);
  await tab.page.close();
});

test("open with 50,000 confirmed documents in IndexedDB", async () => {
  const profile = await w.profile();
  const tab = await w.tab(profile, { db: "open" });
  await tab.live();
  await tab.page.evaluate(async (card) => {
    const store = t.tidemark.indexedDB("many");
    const log = "0192a0b1-0000-7000-8000-000000000010";
    // As a snapshot leaves them, with a thousand changed since.
    const all = Array.from({ length: 50_000 }, (_, i) => ({ key: "card/" + i, seq: i + 1, data: { ...card, i } }));
    await store.commit([{ t: "docs", s: "big", all }]);
    await store.commit(Array.from({ length: 1000 }, (_, i) => ({ t: "docs" as const, k: ["big", "card/" + i * 50] as const, row: { key: "card/" + i * 50, seq: 60_000 + i, data: { ...card, i } } })));
    await store.commit([{ t: "replicas", k: "docs:big", row: { r: "docs:big", cur: { seq: 61_000, log } } }]);
    store.close();
  }, card);
  const times: number[] = [];
  for (let i = 0; i < 3; i++) {
    times.push(await tab.page.evaluate(async () => {
      const start = performance.now();
      const tm = t.tidemark.createClient({ url: "ws://127.0.0.1:1/", storage: t.tidemark.indexedDB("many") });
      const { docs } = tm.stream("big");
      await new Promise<void>((resolve) => docs.subscribe(() => docs.loaded && resolve()));
      const n = docs.entries().length;
      const ms = performance.now() - start;
      await tm.close();
      if (n !== 50_000) throw new Error("documents are missing: " + n);
      return ms;
    }));
  }
  row("open with 50,000 confirmed documents in IndexedDB (Chromium)", "under 1 s to first read", `${times.map((ms) => Math.round(ms)).join(", ")} ms`);
  await tab.page.close();
});

test("replay of 100,000 missed events into a view", async () => {
  const lines = Array.from({ length: 100_000 }, (_, i) => JSON.stringify({ type: "said", data: { text: "a message of ordinary length " + i, n: i } })).join("\n");
  execFileSync(out + "tidemark", ["push", "--server", w.http, "missed"], { input: lines + "\n", stdio: ["pipe", "ignore", "inherit"] });
  const tab = await w.tab(await w.profile(), { db: "replay" });
  await tab.live();
  const { ms, long } = await tab.page.evaluate(async () => {
    t.long.length = 0;
    const start = performance.now();
    const view = t.tm.stream("missed").view({ count: 0, last: "" }, (s, e) => ({ count: s.count + 1, last: (e.data as { text: string }).text }));
    await new Promise<void>((resolve) => view.subscribe(() => view.get().count === 100_000 && resolve()));
    const ms = performance.now() - start;
    await new Promise((resolve) => setTimeout(resolve, 300));
    return { ms, long: [...t.long] };
  });
  row("replay of 100,000 missed events into a view (Chromium, IndexedDB)", "under 2 s", `${(ms / 1000).toFixed(2)} s; tasks over 50 ms: ${long.length ? `${long.length}, the longest ${Math.max(...long)} ms` : "none"}`);
  await tab.page.close();
});

test("the lead moves to another tab", async () => {
  const { context, crash } = await w.realProfile("lead");
  const cdp = (tab: Tab) => context.newCDPSession(tab.page);
  // Each makes ready, and gives what is done then.
  const ways: Record<string, (leader: Tab) => Promise<() => Promise<unknown>>> = {
    "is closed": async (tab) => () => tab.page.close(),
    crashes: async (tab) => async () => void tab.page.goto("chrome://crash").catch(() => undefined),
    "is frozen": async (tab) => {
      const session = await cdp(tab);
      return () => session.send("Page.setWebLifecycleState", { state: "frozen" });
    },
    "hangs, without having been told": async (tab) => {
      const session = await cdp(tab);
      await session.send("Debugger.enable");
      return () => session.send("Debugger.pause");
    },
  };
  for (const [way, end] of Object.entries(ways)) {
    const led: number[] = [];
    const live: number[] = [];
    for (let round = 0; round < 15; round++) {
      const leader = await w.tab(context, { db: way + round });
      await leader.leads();
      await leader.live();
      await leader.put("k", 1);
      const other = await w.tab(context, { db: way + round });
      await other.live();
      await other.calm();
      await pause(Math.random() * 300); // wherever in its asking it is
      const times = other.page.evaluate(async () => {
        const when = (what: (s: typeof t.tm.status) => boolean) => new Promise<number>((resolve) => t.tm.on("status", (s) => what(s) && resolve(Date.now())));
        return Promise.all([when((s) => s.leader), when((s) => s.leader && s.phase === "live")]);
      });
      await other.state(); // it listens
      const now = await end(leader);
      const start = Date.now();
      await now();
      const [at, again] = await times;
      led.push(at! - start);
      live.push(again! - start);
      await Promise.all([leader, other].map(({ page }) => page.close().catch(() => undefined)));
    }
    const figures = (all: number[]) => `median ${all.sort((x, y) => x - y)[Math.floor(all.length / 2)]} ms, worst ${all[all.length - 1]} ms`;
    row(`the lead moves when its tab ${way} (Chromium)`, "within 1 s", `${figures(led)}; connected again: ${figures(live)}`);
  }
  await crash();
});

test("the same in Node", async () => {
  const server = new TestServer({ page: 1000 });
  server.stop();
  const tm = createClient({ url: server.url, webSocket: server.webSocket, storage: memory() });
  const room = tm.stream("room");
  const start = performance.now();
  for (let i = 0; i < 10_000; i++) room.put("card/" + i, { ...card, i });
  room.docs.entries();
  const queued = performance.now();
  const times = [];
  for (let i = 0; i < 1000; i++) {
    const one = performance.now();
    room.patch("card/" + ((i * 7919) % 10_000), { pos: i });
    room.docs.entries();
    times.push(performance.now() - one);
  }
  times.sort((a, b) => a - b);
  row("local write to visible view, 10,000 documents (Node, memory)", "under 1 ms", `p50 ${times[500]!.toFixed(3)} ms, p99 ${times[990]!.toFixed(3)} ms; queueing 10,000 took ${Math.round(queued - start)} ms`);
  await tm.close();
  await until(() => true);
});
