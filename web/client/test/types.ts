import { createClient, memory, type Client, type Doc, type Stream } from "@tidemark/client";

// What must compile, and what must not. `npm run types` is the test.

interface Card {
  title: string;
  column?: string;
}

export function types(tm: Client): void {
  const room: Stream<Card> = tm.stream<Card>("room");
  room.put("k", { title: "t" });
  room.patch("k", { column: null });
  const doc: Doc<Card> | undefined = room.docs.get("k");
  room.put("k", { title: "t" }, { expect: doc?.version ?? 0, type: "card.added" });
  const count: number = room.view(0, (n) => n + 1).get();
  void count;
  tm.on("status", (s) => s.phase === "live");
  tm.on("rejected", (all) => all.map((r) => r.retry({ expect: null })));
  // @ts-expect-error a card has a title
  room.put("k", { column: "c" });
  // @ts-expect-error a title is a text
  room.patch("k", { title: 1 });
  // @ts-expect-error no such event
  tm.on("nothing", () => undefined);
  // @ts-expect-error a client needs a storage
  createClient({ url: "" });
  // @ts-expect-error no such phase
  tm.on("status", (s) => s.phase === "happy");
  createClient({ url: "", storage: memory(), token: async (why) => (why === "refresh" ? "a" : "b") });
}
