import { expect, test } from "vitest";
import type { Harness } from "./harness.ts";
import { pause, rng, until, World, type Tab } from "./world.ts";

// Several tabs of one browser profile: one of them leads, whichever of them freeze, hang, crash or go offline.

declare const t: Harness;

const w = await World.forTests();

test("two tabs of one profile: the leading one is closed in the middle of a push", async () => {
  const p = await w.profile();
  const line = await w.between();
  const ids: string[] = [];
  let leader = await w.tab(p, { patient: true });
  await leader.leads();
  const witness = await w.tab(await w.profile(), { url: w.direct });
  for (let round = 0; round < 4; round++) {
    const other = await w.tab(p, { patient: true });
    await other.live();
    expect((await other.state()).status.leader).toBe(false);
    await until(async () => (await witness.state()).said.length === ids.length);
    line.deaf = true; // the pushes arrive, their acknowledgements do not
    const more = await leader.page.evaluate(() => Array.from({ length: 300 }, (_, i) => t.put("k" + (i % 10), { i, text: "x".repeat(200) })));
    ids.push(...more);
    ids.push(...(await other.page.evaluate(() => Array.from({ length: 20 }, (_, i) => t.append(i)))));
    await until(() => more.every((id) => leader.saved.has(id)));
    await until(async () => (await witness.state()).said.length > ids.length - 320);
    await until(async () => (await leader.state()).status.pending === 320, () => leader.state()); // the other tab's come through the browser
    line.cut();
    line.deaf = false;
    await leader.page.close();
    await other.leads();
    expect(await other.paths(), "the browser gave the lead on").toEqual(["given"]);
    await other.calm();
    leader = other;
  }
  await w.agree([leader, witness], ids);
});

test("a frozen tab gives the lead away, and follows when it wakes up", async () => {
  const { context, crash } = await w.realProfile("freezing");
  const a = await w.tab(context, { patient: true });
  await a.leads();
  const ids: string[] = [await a.put("x", 1)];
  await a.calm();
  const b = await w.tab(context, { patient: true });
  await b.live();
  const cdp = await context.newCDPSession(a.page);
  await cdp.send("Page.setWebLifecycleState", { state: "frozen" });
  await b.leads();
  expect(await b.paths()).toEqual(["given"]);
  ids.push(await b.put("y", 2));
  await b.calm();
  expect((await a.state()).said).toHaveLength(1);
  await cdp.send("Page.setWebLifecycleState", { state: "active" });
  await until(async () => (await a.state()).said.length === 2, () => a.state());
  expect((await a.state()).status.leader).toBe(false);
  ids.push(await a.put("z", 3));
  await w.agree([a, b], ids);
  await crash();
});

test("a tab that hangs without having been told loses the lead to one that asks", async () => {
  const p = await w.profile();
  const a = await w.tab(p);
  await a.leads();
  const ids: string[] = [await a.put("x", 1)];
  await a.calm();
  const b = await w.tab(p);
  await b.live();
  const cdp = await p.newCDPSession(a.page);
  await cdp.send("Debugger.enable");
  const paused = new Promise((resolve) => cdp.once("Debugger.paused", resolve));
  await cdp.send("Debugger.pause");
  ids.push(await b.put("y", 2));
  await paused;
  await b.leads();
  expect(await b.paths()).toEqual(["stolen"]);
  await b.calm();
  await cdp.send("Debugger.resume");
  await cdp.send("Debugger.disable");
  await until(async () => !(await a.state()).status.leader, () => a.state());
  ids.push(await a.put("z", 3));
  await w.agree([a, b], ids);
});

test("a tab that crashes leaves its lead to another one", async () => {
  const p = await w.profile();
  const a = await w.tab(p, { patient: true });
  await a.leads();
  const b = await w.tab(p, { patient: true });
  await b.live();
  const ids = await a.page.evaluate(() => Array.from({ length: 50 }, (_, i) => t.put("k" + (i % 5), { i })));
  await until(() => a.saved.size === 50);
  const crashed = a.page.waitForEvent("crash");
  void a.page.goto("chrome://crash").catch(() => undefined);
  await crashed;
  await b.leads();
  expect(await b.paths()).toEqual(["given"]);
  ids.push(await b.put("after", 1));
  await w.agree([b], ids);
});

test("one tab of two goes offline, writes, and comes back", async () => {
  const p = await w.profile();
  const [a, b] = [await w.tab(p), await w.tab(p)];
  await a.leads();
  for (const tab of [a, b]) await tab.live();
  const ids: string[] = [];
  for (const away of [a, b]) {
    const here = away === a ? b : a;
    await away.page.evaluate(() => t.tm.disconnect());
    await here.leads();
    await here.calm();
    const before = (await away.state()).said.length;
    ids.push(await here.put("both", ids.length));
    await here.calm();
    const mine = await away.put("both", "away");
    ids.push(mine);
    await until(() => away.saved.has(mine));
    const state = await away.state();
    expect(state.status).toMatchObject({ phase: "offline", leader: false, pending: 1 });
    expect(state.said, "what the other tab's line brought").toHaveLength(before + 1);
    expect((await here.state()).status.phase).toBe("live");
    await away.page.evaluate(() => t.tm.connect());
    await w.agree([a, b], ids);
  }
});

test.each([1, 2, 3].map((n) => n + Number(process.env.SEED ?? 0)))("tabs of one profile freeze, wake, come, go and crash, on a line that breaks at random bytes: seed %i", async (seed) => {
  const random = rng(seed);
  const pick = <T>(all: readonly T[]) => all[Math.floor(random() * all.length)]!;
  const line = await w.between();
  const { context, crash } = await w.realProfile("random" + seed);
  type One = { tab: Tab; frozen: boolean; freeze(on: boolean): Promise<unknown> };
  const start = async (): Promise<One> => {
    const tab = await w.tab(context);
    const cdp = await context.newCDPSession(tab.page);
    return { tab, frozen: false, freeze: (on) => cdp.send("Page.setWebLifecycleState", { state: on ? "frozen" : "active" }) };
  };
  const all = [await start(), await start()];
  const written = new Set<string>();
  const saved: Set<string>[] = all.map((one) => one.tab.saved);
  const gone = async (one: One, how: () => Promise<unknown>) => {
    all.splice(all.indexOf(one), 1);
    await how();
  };
  line.budget = () => 300 + Math.floor(random() ** 2 * 20_000);
  for (let i = 0; i < 30; i++) {
    const one = pick(all);
    const p = random();
    if (p < 0.55 && !one.frozen) for (const id of await one.tab.page.evaluate((n) => Array.from({ length: n }, (_, k) => t.put("k" + (k % 5), { k, text: "z".repeat(100) })), 1 + Math.floor(random() * 20))) written.add(id);
    else if (p < 0.75) await one.freeze((one.frozen = !one.frozen));
    else if (p < 0.85 && all.length < 4) {
      all.push(await start());
      saved.push(all[all.length - 1]!.tab.saved);
    } else if (p < 0.93 && all.length > 1) await gone(one, () => one.tab.page.close());
    else if (p < 0.97 && all.length > 1 && !one.frozen)
      await gone(one, async () => {
        const crashed = one.tab.page.waitForEvent("crash");
        void one.tab.page.goto("chrome://crash").catch(() => undefined);
        await crashed;
      });
    else line.cut();
    if (random() < 0.5) await pause(random() * 60);
  }
  for (const one of all) if (one.frozen) await one.freeze(false);
  await until(() => line.cuts > 0, () => line.cuts, 5_000).catch(() => line.cut());
  line.budget = undefined;
  line.cut();
  const tabs = all.map((one) => one.tab);
  const kept = () => tabs[0]!.page.evaluate(async () => (await t.tidemark.indexedDB("app").read([{ t: "outbox" }]))[0].length);
  await until(async () => (await kept()) === 0, kept);
  const { said } = await w.agree(tabs);
  for (const ids of saved) for (const id of ids) expect(said, "a saved mutation is lost").toContain(id);
  for (const id of said) expect(written).toContain(id);
  const leaders = () => Promise.all(tabs.map(async (tab) => (await tab.state()).status.leader));
  await until(async () => (await leaders()).filter(Boolean).length === 1, leaders);
  await crash();
});
