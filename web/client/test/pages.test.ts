import "fake-indexeddb/auto";
import { expect, test } from "vitest";
import { createClient, indexedDB } from "@tidemark/client";
import { TestServer } from "@tidemark/client/testing";
import { pack, unpack } from "../src/pages.ts";
import { until } from "./util.ts";

const many = (n: number) => Array.from({ length: n }, (_, i) => ({ key: "k" + i, seq: i + 1, data: { i } }));

test("what is packed is unpacked", () => {
  for (const n of [0, 1, 499, 500, 501, 1700]) {
    const rows = pack("s", many(n));
    expect(rows).toHaveLength(Math.ceil(n / 500));
    expect(unpack(rows)).toEqual({ docs: many(n), own: 0 });
  }
});

test("a row of its own counts more than the page", () => {
  const own = [{ s: "s", key: "k1", seq: 90, data: "new" }, { s: "s", key: "k2", seq: 91 }, { s: "s", key: "z", seq: 92, data: 1 }];
  const { docs } = unpack([...pack("s", many(3)), ...own]);
  expect(docs).toEqual([{ key: "k0", seq: 1, data: { i: 0 } }, { key: "k1", seq: 90, data: "new" }, { key: "z", seq: 92, data: 1 }]);
});

/** How many rows the documents take on the disk. */
const count = () =>
  new Promise<number>((resolve) => {
    globalThis.indexedDB.open("pages").onsuccess = (e) => {
      const db = (e.target as IDBOpenDBRequest).result;
      db.transaction("docs").objectStore("docs").count().onsuccess = (e) => {
        db.close();
        resolve((e.target as IDBRequest<number>).result);
      };
    };
  });

test("many rows of their own become pages when the stream is opened again", async () => {
  const server = new TestServer({ page: 1000 });
  const open = () => createClient({ url: server.url, webSocket: server.webSocket, storage: indexedDB("pages") });
  const first = open();
  first.stream("s").docs.entries();
  await until(() => first.status.phase === "live");
  for (let i = 0; i < 2500; i++) server.log.append({ id: `0192a0b1-0000-7000-8000-${String(i).padStart(12, "0")}`, stream: "s", key: "k" + i, op: "put", data: i }, "x", undefined);
  server.write({ stream: "s", key: "k7", op: "delete" });
  await until(() => first.stream("s").docs.entries().length === 2499);
  await first.close();
  expect(await count()).toBe(2500);
  const again = open();
  await until(() => again.stream("s").docs.entries().length === 2499 && again.status.phase === "live");
  await again.close();
  expect(await count()).toBe(5);
  const third = open();
  await until(() => third.stream("s").docs.entries().length === 2499);
  await third.close();
});
