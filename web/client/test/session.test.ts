import { expect, test } from "vitest";
import { entryOf } from "../src/outbox.ts";
import { Session, type Effect } from "../src/session.ts";
import { State } from "../src/state.ts";
import type { ServerMessage } from "../src/wire.ts";

const silent = { reader: () => undefined, events() {}, verdict() {}, rejected() {} };
const sent = (effects: Effect[]) => effects.flatMap((e) => (e.do === "send" ? [JSON.parse(e.text)] : []));
const id = (n: number) => `0192a0b1-0000-7000-8000-${String(n).padStart(12, "0")}`;
const welcome = (limits = {}): ServerMessage => ({ type: "welcome", log: "l", session: "s", head: 0, limits });

function world(limits = {}) {
  const state = new State(silent);
  const session = new Session(state, () => 0);
  let k = 0;
  const queue = (n: number, text = "x", log?: string) => {
    const e = entryOf({ text: JSON.stringify({ id: id(n), stream: "a", type: "t", data: text }), at: 0, log, k: ++k });
    state.add(e);
    return e;
  };
  const connect = () => {
    const hello = sent(session.start({ client: "c", n: 1 }, 0));
    return [...hello, ...sent(session.receive(welcome(limits), 0))];
  };
  return { state, session, queue, connect };
}
const pushes = (messages: { type: string; mutations: { id: string }[] }[]) => messages.filter((m) => m.type === "push").map((m) => m.mutations.length);

test("a conversation", () => {
  const { state, session, queue, connect } = world();
  session.want(new Set([state.replica("docs:a")]), 0);
  queue(1);
  const lines: unknown[] = connect();
  lines.push(...sent(session.receive({ type: "subscribed", sub: 1, since: 0, head: 0, floor: 0 }, 0)));
  expect(lines).toEqual([
    { type: "hello", client: "c", n: 1, subs: [{ sub: 1, stream: "a", from: "snapshot" }] },
    { type: "push", ref: 1, mutations: [{ id: id(1), stream: "a", type: "t", data: "x" }] },
  ]);
  session.receive({ type: "snapshot", sub: 1, seq: 0, docs: [], done: true, upto: 0 }, 0);
  session.receive({ type: "live", sub: 1, seq: 0 }, 0);
  expect(session.phase).toBe("live");
  session.receive({ type: "ack", results: [{ id: id(1), seq: 1 }] }, 0);
  expect([state.outbox.pending, [...state.outbox.entries()].length]).toEqual([0, 1]); // accepted, not yet in what is confirmed
  session.receive({ type: "events", sub: 1, events: [{ seq: 1, prev: 0, id: id(1), type: "t", at: 1 }] }, 0);
  expect([...state.outbox.entries()]).toEqual([]);
  expect(state.take()).toContainEqual({ t: "outbox", k: 1, row: undefined });
});

test("pushes are small, and no more are unanswered than the server allows", () => {
  const { session, queue, connect } = world({ mutations: 10, inflight: 25 });
  for (let i = 0; i < 60; i++) queue(i);
  expect(pushes(connect())).toEqual([10, 10, 5]);
  const results = (from: number, n: number) => Array.from({ length: n }, (_, i) => ({ id: id(from + i), seq: from + i + 1 }));
  expect(pushes(sent(session.receive({ type: "ack", results: results(0, 10) }, 0)))).toEqual([10]);
  expect(pushes(sent(session.receive({ type: "ack", results: results(10, 15) }, 0)))).toEqual([10, 5]);
});

test("a push is cut at 48 KiB; one that no frame can hold is refused here", () => {
  const { state, queue, connect } = world({ frame: 200_000 });
  for (let i = 0; i < 6; i++) queue(i, "y".repeat(20_000));
  queue(6, "é".repeat(120_000));
  queue(7);
  expect(pushes(connect())).toEqual([2, 2, 3]);
  expect([...state.rejected.values()].map((r) => [r.id, r.error.code])).toEqual([[id(6), "too_large"]]);
});

test("numeric expects of different logs go in different pushes", () => {
  const { queue, connect } = world();
  queue(1, "x", id(90));
  queue(2);
  queue(3, "x", id(91));
  const out = connect().filter((m) => m.type === "push");
  expect(out.map((m) => [m.log, m.mutations.length])).toEqual([[id(90), 2], [id(91), 1]]);
});

test("hello stays small with many streams; the rest is subscribed after it", () => {
  const { state, session, connect } = world();
  session.want(new Set(Array.from({ length: 800 }, (_, i) => state.replica(`docs:room/${"x".repeat(100)}/${i}`))), 0);
  const [hello, ...rest] = connect();
  expect(JSON.stringify(hello).length).toBeLessThan(64 << 10);
  const all = [...hello.subs, ...rest.filter((m: { type: string }) => m.type === "subscribe")];
  expect(new Set(all.map((s: { sub: number }) => s.sub)).size).toBe(800);
});

test("a server whose events never connect is left, not asked for ever", () => {
  const { state, session, connect } = world();
  session.want(new Set([state.replica("events:a")]), 0);
  connect();
  const closes: string[] = [];
  for (let sub = 1; sub < 10 && !closes.length; sub++) {
    session.receive({ type: "subscribed", sub, since: 0, head: 9, floor: 0 }, 0);
    for (const e of session.receive({ type: "events", sub, events: [{ seq: 9, prev: 7, id: id(9), type: "t", at: 1 }] }, 0)) if (e.do === "close") closes.push(e.why);
  }
  expect(closes).toEqual(["the server's events do not connect"]);
});
