import { expect, test } from "vitest";
import { createClient, memory } from "@tidemark/client";
import { TestServer } from "@tidemark/client/testing";
import { pack, unpack } from "../src/pages.ts";
import type { Docs } from "../src/state.ts";
import type { Rows } from "../src/storage.ts";
import { until } from "./util.ts";

const many = (n: number): Docs => new Map(Array.from({ length: n }, (_, i) => ["k" + i, { key: "k" + i, seq: i + 1, data: { i } }]));
const rows = (docs: Docs) => pack("s", docs).map((w) => (w as { put: Rows["docs"] }).put);

test("what is packed is unpacked", () => {
  for (const n of [0, 1, 499, 500, 501, 1700]) {
    const docs = many(n);
    expect(rows(docs)).toHaveLength(Math.ceil(n / 500));
    expect(unpack(rows(docs))).toEqual({ docs, own: 0 });
  }
});

test("a row of its own counts more than the page", () => {
  const own = [{ s: "s", key: "k1", seq: 90, data: "new" }, { s: "s", key: "k2", seq: 91 }, { s: "s", key: "z", seq: 92, data: 1 }];
  const { docs } = unpack([...rows(many(3)), ...own]);
  expect([...docs.values()]).toEqual([{ key: "k0", seq: 1, data: { i: 0 } }, { key: "k1", seq: 90, data: "new" }, { key: "z", seq: 92, data: 1 }]);
});

test("many rows of their own become pages when the stream is opened again", async () => {
  const server = new TestServer({ page: 1000 });
  const storage = memory();
  const open = () => createClient({ url: server.url, webSocket: server.webSocket, storage });
  const first = open();
  first.stream("s").docs.entries();
  await until(() => first.status.phase === "live");
  for (let i = 0; i < 2500; i++) server.log.append({ id: `0192a0b1-0000-7000-8000-${String(i).padStart(12, "0")}`, stream: "s", key: "k" + i, op: "put", data: i }, "x", undefined);
  server.write({ stream: "s", key: "k7", op: "delete" });
  await until(() => first.stream("s").docs.entries().length === 2499);
  await first.close();
  const count = async () => (await storage.read([{ t: "docs", s: "s" }]))[0].length;
  expect(await count()).toBe(2500);
  const again = open();
  await until(() => again.stream("s").docs.entries().length === 2499 && again.status.phase === "live");
  await again.close();
  expect(await count()).toBe(5);
  const third = open();
  await until(() => third.stream("s").docs.entries().length === 2499);
  await third.close();
});
