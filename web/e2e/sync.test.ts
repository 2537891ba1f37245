import { expect, test } from "vitest";
import type { Harness } from "./harness.ts";
import { pause, rng, until, World, type Tab } from "./world.ts";

// Real Chromium against the real server. Each test ends with the same state everywhere, nothing lost, nothing doubled.

declare const t: Harness;

const w = await World.forTests();

/** Writes something random now and then, as a person would; gives the ids. */
async function work(tab: Tab, name: string, random: () => number, times: number): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < times; i++) {
    const key = "card/" + Math.floor(random() * 5);
    const p = random();
    if (p < 0.4) ids.push(await tab.put(key, { [name]: i }));
    else if (p < 0.7) ids.push(await tab.patch(key, { [name]: i, last: name }));
    else ids.push(await tab.page.evaluate((d) => t.append(d), `${name} ${i}`));
    if (random() < 0.3) await pause(random() * 30);
  }
  return ids;
}

test("three people edit together", async () => {
  const random = rng(1);
  const tabs = await Promise.all([0, 1, 2].map(async () => w.tab(await w.profile())));
  const ids = (await Promise.all(tabs.map((tab, i) => work(tab, "p" + i, random, 60)))).flat();
  const truth = await w.agree(tabs, ids);
  expect(truth.said).toHaveLength(180);
});

test("two are offline for a while, then back", async () => {
  const random = rng(2);
  const both = [await w.profile(), await w.profile()];
  const tabs = await Promise.all(both.map((p) => w.tab(p)));
  const ids = (await Promise.all(tabs.map((tab, i) => work(tab, "before" + i, random, 10)))).flat();
  for (const tab of tabs) await tab.calm();
  for (const p of both) await p.setOffline(true);
  for (const tab of tabs) await tab.page.evaluate(() => t.tm.disconnect());
  ids.push(...(await Promise.all(tabs.map((tab, i) => work(tab, "away" + i, random, 40)))).flat());
  expect((await tabs[0]!.state()).status).toMatchObject({ phase: "offline", pending: 40 });
  expect((await tabs[0]!.state()).pendingDocs).toBeGreaterThan(0);
  for (const p of both) await p.setOffline(false);
  for (const tab of tabs) await tab.page.evaluate(() => t.tm.connect());
  await w.agree(tabs, ids);
});

test("the server is killed in the middle of typing, several times", async () => {
  const random = rng(3);
  const tabs = await Promise.all([0, 1].map(async () => w.tab(await w.profile())));
  let done = false;
  const typing = Promise.all(tabs.map((tab, i) => work(tab, "p" + i, random, 250))).finally(() => (done = true));
  let kills = 0;
  while (!done) {
    await pause(200 + random() * 400);
    await w.kill();
    kills++;
    await pause(random() * 200);
    await w.serve();
  }
  expect(kills).toBeGreaterThan(1);
  await w.agree(tabs, (await typing).flat());
});

test("the tab is closed within 50 ms of a write, and opened again", async () => {
  const random = rng(4);
  const p = await w.profile();
  const saved = new Set<string>();
  const written: string[] = [];
  for (let i = 0; i < 12; i++) {
    const tab = await w.tab(p);
    if (random() < 0.5) await tab.live();
    written.push(await tab.put("k" + (i % 3), { i }));
    await pause(random() * 50);
    await tab.page.close();
    for (const id of tab.saved) saved.add(id);
  }
  const tab = await w.tab(p);
  const { said } = await w.agree([tab]);
  expect(saved.size).toBeGreaterThan(5);
  for (const id of saved) expect(said, "a saved mutation is lost").toContain(id);
  for (const id of said) expect(written).toContain(id);
});

test("the browser is killed in the middle of writing, and started again", async () => {
  const saved = new Set<string>();
  const written = new Set<string>();
  for (let round = 0; round < 3; round++) {
    if (round === 1) await w.kill(); // once without a server, too
    const { context, crash } = await w.realProfile("crashing");
    const tab = await w.tab(context);
    for (const id of await tab.page.evaluate((r) => Array.from({ length: 200 }, (_, i) => t.put("k" + (i % 7), { r, i })), round)) written.add(id);
    await until(() => tab.saved.size > 0);
    await crash();
    for (const id of tab.saved) saved.add(id);
    if (round === 1) await w.serve();
  }
  const { context, crash } = await w.realProfile("crashing");
  const tab = await w.tab(context);
  const { said } = await w.agree([tab]);
  for (const id of saved) expect(said, "a saved mutation is lost").toContain(id);
  for (const id of said) expect(written).toContain(id);
  await crash();
});

test("the user clears the site's data while the page is open", async () => {
  const p = await w.profile();
  const tab = await w.tab(p);
  const ids = [await tab.put("before", 1)];
  await tab.calm();
  await w.kill();
  ids.push(await tab.put("offline", 2));
  await until(() => tab.saved.size === 2);
  const cdp = await p.newCDPSession(tab.page);
  await cdp.send("Storage.clearDataForOrigin", { origin: new URL(tab.page.url()).origin, storageTypes: "indexeddb" });
  ids.push(await tab.put("after", 3));
  await until(async () => (await tab.state()).status.storage !== "lost" && tab.saved.size === 3, () => tab.state());
  const kept = () => tab.page.evaluate(async () => (await t.tidemark.indexedDB("app").read([{ t: "outbox" }]))[0].length);
  await until(async () => (await kept()) === 2, kept);
  await tab.page.close(); // what was written before the clearing is on disk again, too
  await w.serve();
  const again = await w.tab(p);
  await w.agree([again], ids);
});

test("the device is full for a while: it is said, work goes on, and all is saved when there is room", async () => {
  const p = await w.profile();
  const cdp = await p.newCDPSession(await p.newPage());
  const quota = (quotaSize?: number) => cdp.send("Storage.overrideQuotaForOrigin", { origin: w.origin, ...(quotaSize && { quotaSize }) });
  await quota(1); // before the database is opened: Chromium looks again only when what it granted is used up
  const tab = await w.tab(p);
  await tab.live();
  const ids = [await tab.put("sent", 1)];
  await tab.calm();
  await until(async () => (await tab.state()).status.storage === "lost", () => tab.state());
  expect((await tab.state()).status.lastError).toMatchObject({ code: "QuotaExceededError" });
  expect(await tab.asked(), "the browser is asked to keep what is stored").toBe(1);
  await w.kill();
  ids.push(await tab.put("full", "x".repeat(100_000)));
  expect((await tab.state()).status).toMatchObject({ pending: 1, storage: "lost" });
  expect(tab.saved.size, "nothing is said to be saved").toBe(0);
  expect((await tab.state()).docs).toHaveProperty("full");
  await quota();
  await until(async () => (await tab.state()).status.storage !== "lost", () => tab.state());
  const kept = () => tab.page.evaluate(async () => (await t.tidemark.indexedDB("app").read([{ t: "outbox" }]))[0].length);
  await until(async () => (await kept()) === 1, kept);
  await tab.page.close();
  await w.serve();
  await w.agree([await w.tab(p)], ids);
});

test("a line that breaks at random bytes", async () => {
  const random = rng(5);
  const line = await w.between();
  line.budget = () => 200 + Math.floor(random() ** 2 * 30_000);
  const tabs = await Promise.all([0, 1].map(async () => w.tab(await w.profile())));
  const ids = (await Promise.all(tabs.map((tab, i) => work(tab, "p" + i, random, 200)))).flat();
  for (const tab of tabs) ids.push(...(await tab.page.evaluate(() => Array.from({ length: 300 }, (_, i) => t.append({ i, text: "y".repeat(300) })))));
  await until(() => line.cuts >= 8, () => line.cuts, 60_000);
  line.budget = undefined;
  await w.agree(tabs, ids);
});

test("a token expires: it is renewed in place, and asked for again when it was refused", async () => {
  await w.kill();
  await w.serve("tokens", "authserver");
  const a = await w.tab(await w.profile(), { token: { subject: "alice", ms: 5000 } });
  await a.live();
  const ids: string[] = [];
  const asked = () => a.page.evaluate(() => t.asked);
  await until(async () => {
    ids.push(await a.put("k", ids.length));
    await pause(500);
    expect((await a.state()).status.phase).toBe("live");
    return (await asked()).length > 2;
  }, asked);
  expect(await asked()).toEqual(["connect", "refresh", "refresh"]);
  const b = await w.tab(await w.profile(), { token: { subject: "bob", ms: -1000 } });
  await until(async () => (await b.state()).status.phase === "unauthorized", () => b.state());
  expect(await b.page.evaluate(() => t.asked)).toContain("unauthorized");
  await b.put("waits", 1);
  expect((await b.state()).status.pending).toBe(1);
  await a.calm();
  expect((await a.state()).said).toEqual(ids);
});
