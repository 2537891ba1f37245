import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Loop, type LineOptions, type Socket } from "../src/loop.ts";
import { Session } from "../src/session.ts";
import { State } from "../src/state.ts";

const silent = { reader: () => undefined, events() {}, verdict() {}, rejected() {} };

/** A loop whose server the test plays. */
function world(options: Partial<LineOptions> = {}) {
  const sockets: (Socket & { sent: { type: string }[]; closed: boolean })[] = [];
  const session = new Session(new State(silent));
  const webSocket = () => {
    const s = { onopen: null, onmessage: null, onclose: null, sent: [] as { type: string }[], closed: false, send: (text: string) => void s.sent.push(JSON.parse(text)), close: () => void (s.closed = true) };
    sockets.push(s);
    return s;
  };
  const number = async () => ({ client: "c", n: sockets.length + 1 });
  const loop = new Loop(session, { url: "", webSocket, ...options }, { number, effect() {}, after() {} });
  const last = () => sockets[sockets.length - 1]!;
  const say = (m: object) => last().onmessage!({ data: JSON.stringify(m) });
  return { loop, session, sockets, last, say, async welcome(extra = {}) {
    await vi.advanceTimersByTimeAsync(0);
    last().onopen!(undefined as never);
    say({ type: "welcome", log: "l", session: "s", head: 0, heartbeat_ms: 25_000, ...extra });
  } };
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

test("backs off, doubling to 30 s, and starts low again after a welcome", async () => {
  const w = world();
  w.loop.start();
  await vi.advanceTimersByTimeAsync(0);
  for (const wait of [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    const n = w.sockets.length;
    w.last().onclose!({ code: 1006, reason: "" });
    expect(w.loop.phase).toBe("offline");
    await vi.advanceTimersByTimeAsync(wait - 1);
    expect(w.sockets).toHaveLength(n);
    await vi.advanceTimersByTimeAsync(1);
    expect(w.sockets).toHaveLength(n + 1);
  }
  await w.welcome();
  expect(w.loop.phase).toBe("live");
  w.last().onclose!({ code: 1006, reason: "" });
  const n = w.sockets.length;
  await vi.advanceTimersByTimeAsync(500);
  expect(w.sockets).toHaveLength(n + 1);
  w.loop.stop();
});

test("tries at once when the network is back, but not before the time a goodbye named", async () => {
  const w = world();
  w.loop.start();
  await w.welcome();
  w.say({ type: "goodbye", reason: "shutdown", reconnect_after_ms: 3000 });
  w.last().onclose!({ code: 1001, reason: "" });
  w.loop.poke();
  await vi.advanceTimersByTimeAsync(2999);
  expect(w.sockets).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(w.sockets).toHaveLength(2);
  w.last().onclose!({ code: 1006, reason: "" });
  w.loop.poke();
  await vi.advanceTimersByTimeAsync(0);
  expect(w.sockets).toHaveLength(3);
  w.loop.stop();
});

test("a half-dead line is noticed: a ping after the heartbeat, a new line 10 s later", async () => {
  const w = world();
  w.loop.start();
  await w.welcome();
  await vi.advanceTimersByTimeAsync(25_000);
  expect(w.last().sent.map((m) => m.type)).toEqual(["hello", "ping"]);
  w.say({ type: "pong", head: 7, seq: 7 });
  await vi.advanceTimersByTimeAsync(34_999);
  expect(w.sockets[0]!.closed).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(w.sockets[0]!.closed).toBe(true);
  expect(w.loop.lastError?.message).toBe("silent");
  await vi.advanceTimersByTimeAsync(500);
  expect(w.sockets).toHaveLength(2);
  w.loop.stop();
});

test("a socket that never opens, and a hello that is never answered", async () => {
  const w = world();
  w.loop.start();
  await vi.advanceTimersByTimeAsync(1000);
  w.loop.input((now) => w.session.queue([], now)); // what the app writes meanwhile does not prolong it
  await vi.advanceTimersByTimeAsync(14_000);
  expect(w.sockets[0]!.closed).toBe(true);
  await vi.advanceTimersByTimeAsync(500);
  w.last().onopen!(undefined as never);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(w.sockets[1]!.closed).toBe(true);
  w.loop.stop();
});

test("asks for a token for each connection, in place before the end, and after a refusal", async () => {
  const asked: string[] = [];
  const w = world({ token: (why) => (asked.push(why), "token " + asked.length) });
  w.loop.start();
  await w.welcome({ expires_at: Date.now() + 600_000 });
  expect(w.last().sent[0]).toMatchObject({ type: "hello", token: "token 1" });
  for (let i = 0; i < 27; i++) {
    await vi.advanceTimersByTimeAsync(20_000);
    w.say({ type: "pong", head: 0, seq: 0 });
  }
  expect(asked).toEqual(["connect", "refresh"]);
  expect(w.last().sent.filter((m) => m.type === "auth")).toEqual([{ type: "auth", token: "token 2" }]);
  w.say({ type: "authenticated", expires_at: Date.now() + 1000 });
  w.last().onclose!({ code: 4401, reason: "token expired" });
  expect(w.loop.phase).toBe("unauthorized");
  await vi.advanceTimersByTimeAsync(0);
  expect(asked).toEqual(["connect", "refresh", "unauthorized"]);
  const n = w.sockets.length;
  w.last().onclose!({ code: 4401, reason: "still bad" });
  await vi.advanceTimersByTimeAsync(999);
  expect(w.sockets).toHaveLength(n); // not in a loop
  w.loop.stop();
});

test("an app that cannot give a token is asked again later", async () => {
  let fail = true;
  const w = world({ token: () => (fail ? Promise.reject(new Error("signed out")) : "t") });
  w.loop.start();
  await vi.advanceTimersByTimeAsync(0);
  expect([w.loop.phase, w.loop.lastError?.message, w.sockets.length]).toEqual(["unauthorized", "signed out", 0]);
  fail = false;
  await vi.advanceTimersByTimeAsync(500);
  expect(w.sockets).toHaveLength(1);
  w.loop.stop();
});
