import { afterEach, beforeEach, expect, test, vi } from "vitest";
import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { createClient, indexedDB, memory, type Client, type Pending, type Storage } from "@tidemark/client";
import { TestServer } from "@tidemark/client/testing";
import { foldEvent, type Docs } from "../src/state.ts";
import type { Hub } from "../src/hub.ts";
import type { LogEvent } from "../src/testing/log.ts";
import { crashable, type Crashable } from "./crashable.ts";

// Random interleavings of local writes, confirmations, refusals, resets, cuts, crashes and reloads. Whatever happens, what a client
// shows is a state that the server's log really had, plus its pending mutations; and everything ends with the server's state.

const STREAMS = ["a", "b/c"];
const KEYS = ["k1", "k2", "k3", "k4"];

function rng(seed: number) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

class World {
  readonly random: () => number;
  readonly server = new TestServer({ page: 3 });
  readonly devices: Device[] = [];
  /** Everything that ever was in a log, by its id. */
  readonly histories = new Map<string, LogEvent[]>();
  /** Ids that a restore or another history took away after they were accepted. */
  readonly undone = new Set<string>();
  up = true;

  constructor(seed: number, storage: (i: number) => Storage, devices: number) {
    this.random = rng(seed);
    for (let i = 0; i < devices; i++) this.devices.push(new Device(this, storage(i)));
    this.server.duringSnapshot = () => {
      if (this.chance(0.5)) this.elsewhere();
    };
  }
  chance(p: number) {
    return this.random() < p;
  }
  pick<T>(list: readonly T[]): T {
    return list[Math.floor(this.random() * list.length)]!;
  }
  note() {
    const { log } = this.server;
    const all = this.histories.get(log.id) ?? [];
    this.histories.set(log.id, all);
    const last = all[all.length - 1]?.seq ?? 0;
    for (const e of log.events) if (e.seq > last) all.push(e);
  }
  elsewhere() {
    const key = this.pick(KEYS);
    const stream = this.pick(STREAMS);
    if (this.chance(0.2)) this.server.write({ stream, key, op: "delete" });
    else if (this.chance(0.5)) this.server.write({ stream, key, op: "patch", data: { [this.pick(["x", "y"])]: this.random() } });
    else this.server.write({ stream, key, op: "put", data: { s: this.random() } });
    this.note();
  }
  reset(reason: string) {
    if (reason === "erased") for (const d of this.devices) d.hidden = true;
    this.server.reset(reason);
  }
  rewind(how: () => void) {
    this.note();
    this.server.cut(); // a server that is restored was stopped for it
    const before = new Set(this.histories.get(this.server.log.id)!.map((e) => e.id));
    how();
    for (const e of this.server.log.events) before.delete(e.id);
    // What a client still waits for is sent again; what it has seen confirmed is gone with the server's history.
    const waiting = new Set(this.devices.flatMap((d) => [...d.hub.state.outbox.entries()].map((e) => e.id)));
    for (const id of before) if (!waiting.has(id)) this.undone.add(id);
    this.note();
  }
  step() {
    this.note();
    const { server } = this;
    const p = this.random();
    const device = this.pick(this.devices);
    if (p < 0.4) device.write();
    else if (p < 0.55) this.elsewhere();
    else if (p < 0.6) server.cut();
    else if (p < 0.7) server.cut(this.pick(["hello", "push", "ack", "snapshot", "events"]), 1 + Math.floor(this.random() * 2));
    else if (p < 0.74) this.up = this.toggle();
    else if (p < 0.78) this.reset(this.pick(["trimmed", "erased", "log_changed", "ahead", "something new"]));
    else if (p < 0.8) server.log.trim(Math.floor(this.random() * server.log.head));
    else if (p < 0.82 && server.log.floor === 0) this.rewind(() => server.log.restore(Math.floor(this.random() * (server.log.head + 1))));
    else if (p < 0.83) this.rewind(() => server.log.replace());
    else if (p < 0.88) server.refuse = this.pick([undefined, (m: { key?: string }) => (m.key === "k1" ? { code: "rule_denied" } : undefined), () => (this.chance(0.3) ? { code: "overloaded", later: true } : undefined)]);
    else if (p < 0.91) server.hold(this.chance(0.5));
    else if (p < 0.95) device.crash();
    this.note();
    for (const d of this.devices) d.check();
  }
  toggle() {
    if (this.up) this.server.stop();
    else this.server.start();
    return !this.up;
  }
}

class Device {
  readonly world: World;
  storage: Crashable;
  tm!: Client;
  views = new Map<string, { get(): string[] }>();
  /** What must be in the views, whatever happens: everything written here, that was neither refused nor undone. */
  readonly written = new Map<string, string>();
  /** Something was erased: what it had may be hidden. */
  hidden = false;
  /** Started again: what it has is being read. */
  reading = 3;
  /** What was promised to be on disk, and what became of it. */
  readonly saved = new Set<string>();
  readonly accepted = new Set<string>();
  readonly refused = new Set<string>();

  constructor(world: World, storage: Storage) {
    this.world = world;
    this.storage = crashable(storage);
    this.start();
  }
  start() {
    const { server } = this.world;
    this.tm = createClient({ url: server.url, webSocket: server.webSocket, storage: this.storage, tabs: "alone" });
    for (const s of STREAMS) {
      this.tm.stream(s).docs.entries();
      this.views.set(s, this.tm.stream(s).view<string[]>([], (all, e) => [...all, e.id]));
    }
  }
  get loaded() {
    return STREAMS.every((s) => this.hub.state.replicas.get("events:" + s)?.loaded);
  }
  crash() {
    for (const id of this.written.keys()) if (!this.saved.has(id)) this.written.delete(id);
    // After a reset the disk has only what came again since.
    for (const [id, s] of this.written) if (!this.hub.state.replicas.get("events:" + s)?.whole && !this.hub.state.outbox.get(id)) this.written.delete(id);
    this.reading = 3;
    this.storage.crash();
    void this.tm.close();
    this.storage = crashable(this.storage.inner);
    this.start();
  }
  write() {
    const { world } = this;
    const room = this.tm.stream<Record<string, number>>(world.pick(STREAMS));
    const key = world.pick(KEYS);
    const options = world.chance(0.3) ? { expect: room.docs.get(key)?.version ?? 0 } : {};
    const p = world.random();
    const m: Pending = p < 0.4 ? room.put(key, { v: world.random() }, options) : p < 0.7 ? room.patch(key, { [world.pick(["x", "y"])]: world.random() }, options) : p < 0.85 ? room.delete(key, options) : room.append({ type: "said", data: 1 });
    this.written.set(m.id, room.name);
    m.local.then(() => this.saved.add(m.id), () => undefined);
    m.server.then(() => this.accepted.add(m.id), (e) => e.name === "MutationRejected" && this.refused.add(m.id));
  }
  get hub(): Hub {
    return (this.tm as unknown as { hub: Hub }).hub;
  }
  /** What is confirmed is a state that a log really had; what is shown is that with the pending mutations on top. */
  check() {
    for (const s of STREAMS) {
      const r = this.hub.state.replicas.get("docs:" + s);
      if (!r?.seen) continue;
      const docs: Docs = new Map();
      for (const e of this.world.histories.get(r.seen.log) ?? []) if (e.stream === s && e.seq <= r.seen.seq) foldEvent(docs, e);
      expect(Object.fromEntries(r.docs), `${s} as of ${r.seen.seq}`).toEqual(Object.fromEntries(docs));
    }
    if (this.reading > 0) return;
    const rejected = new Set(this.tm.rejected.map((r) => r.id));
    const { log } = this.world.server;
    const gone = new Set([...this.world.histories].flatMap(([id, all]) => all.filter((e) => id !== log.id || e.seq <= log.floor).map((e) => e.id)));
    for (const s of STREAMS) {
      const r = this.hub.state.replicas.get("events:" + s)!;
      if (this.hidden && !r.whole) continue; // until it came again
      const shown = this.views.get(s)!.get();
      expect(new Set(shown).size, "an event is shown twice").toBe(shown.length);
      for (const [id, stream] of this.written) {
        if (stream !== s || rejected.has(id) || this.world.undone.has(id) || gone.has(id)) continue;
        expect(shown, "something written is not shown").toContain(id);
      }
    }
  }
  end(world: World) {
    this.check();
    const { log } = world.server;
    for (const s of STREAMS) {
      const shown = Object.fromEntries(this.tm.stream(s).docs.entries().map((d) => [d.key, d.data]));
      expect(shown).toEqual(world.server.docs(s));
      const ids = log.events.filter((e) => e.stream === s).map((e) => e.id);
      const mine = this.views.get(s)!.get();
      expect(mine.slice(-ids.length || mine.length)).toEqual(ids);
      expect(new Set(mine).size).toBe(mine.length);
    }
    const there = new Set(world.histories.get(log.id)?.map((e) => e.id));
    const rejected = new Set(this.tm.rejected.map((r) => r.id));
    for (const id of this.saved) expect(there.has(id) || rejected.has(id) || world.undone.has(id), "a saved mutation is lost").toBe(true);
    for (const id of this.accepted) expect(there.has(id) || rejected.has(id) || world.undone.has(id), "an accepted mutation is lost").toBe(true);
    for (const id of this.refused) expect(rejected.has(id), "a refused mutation is not listed").toBe(true);
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setImmediate", "clearImmediate", "Date", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

async function run(seed: number, storage: (i: number) => Storage, steps: number) {
  const world = new World(seed, storage, 2);
  for (let i = 0; i < steps; i++) {
    world.step();
    if (!world.chance(0.6)) continue;
    const ms = world.pick([0, 1, 5, 300, 2000]);
    await vi.advanceTimersByTimeAsync(ms);
    for (const d of world.devices) if (ms > 0 && d.loaded) d.reading--;
    world.note();
    for (const d of world.devices) d.check();
  }
  world.server.refuse = undefined;
  world.server.cut("hello", 0);
  world.server.start();
  world.server.hold(false);
  const calm = () => world.devices.every((d) => d.tm.status.phase === "live" && d.tm.status.pending === 0 && d.hub.state.outbox.accepted.size === 0);
  for (let i = 0; i < 400 && !calm(); i++) await vi.advanceTimersByTimeAsync(1000);
  for (const stream of STREAMS) world.server.write({ stream, type: "last" }); // whoever misses something notices now
  world.note();
  await vi.advanceTimersByTimeAsync(1000);
  expect(world.devices.map((d) => d.tm.status)).toMatchObject([{ phase: "live", pending: 0 }, { phase: "live", pending: 0 }]);
  for (const d of world.devices) d.end(world);
  for (const d of world.devices) await Promise.all([d.tm.close(), vi.advanceTimersByTimeAsync(100)]);
}

const from = Number(process.env.SEED ?? 1);
const rounds = Number(process.env.ROUNDS ?? 40);

test(`memory: ${rounds} random histories end with the server's state`, { timeout: 120_000 }, async () => {
  for (let seed = from; seed < from + rounds; seed++) {
    try {
      await run(seed, () => memory(), 60);
    } catch (e) {
      (e as Error).message = `SEED=${seed}: ${(e as Error).message}`;
      throw e;
    }
  }
});

test(`IndexedDB: ${rounds / 5} random histories end with the server's state`, { timeout: 120_000 }, async () => {
  for (let seed = from; seed < from + rounds / 5; seed++) {
    globalThis.indexedDB = new IDBFactory();
    try {
      await run(seed, (i) => indexedDB("device" + i), 40);
    } catch (e) {
      (e as Error).message = `SEED=${seed}: ${(e as Error).message}`;
      throw e;
    }
  }
});
