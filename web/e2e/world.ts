import { spawn, type ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer as createHttp, type Server as HttpServer } from "node:http";
import { connect, createServer as createTcp, type AddressInfo, type Server as TcpServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";
import { afterAll, afterEach, beforeEach, expect } from "vitest";
import type { Harness } from "./harness.ts";
import { out } from "./paths.ts";

export type State = ReturnType<Harness["state"]>;

const installed = (...names: string[]) => process.env.CHROMIUM ?? names.map((name) => "/usr/bin/" + name).find(existsSync) ?? "chromium";
const chrome = installed("chromium", "chromium-browser");
/** The same engine without a window system, if it is there: a page of it costs a third. */
const shell = installed("chromium-headless-shell", "chromium", "chromium-browser");
const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export async function until<T>(look: () => Promise<T | false | undefined> | T | false | undefined, what: () => unknown = () => look.toString(), ms = 30_000): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const v = await look();
    if (v) return v;
    if (Date.now() > end) throw new Error("still not: " + JSON.stringify(await what()));
    await pause(20);
  }
}
export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

export function rng(seed: number) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** kill -9, and gone when this resolves. */
async function end(p: ChildProcess) {
  if (p.exitCode !== null || p.signalCode !== null) return;
  const gone = new Promise((resolve) => p.once("exit", resolve));
  p.kill("SIGKILL");
  await gone;
}

async function freePort(): Promise<number> {
  const s = createTcp().listen(0, "127.0.0.1");
  await new Promise((resolve) => s.once("listening", resolve));
  const { port } = s.address() as AddressInfo;
  await new Promise((resolve) => s.close(resolve));
  return port;
}

/** A real server, pages in a real browser, and everything that can come between them. */
export class World {
  browser!: Browser;
  private pages!: HttpServer;
  private readonly dir = mkdtempSync(join(tmpdir(), "tidemark-e2e-"));
  private process: ChildProcess | undefined;
  private data = "data";
  private port = 0;
  origin = "";
  private proxy: Proxy | undefined;
  private readonly processes: ChildProcess[] = [];

  /** One world for the tests of a file: each has a server on a new data file, and leaves nothing to the next one. */
  static async forTests(): Promise<World> {
    const w = await World.open();
    let n = 0;
    beforeEach(() => w.serve("data" + ++n));
    afterEach(() => w.clear());
    afterAll(() => w.close());
    return w;
  }
  static async open(): Promise<World> {
    const w = new World();
    w.port = await freePort();
    w.pages = createHttp((req, res) => {
      const script = req.url === "/harness.js";
      res.setHeader("Content-Type", script ? "text/javascript" : "text/html");
      res.end(script ? readFileSync(out + "harness.js") : `<!doctype html><script type="module" src="harness.js"></script>`);
    }).listen(0, "127.0.0.1");
    await new Promise((resolve) => w.pages.once("listening", resolve));
    w.origin = `http://127.0.0.1:${(w.pages.address() as AddressInfo).port}`;
    w.browser = await chromium.launch({ executablePath: shell, args: flags });
    return w;
  }

  /** Ends all that a test began, so that one that failed half-way does not fail the next ones. */
  async clear() {
    for (const c of this.browser.contexts()) await c.close();
    for (const p of this.processes.splice(0)) await end(p);
    this.proxy?.close();
    this.proxy = undefined;
    await this.kill();
  }
  async close() {
    await this.clear();
    await this.browser.close();
    this.pages.close();
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }

  get url() {
    return `ws://127.0.0.1:${this.proxy?.port ?? this.port}/v1/ws`;
  }
  /** Past the proxy, if there is one. */
  get direct() {
    return `ws://127.0.0.1:${this.port}/v1/ws`;
  }
  get http() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts the server on a data file: without a name, on the one it had. */
  async serve(name = this.data, binary: "tidemark" | "authserver" = "tidemark") {
    this.data = name;
    const common = [`${binary === "tidemark" ? "--" : "-"}listen=127.0.0.1:${this.port}`, `${binary === "tidemark" ? "--" : "-"}data=${join(this.dir, name)}`, `${binary === "tidemark" ? "--" : "-"}origin=${this.origin}`];
    const p = (this.process = spawn(out + binary, binary === "tidemark" ? ["serve", ...common] : common, { stdio: ["ignore", "ignore", "pipe"] }));
    let log = "";
    p.stderr!.on("data", (d) => (log += d));
    await until(() => new Promise<boolean>((resolve) => {
      if (p.exitCode !== null) throw new Error("the server ended: " + log);
      const s = connect(this.port, "127.0.0.1", () => (s.destroy(), resolve(true)));
      s.on("error", () => resolve(false));
    }));
  }
  /** kill -9 */
  async kill() {
    if (this.process) await end(this.process);
    this.process = undefined;
  }
  /** From now on, until the test ends, there is a proxy between pages and server. */
  async between(): Promise<Proxy> {
    this.proxy ??= await Proxy.open(this.port);
    return this.proxy;
  }

  /** A profile of a whole browser, on disk, that really hides and freezes pages: Playwright's own keeps all of them in the foreground. */
  async realProfile(name: string): Promise<{ context: BrowserContext; crash(): Promise<void> }> {
    const dir = join(this.dir, name);
    const p = spawn(chrome, ["--headless", "--remote-debugging-port=0", "--user-data-dir=" + dir, ...flags, "about:blank"], { stdio: ["ignore", "ignore", "pipe"] });
    this.processes.push(p);
    let log = "";
    p.stderr!.on("data", (d) => (log += d));
    const endpoint = await until(() => /DevTools listening on (\S+)/.exec(log)?.[1], () => log);
    const browser = await chromium.connectOverCDP(endpoint, { noDefaults: true });
    return { context: browser.contexts()[0]!, crash: () => end(p) };
  }
  profile(): Promise<BrowserContext> {
    return this.browser.newContext();
  }
  /** A tab in a profile, with a client. A patient one never steals a lead, however slow the machine and the one that leads. */
  async tab(profile: BrowserContext, { patient = false, ...options }: Partial<Parameters<Harness["start"]>[0]> & { patient?: boolean } = {}): Promise<Tab> {
    const page = await profile.newPage();
    const tab = new Tab(page);
    await page.exposeFunction("saved", (id: string) => tab.saved.add(id));
    await page.addInitScript(watchPage, patient);
    await page.goto(this.origin + "/");
    await page.waitForFunction(() => "t" in globalThis);
    await page.evaluate((o) => t.start(o), { url: this.url, db: "app", ...options });
    return tab;
  }
  /** What the server has, as a fresh client sees it. */
  async truth(): Promise<State> {
    const profile = await this.profile();
    const tab = await this.tab(profile, { db: undefined, url: this.direct });
    await tab.live();
    const state = await tab.state();
    await profile.close();
    return state;
  }
  /** All are live with nothing pending, and show what the server has: every id once. */
  async agree(tabs: Tab[], ids?: Iterable<string>) {
    for (const tab of tabs) await tab.calm();
    const truth = await this.truth();
    for (const tab of tabs) {
      await until(async () => JSON.stringify((await tab.state()).docs) === JSON.stringify(truth.docs), async () => [(await tab.state()).docs, truth.docs]);
      expect((await tab.state()).said).toEqual(truth.said);
    }
    expect(new Set(truth.said).size, "an event is doubled").toBe(truth.said.length);
    if (ids) expect([...truth.said].sort()).toEqual([...new Set(ids)].sort());
    return truth;
  }
}

/** Notes how the page came to its lead, and what it asked the browser for. */
function watchPage(patient: boolean) {
  const paths = ((window as unknown as { paths: string[] }).paths = []) as string[];
  const { locks, storage } = navigator;
  const request = locks.request.bind(locks) as (name: string, options: LockOptions, fn: (lock: unknown) => unknown) => Promise<unknown>;
  locks.request = ((name: string, options: LockOptions, fn: (lock: unknown) => unknown) => {
    if (options.steal && patient) return new Promise(() => undefined);
    return request(name, options, (lock) => {
      if (name.split("/").length === 2) paths.push(options.steal ? "stolen" : "given");
      return fn(lock);
    });
  }) as typeof locks.request;
  const persist = storage.persist.bind(storage);
  storage.persist = () => {
    paths.push("persist");
    return persist();
  };
}

declare const t: Harness;

export class Tab {
  readonly page: Page;
  readonly saved = new Set<string>();
  constructor(page: Page) {
    this.page = page;
  }
  state(): Promise<State> {
    return this.page.evaluate(() => t.state());
  }
  put(key: string, data: unknown): Promise<string> {
    return this.page.evaluate(([k, d]) => t.put(k as string, d as never), [key, data]);
  }
  patch(key: string, data: unknown): Promise<string> {
    return this.page.evaluate(([k, d]) => t.patch(k as string, d as never), [key, data]);
  }
  live() {
    return until(async () => (await this.state()).status.phase === "live", () => this.state());
  }
  calm() {
    return until(async () => {
      const { status } = await this.state();
      return status.phase === "live" && status.pending === 0;
    }, () => this.state());
  }
  leads() {
    return until(async () => (await this.state()).status.leader, () => this.state());
  }
  /** Each lead that this tab got: "given" by the one before or by the browser, or "stolen" from one that did not answer. */
  async paths(): Promise<string[]> {
    return (await this.page.evaluate(() => (window as unknown as { paths: string[] }).paths)).filter((p) => p !== "persist");
  }
  async asked(): Promise<number> {
    return (await this.page.evaluate(() => (window as unknown as { paths: string[] }).paths)).filter((p) => p === "persist").length;
  }
}

/** A line that breaks: after a number of bytes, at any place of a frame, or by hand. */
export class Proxy {
  /** Bytes after which each next connection is cut; undefined: never. */
  budget: (() => number) | undefined;
  cuts = 0;
  /** What the server says does not arrive, though it hears. */
  deaf = false;
  private readonly server: TcpServer;
  private readonly open = new Set<Socket>();

  private constructor(server: TcpServer, target: number) {
    this.server = server;
    server.on("connection", (near) => {
      const far = connect(target, "127.0.0.1");
      let left = this.budget?.() ?? Infinity;
      this.open.add(near);
      const end = () => {
        near.destroy();
        far.destroy();
        this.open.delete(near);
      };
      const pass = (to: Socket) => (data: Buffer) => {
        if (this.deaf && to === near) return;
        if (left === Infinity) return void to.write(data);
        to.write(data.subarray(0, left));
        left -= data.length;
        if (left > 0) return;
        this.cuts++;
        to.end(end);
        left = 0;
      };
      near.on("data", pass(far)).on("error", end).on("close", end);
      far.on("data", pass(near)).on("error", end).on("close", end);
    });
  }
  static async open(target: number): Promise<Proxy> {
    const server = createTcp();
    const p = new Proxy(server, target);
    server.listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    return p;
  }
  get port() {
    return (this.server.address() as AddressInfo).port;
  }
  cut() {
    for (const s of this.open) s.destroy();
  }
  close() {
    this.server.close();
    this.cut();
  }
}
