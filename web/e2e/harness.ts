import * as tidemark from "@tidemark/client";

// What a test page can do. `page.evaluate` calls it.

interface Wanted {
  url: string;
  db?: string;
  tabs?: "shared" | "alone";
  /** Tokens for this subject that last so long. */
  token?: { subject: string; ms: number };
}

let tm: tidemark.Client;
let said: tidemark.View<readonly string[]>;
const none: readonly string[] = [];
const asked: string[] = [];
const long: number[] = [];

new PerformanceObserver((list) => {
  for (const e of list.getEntries()) long.push(Math.round(e.duration));
}).observe({ type: "longtask" });

const harness = {
  tidemark,
  get tm() {
    return tm;
  },
  asked,
  long,
  start({ url, db, tabs, token }: Wanted) {
    tm = tidemark.createClient({
      url,
      tabs,
      storage: db ? tidemark.indexedDB(db) : tidemark.memory(),
      ...(token && {
        token: (why) => {
          asked.push(why);
          return `${token.subject}:${Date.now() + token.ms}`;
        },
      }),
    });
    tm.stream("room").docs.entries();
    said = tm.stream("room").view(none, (all, e) => [...all, e.id]);
  },
  /** Writes, and tells the test when it is on disk. */
  put(key: string, data: tidemark.Json) {
    const m = tm.stream("room").put(key, data);
    void m.local.then(() => (window as unknown as { saved?: (id: string) => void }).saved?.(m.id), () => undefined);
    return m.id;
  },
  patch: (key: string, data: tidemark.Json) => tm.stream("room").patch(key, data).id,
  append: (data: tidemark.Json) => tm.stream("room").append({ type: "said", data }).id,
  state: () => ({
    docs: Object.fromEntries(tm.stream("room").docs.entries().map((d) => [d.key, d.data])),
    said: said.get(),
    status: tm.status,
    rejected: tm.rejected.length,
    pendingDocs: tm.stream("room").docs.entries().filter((d) => d.pending).length,
  }),
};
export type Harness = typeof harness;
(globalThis as unknown as { t: Harness }).t = harness;
