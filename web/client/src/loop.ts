import type { Effect, Session } from "./session.ts";
import { messageOf } from "./errors.ts";
import type { ServerMessage } from "./wire.ts";

/** Why a token is asked for: a new connection, the old token's end is near, or the server refused the last one. */
export type TokenReason = "connect" | "refresh" | "unauthorized";

/** As much of a WebSocket as is used. */
export interface Socket {
  send(text: string): void;
  close(code?: number, reason?: string): void;
  onopen: ((e: never) => void) | null;
  onmessage: ((e: { data: unknown }) => void) | null;
  onclose: ((e: { code: number; reason: string }) => void) | null;
}

export interface LineOptions {
  /** "ws://localhost:8080/v1/ws" */
  url: string;
  /** Asked before every connection, when a token nears its end, and when the server refused one. */
  token?: (why: TokenReason) => string | Promise<string>;
  /** The app's version, for the server's operator. */
  app?: string;
  /** Another maker of sockets: for tests, and where there is no global WebSocket. */
  webSocket?: (url: string, protocol: string) => Socket;
}

export interface Env {
  /** A new number for this connection. Rejects when another tab leads. */
  number(): Promise<{ client: string; n: number }>;
  /** What the loop does not know how to do. Called before the next input. */
  effect(e: Effect): void;
  /** After every input. */
  after(): void;
}

export type Phase = "offline" | "connecting" | "replaying" | "live" | "unauthorized";

/** The connection, as far as the status tells of it. */
export interface Line {
  phase: Phase;
  lastError: { code: string; message: string } | undefined;
  head: number;
}

const PROTOCOL = "tidemark.v1";
const OPEN_WITHIN = 15_000;
const OVERLOADED = 4003;
const BACKOFF = 500;
const BACKOFF_MAX = 30_000;
/** Close codes after which trying again is useless: protocol, forbidden, replaced, upgrade required, frame too large. */
const FINAL = new Set([4400, 4403, 4005, 4426, 1009]);

/** Keeps one session connected: token, socket, timers, backoff. Everything that the protocol says, the session says. */
export class Loop {
  phase: Phase = "offline";
  lastError: { code: string; message: string } | undefined;

  private readonly session: Session;
  private readonly options: LineOptions;
  private readonly env: Env;
  private socket: Socket | undefined;
  private running = false;
  /** Counts attempts, so that what belongs to an older one is told from the present one's. */
  private round = 0;
  private failures = 0;
  private notBefore = 0;
  private why: TokenReason = "connect";
  private timer: ReturnType<typeof setTimeout> | undefined;
  private waiting: ReturnType<typeof setTimeout> | undefined;

  constructor(session: Session, options: LineOptions, env: Env) {
    this.session = session;
    this.options = options;
    this.env = env;
  }

  start(): void {
    if (this.running) return;
    this.running = true;
    this.failures = 0;
    void this.connect();
  }

  stop(): void {
    this.running = false;
    this.hangUp();
    this.phase = "offline";
  }

  /** The network or the page is back: try at once, or see whether the line is still there. */
  poke(): void {
    if (!this.running) return;
    if (this.socket) this.input((now) => this.session.probe(now));
    else if (this.waiting && Date.now() >= this.notBefore) void this.connect();
  }

  /** Gives the session an input, and carries out its effects. */
  input(step: (now: number) => Effect[]): void {
    for (const e of step(Date.now())) {
      if (e.do === "send") this.socket?.send(e.text);
      else if (e.do === "token") void this.refresh();
      else if (e.do === "close") this.lost(4000, e.why);
      else {
        if (e.do === "welcome") {
          this.failures = 0;
          this.why = "connect";
        }
        if (e.do === "goodbye") this.notBefore = Date.now() + e.after;
        if (e.do === "error") this.lastError = { code: e.code, message: e.message };
        this.env.effect(e);
      }
    }
    if (this.session.phase) this.phase = this.session.phase;
    this.schedule();
    this.env.after();
  }

  private async connect() {
    this.hangUp();
    const round = this.round;
    const mine = () => this.running && round === this.round;
    if (this.why !== "unauthorized") this.phase = "connecting";
    this.env.after();
    let trouble: Phase = "unauthorized";
    try {
      const token = await this.options.token?.(this.why);
      if (!mine()) return;
      trouble = "offline";
      const hello = await this.env.number();
      if (mine()) this.open({ ...hello, token, app: this.options.app });
    } catch (e) {
      if (mine()) this.again(trouble, messageOf(e), trouble);
    }
  }

  private open(hello: { client: string; n: number; token?: string; app?: string }) {
    const { url, webSocket } = this.options;
    const socket = (this.socket = webSocket ? webSocket(url, PROTOCOL) : (new WebSocket(url, PROTOCOL) as Socket));
    this.timer = setTimeout(() => this.lost(4000, "no connection within 15 s"), OPEN_WITHIN);
    socket.onopen = () => this.input((now) => this.session.start(hello, now));
    socket.onclose = (e) => this.lost(e.code, e.reason);
    socket.onmessage = (e) => {
      let m: ServerMessage;
      try {
        m = JSON.parse(e.data as string);
      } catch {
        return this.lost(4000, "not JSON");
      }
      this.input((now) => this.session.receive(m, now));
    };
  }

  private lost(code: number, reason: string) {
    if (code === 4401) {
      // At once with a new token, if the old one was good before; else as after any other failure.
      const first = this.why !== "unauthorized";
      this.why = "unauthorized";
      return this.again("unauthorized", reason, "unauthorized", first ? 0 : undefined);
    }
    this.why = "connect";
    if (code === OVERLOADED) this.failures = Math.max(this.failures, 3);
    this.again(String(code), reason);
    if (!FINAL.has(code)) return;
    clearTimeout(this.waiting);
    this.running = false;
    this.env.after();
  }

  /** Full jitter: many clients that lost the same server must not come back as one. */
  private again(code: string, message: string, phase: Phase = "offline", delay = Math.random() * Math.min(BACKOFF_MAX, BACKOFF * 2 ** this.failures)) {
    this.hangUp();
    this.failures++;
    this.phase = phase;
    if (message || code !== "1005") this.lastError = { code, message };
    this.waiting = setTimeout(() => void this.connect(), Math.max(delay, this.notBefore - Date.now()));
    this.env.after();
  }

  private async refresh() {
    const round = this.round;
    try {
      const token = await this.options.token?.("refresh");
      if (token !== undefined && round === this.round) this.input((now) => this.session.reauth(token, now));
    } catch {
      // the server ends the connection when the old token ends; then it is asked for again
    }
  }

  private schedule() {
    if (this.session.wake === Infinity) return; // not open yet: the timer is that of the opening
    clearTimeout(this.timer);
    const wait = Math.min(2 ** 31 - 1, Math.max(0, this.session.wake - Date.now()));
    this.timer = setTimeout(() => this.input((now) => this.session.tick(now)), wait);
  }

  private hangUp() {
    this.round++;
    clearTimeout(this.timer);
    clearTimeout(this.waiting);
    this.waiting = undefined;
    const socket = this.socket;
    this.socket = undefined;
    this.session.stop();
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close(1000);
  }
}
