import { expect, test } from "vitest";
import { createClient, memory, MutationRejected } from "@tidemark/client";
import { TestServer } from "@tidemark/client/testing";
import { until } from "./util.ts";

const open = (server: TestServer, storage = memory()) => createClient({ url: server.url, webSocket: server.webSocket, storage });

test("a write is visible at once, then saved, then confirmed", async () => {
  const server = new TestServer();
  const tm = open(server);
  const room = tm.stream<{ title: string }>("room/1");
  const m = room.put("card/7", { title: "Buy milk" });
  expect(room.docs.get("card/7")).toMatchObject({ data: { title: "Buy milk" }, pending: true, seq: 0 });
  await m.local;
  expect(await m.server).toEqual({ seq: 1 });
  await until(() => room.docs.get("card/7")?.seq === 1);
  expect(room.docs.get("card/7")).toMatchObject({ pending: false, version: 1 });
  await until(() => tm.status.phase === "live" && tm.status.pending === 0);
  await tm.close();
});

test("a refused write vanishes and is listed, until it is retried", async () => {
  const server = new TestServer();
  const tm = open(server);
  const room = tm.stream("room/1");
  room.docs.entries();
  server.refuse = (m) => (m.key === "bad" ? { code: "rule_denied", message: "no" } : undefined);
  const bad = room.put("bad", 1);
  const good = room.put("good", 2);
  await expect(bad.server).rejects.toThrow(MutationRejected);
  await good.server;
  expect(room.docs.entries().map((d) => d.key)).toEqual(["good"]);
  expect(tm.rejected).toMatchObject([{ id: bad.id, error: { code: "rule_denied" } }]);
  server.refuse = undefined;
  await tm.rejected[0]!.retry().server;
  expect(tm.rejected).toEqual([]);
  await until(() => room.docs.entries().length === 2);
  await tm.close();
});

test("what is written offline survives a reload and is sent in order", async () => {
  const server = new TestServer();
  const storage = memory();
  server.stop();
  const first = open(server, storage);
  for (let i = 0; i < 10; i++) first.stream("room/1").append({ type: "said", data: i });
  await first.close();
  server.start();
  const tm = open(server, storage);
  const said = tm.stream("room/1").view<number[]>([], (s, e) => [...s, e.data as number]);
  expect(await tm.flush({ timeout: 5000 })).toBe(true);
  await until(() => tm.status.pending === 0 && server.log.head === 10);
  expect(said.get()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  await tm.close();
});
