import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createClient, memory } from "@tidemark/client";
import { fold, mergePatch, type Json, type Op } from "../src/json.ts";
import { newId } from "../src/ids.ts";
import { Loop } from "../src/loop.ts";
import { entryOf, type Entry } from "../src/outbox.ts";
import { Session, type Effect } from "../src/session.ts";
import { State, type Docs, type Replica } from "../src/state.ts";
import type { Cursor } from "../src/storage.ts";
import type { ServerMessage, TidemarkEvent } from "../src/wire.ts";
import { cases, text, type Text } from "./vectors.ts";

const silent = { reader: () => undefined, events() {}, verdict() {}, rejected() {} };
const welcome = (log: string): ServerMessage => ({ type: "welcome", log, session: newId(), head: 0 });
const sent = (effects: Effect[]) => effects.flatMap((e) => (e.do === "send" ? [JSON.parse(e.text)] : []));

interface RulesCase {
  log: string;
  start: { stream: string; cursor?: Cursor; docs?: Record<string, { seq: number; data: Json }>; applied?: number; from?: string };
  steps: { frame?: ServerMessage; reconnect?: boolean; want: { cursor?: Cursor | null; live?: boolean; applied?: number[]; docs?: Record<string, unknown> | null; resubscribe?: number } }[];
}

describe("client-rules.json", () => {
  // This client has no prefix subscriptions, keeps no cursor "from now", and persists the cursor in the transaction of what it stands for.
  const mine = cases<RulesCase>("client-rules").filter((c) => !c.start.stream.includes("*") && c.start.from !== "now" && c.start.applied === undefined);
  for (const c of mine) {
    test(c.name, () => {
      const kind = c.start.from === "start" ? "events" : "docs";
      let applied: number[] = [];
      const state = new State({ ...silent, events: (_r, ev) => applied.push(...ev.map((e) => e.seq)) });
      let session = new Session(state);
      let r: Replica = state.replica(kind + ":" + c.start.stream);
      const docs: Docs = new Map(Object.entries(c.start.docs ?? {}).map(([key, d]) => [key, { key, ...d }]));
      state.load(r, c.start.cursor, docs);
      // The subscription that vectors call 1, whatever its number is here.
      let sub = 1;
      const subscribed = (messages: { type: string; sub: number; subs?: { sub: number; since?: number }[] }[]) => {
        const one = messages.find((m) => m.type === "subscribe") ?? messages.find((m) => m.type === "hello")?.subs?.[0];
        if (one) sub = one.sub;
        return one as { since?: number } | undefined;
      };
      const connect = () => {
        session.want(new Set([r]), 0);
        subscribed(sent(session.start({ client: newId(), n: 1 }, 0)));
        session.receive(welcome(c.log), 0);
      };
      connect();
      for (const { frame, reconnect, want } of c.steps) {
        applied = [];
        let again: { since?: number } | undefined;
        if (reconnect) {
          session = new Session(state);
          connect();
        } else {
          const m = structuredClone(frame!) as ServerMessage & { sub?: number };
          if (m.sub !== undefined) m.sub = m.sub === 1 ? sub : m.sub + 1000;
          again = subscribed(sent(session.receive(m, 0)));
        }
        if (want.resubscribe !== undefined || again) expect(again?.since ?? 0, "resubscribe").toBe(want.resubscribe);
        if (want.cursor !== undefined) expect(r.cur ?? null).toEqual(want.cursor);
        if (want.live !== undefined) expect((session as unknown as { subs: Map<number, { live: boolean }> }).subs.get(sub)?.live ?? false).toBe(want.live);
        if (want.applied && kind === "events") expect(applied).toEqual(want.applied);
        if (want.docs === null) expect(r.cur, "docs that are not there yet").toBeUndefined();
        else if (want.docs) expect(Object.fromEntries([...r.docs].map(([k, { data }]) => [k, data]))).toEqual(want.docs);
      }
    });
  }
});

interface OutboxCase {
  queue: string[];
  steps: { frame?: ServerMessage; reconnect?: boolean; want: { queue: string[]; send: string[]; rejected: string[] } }[];
}

describe("outbox.json", () => {
  for (const c of cases<OutboxCase>("outbox")) {
    test(c.name, () => {
      const state = new State(silent);
      const session = new Session(state, () => 0);
      let now = 0;
      let k = 0;
      const r = state.replica("events:room/1");
      state.load(r, { seq: 9, log: "l" }, new Map());
      for (const id of c.queue) state.add(entryOf({ text: JSON.stringify({ id, stream: "room/1", type: "t" }), at: 0, k: ++k }));
      const pushed = (effects: Effect[]) => sent(effects).flatMap((m) => (m.type === "push" ? (m.mutations as { id: string }[]).map((e) => e.id) : []));
      let sub = 0;
      const connect = () => {
        const [hello] = sent(session.start({ client: newId(), n: 1 }, now));
        sub = hello.subs[0].sub;
        return pushed(session.receive(welcome("l"), now));
      };
      session.want(new Set([r]), now);
      expect(connect()).toEqual(c.queue);
      for (const { frame, reconnect, want } of c.steps) {
        const old = new Set(state.rejected.keys());
        now += 1000;
        let send: string[];
        if (reconnect) {
          session.stop();
          send = connect();
        } else {
          const m = structuredClone(frame!) as ServerMessage & { sub?: number };
          if (m.sub === 1) m.sub = sub;
          const effects = session.receive(m, now);
          send = pushed(effects);
          const retry = (session as unknown as { retryAt: number }).retryAt;
          if (retry < Infinity) send.push(...pushed(session.tick((now = retry)))); // the vectors know no pause
        }
        expect(send, "send").toEqual(want.send);
        const left = [...state.outbox.entries()].filter((e: Entry) => e.seq === undefined).map((e) => e.id);
        const lock = (session as unknown as { inflight: { e: Entry }[] }).inflight.map((f) => f.e.id);
        expect([...new Set([...lock.filter((id) => want.queue.includes(id)), ...left])].sort(), "queue").toEqual([...want.queue].sort());
        expect([...state.rejected.keys()].filter((id) => !old.has(id)), "rejected").toEqual(want.rejected);
      }
    });
  }
});

describe("codes.json", () => {
  beforeEach(() => void vi.spyOn(Math, "random").mockReturnValue(0)); // no waiting
  afterEach(() => void vi.restoreAllMocks());
  for (const c of cases<{ close?: number; retry?: string }>("codes").filter((one) => one.close !== undefined)) {
    test(c.name, async () => {
      const tokens: string[] = [];
      let opened = 0;
      let end: (e: { code: number; reason: string }) => void = () => {};
      const session = new Session(new State(silent));
      const socket = () => {
        opened++;
        const s = { onopen: null as (() => void) | null, onclose: null as typeof end | null, onmessage: null, send() {}, close() {} };
        end = (e) => s.onclose?.(e);
        queueMicrotask(() => s.onopen?.());
        return s;
      };
      const loop = new Loop(session, { url: "", webSocket: socket, token: (why) => (tokens.push(why), "t") }, { number: async () => ({ client: newId(), n: 1 }), effect() {}, after() {} });
      loop.start();
      await new Promise((resolve) => setTimeout(resolve, 5));
      expect(opened).toBe(1);
      end({ code: c.close!, reason: "" });
      await new Promise((resolve) => setTimeout(resolve, 20));
      expect({ opened, tokens }).toEqual(
        c.retry === "never" ? { opened: 1, tokens: ["connect"] } : { opened: 2, tokens: ["connect", c.retry === "token" ? "unauthorized" : "connect"] },
      );
      loop.stop();
    });
  }
});

describe("json.json", () => {
  for (const c of cases<{ patch?: Text; document?: Text | null; put?: Text; gives?: Text; invalid?: boolean }>("json")) {
    if (c.invalid || (c.patch === undefined && c.put === undefined)) continue;
    test(c.name, () => {
      const parse = (t: Text) => JSON.parse(text(t)!) as Json;
      const gives = parse(c.gives!);
      if (c.put !== undefined) expect(fold(undefined, "put" as Op, parse(c.put))).toEqual(gives);
      else expect(mergePatch(c.document === null || c.document === undefined ? {} : parse(c.document), parse(c.patch!))).toEqual(gives);
    });
  }
});

describe("names.json", () => {
  for (const c of cases<{ text: Text; stream: boolean; reserved?: boolean }>("names")) {
    test(c.name, async () => {
      const name = text(c.text);
      if (name === undefined) return; // no text that a program in this language could have
      const tm = createClient({ url: "ws://nowhere.test", storage: memory(), webSocket: () => ({ send() {}, close() {}, onopen: null, onmessage: null, onclose: null }) });
      if (c.stream) expect(tm.stream(name).name).toBe(name);
      else expect(() => tm.stream(name)).toThrow(Error);
      await tm.close();
    });
  }
});

describe("server-messages.json", () => {
  for (const c of cases<{ frame: Text; malformed?: boolean; ignored?: boolean }>("server-messages")) {
    test(c.name, () => {
      const state = new State(silent);
      const session = new Session(state);
      session.want(new Set([state.replica("docs:room/1")]), 0);
      session.start({ client: newId(), n: 1 }, 0);
      session.receive(welcome(newId()), 0);
      const frame = text(c.frame);
      let m: ServerMessage & { events?: TidemarkEvent[] };
      try {
        m = JSON.parse(frame!);
      } catch {
        return; // the loop ends the connection
      }
      if (c.malformed) return; // a server's mistake: this client trusts what its own server sends, as long as it is JSON
      const effects = session.receive(m, 0);
      expect(effects.some((e) => e.do === "close")).toBe(false);
      if (c.ignored) expect(sent(effects)).toEqual([]);
    });
  }
});
