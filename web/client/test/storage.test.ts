import "fake-indexeddb/auto";
import { IDBFactory } from "fake-indexeddb";
import { beforeEach, describe, expect, test } from "vitest";
import { memory } from "@tidemark/client";
import { database } from "../src/indexeddb.ts";
import { Fenced, type Storage, type Write } from "../src/storage.ts";

// One contract for every storage. "again" opens what the first one left, as a reload does.

const row = (id: string) => ({ id, text: JSON.stringify({ id }), at: 1 });

beforeEach(() => {
  globalThis.indexedDB = new IDBFactory();
});

const makers: Record<string, () => { first: Storage; again: () => Storage }> = {
  memory: () => {
    const one = memory();
    return { first: one, again: () => one };
  },
  IndexedDB: () => ({ first: database("db"), again: () => database("db") }),
};

for (const [name, make] of Object.entries(makers)) {
  describe(name, () => {
    test("is empty at first", async () => {
      const { first } = make();
      expect(await first.read([{ t: "rejected" }, { t: "outbox" }, { t: "docs", s: "a" }])).toEqual([[], [], []]);
    });

    test("appended rows have rising places, also after a reload", async () => {
      const { first, again } = make();
      const places = await first.append([row("a"), row("b")]);
      places.push(...(await again().append([row("c")])));
      expect([...places].sort((x, y) => x - y)).toEqual(places);
      const [rows] = await again().read([{ t: "outbox" }]);
      expect(rows.map((r) => r.id)).toEqual(["a", "b", "c"]);
      expect(rows.map((r) => r.k)).toEqual(places);
    });

    test("a thousand rows at once", async () => {
      const { first } = make();
      const rows = Array.from({ length: 1000 }, (_, i) => row("m" + i));
      const places = await first.append(rows);
      expect(new Set(places).size).toBe(1000);
      await first.append([row("last"), row("very last")]); // more than is read at once
      expect((await first.read([{ t: "outbox" }]))[0].map((r) => r.id)).toEqual([...rows.map((r) => r.id), "last", "very last"]);
      await first.commit(rows.map((r, i) => ({ t: "docs" as const, k: ["a", r.id] as const, row: { key: r.id, seq: i, data: i } })));
      expect((await first.read([{ t: "docs", s: "a" }]))[0]).toHaveLength(1000);
    });

    test("writes take effect in order, one stream apart from another", async () => {
      const { first, again } = make();
      const put = (s: string, key: string, seq: number): Write => ({ t: "docs", k: [s, key], row: { key, seq, data: { seq } } });
      await first.commit([put("a", "x", 1), put("a", "y", 2), put("ab", "x", 3), { t: "docs", k: ["a", "y"], row: undefined }, put("a", "x", 4)]);
      await first.commit([{ t: "replicas", k: "docs:a", row: { r: "docs:a", cur: { seq: 4, log: "l", mark: "m" } } }]);
      const [a, ab, replicas] = await again().read([{ t: "docs", s: "a" }, { t: "docs", s: "ab" }, { t: "replicas" }]);
      expect(a).toEqual([{ key: "x", seq: 4, data: { seq: 4 } }]);
      expect(ab).toHaveLength(1);
      expect(replicas).toEqual([{ r: "docs:a", cur: { seq: 4, log: "l", mark: "m" } }]);
      await first.commit([{ t: "docs", s: "a", all: [{ key: "p", seq: 8, data: 8 }] }, put("a", "z", 9)]);
      expect((await again().read([{ t: "docs", s: "a" }, { t: "docs", s: "ab" }])).map((r) => r.map((d) => d.key))).toEqual([["p", "z"], ["x"]]);
    });

    test("events come back in the order of their seqs, however many", async () => {
      const { first, again } = make();
      const writes = Array.from({ length: 2500 }, (_, i): Write => ({ t: "events", k: ["a", 2500 - i], row: { s: "a", seq: 2500 - i, ev: [] } }));
      await first.commit(writes);
      const [rows] = await again().read([{ t: "events", s: "a" }]);
      expect(rows.map((r) => r.seq)).toEqual(Array.from({ length: 2500 }, (_, i) => i + 1));
      await first.commit([{ t: "events", s: "a", all: [] }]);
      expect(await again().read([{ t: "events", s: "a" }])).toEqual([[]]);
    });

  });
}

// What a storage promises that outlives the page and is shared.
describe("IndexedDB", () => {
  test("each lead has a higher epoch, and the client stays the same", async () => {
    const first = database("db");
    const one = await first.lead();
    const two = await database("db").lead();
    expect(two).toEqual({ ...one, epoch: one.epoch + 1 });
    expect(await first.read([{ t: "meta" }])).toEqual([[two]]);
  });

  test("a lead goes on from what was before the storage was cleared", async () => {
    const was = { k: "meta" as const, birth: "b", client: "c", epoch: 4, n: 17, rev: 9 };
    const meta = await database("db").lead(was);
    expect(meta).toMatchObject({ client: "c", epoch: 5, n: 17, rev: 9 });
    expect(meta.birth).not.toBe("b");
  });

  test("a mutation that is there keeps its place", async () => {
    const first = database("db");
    const [a, b] = await first.append([row("a"), row("b")]);
    expect(await first.append([row("b"), row("c"), row("a")])).toEqual([b, expect.any(Number), a]);
    expect((await first.read([{ t: "outbox" }]))[0]).toHaveLength(3);
  });

  test("who no longer leads writes nothing", async () => {
    const first = database("db");
    const old = await first.lead();
    await database("db").lead();
    await expect(first.commit([{ t: "replicas", k: "docs:a", row: { r: "docs:a" } }], old.epoch)).rejects.toThrow(Fenced);
    expect(await first.read([{ t: "replicas" }])).toEqual([[]]);
  });

  test("goes on after the database was deleted, and says so", async () => {
    const db = database("db");
    let lost = 0;
    db.onlost = () => lost++;
    const before = await db.lead();
    await new Promise((resolve) => (globalThis.indexedDB.deleteDatabase("db").onsuccess = resolve));
    expect(lost).toBe(1);
    expect(await db.read([{ t: "meta" }])).toEqual([[]]);
    expect((await db.lead(before)).client).toBe(before.client);
  });

  test.each(["InvalidStateError", "UnknownError"])("opens again when the browser dropped the connection: %s", async (name) => {
    const db = database("db");
    await db.append([row("a")]);
    const { transaction } = IDBDatabase.prototype;
    let failures = 1;
    IDBDatabase.prototype.transaction = function (...a: Parameters<typeof transaction>) {
      if (failures-- > 0) throw new DOMException("gone", name);
      return transaction.apply(this, a);
    };
    try {
      await db.append([row("b")]);
    } finally {
      IDBDatabase.prototype.transaction = transaction;
    }
    expect((await db.read([{ t: "outbox" }]))[0].map((r) => r.id)).toEqual(["a", "b"]);
  });

  test("a closed storage says no", async () => {
    const db = database("db");
    await db.lead();
    db.close();
    await expect(db.append([row("a")])).rejects.toThrow("closed");
  });
});
