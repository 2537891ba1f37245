import { newId } from "./ids.ts";
import type { Change } from "./steps.ts";
import type { Effect } from "./session.ts";
import type { Json } from "./json.ts";
import type { Unplaced } from "./storage.ts";
import type { Line } from "./loop.ts";

/** What tabs of one browser tell each other. */
export type Note =
  /** A tab is here, and needs these replicas. */
  | { t: "hi"; wants: string[] }
  /** I lead, and have committed up to `rev`. */
  | { t: "lead"; rev: number }
  /** What the leading tab did, in the order of `rev`. */
  | { t: "did"; rev: number; changes: Change[] }
  /** There are new mutations in the storage, or here, when they could not be stored. */
  | { t: "added"; rows: Unplaced[] }
  | ({ t: "line" } & Line)
  | { t: "effect"; e: Effect }
  | { t: "signal" | "presence"; stream: string; data: Json }
  | { t: "connect"; on: boolean }
  | { t: "rejected" | "poke" };

export interface TabsListener {
  lead(): void;
  /** Another tab is gone; what it wrote last is in the storage. */
  died(tab: string): void;
  note(from: string, n: Note): void;
}

/** The tabs that share one storage: who leads (Web Locks), and how they talk (BroadcastChannel). Where there is nothing to share, the tab leads. */
export class Tabs {
  private id = "";
  private readonly name: string | undefined;
  private readonly on: TabsListener;
  private channel: BroadcastChannel | undefined;
  private locks = new AbortController();

  constructor(name: string | undefined, on: TabsListener) {
    this.on = on;
    const able = name !== undefined && typeof BroadcastChannel !== "undefined" && typeof navigator !== "undefined" && navigator.locks !== undefined;
    this.name = able ? "tidemark/" + name : undefined;
  }

  /** Joins the others, and waits for the lead. `joined` is called once they can hear this tab. */
  start(joined: () => void): void {
    if (!this.name) return this.on.lead();
    this.stop();
    this.locks = new AbortController();
    this.id = newId();
    this.channel = new BroadcastChannel(this.name);
    this.channel.onmessage = (e) => this.on.note(e.data.from, e.data.note);
    // As long as this lock is held the tab is alive; who gets it knows that the tab is gone.
    this.hold(this.name + "/" + this.id, joined);
    this.hold(this.name, () => this.on.lead());
  }

  /** Gives the lead back, and leaves. For pages that freeze, too: so it is all done when this returns. */
  stop(): void {
    this.locks.abort();
    this.channel?.close();
    this.channel = undefined;
  }

  send(note: Note): void {
    this.channel?.postMessage({ from: this.id, note });
  }

  watch(tab: string): void {
    const { signal } = this.locks;
    navigator.locks.request(this.name + "/" + tab, { signal }, () => {
      if (!signal.aborted) this.on.died(tab);
    }).catch(() => undefined);
  }

  private hold(name: string, granted: () => void) {
    const { signal } = this.locks;
    const held = () =>
      new Promise<void>((release) => {
        signal.addEventListener("abort", () => release());
        if (signal.aborted) release();
        else granted();
      });
    navigator.locks.request(name, { signal }, held).catch(() => undefined);
  }
}
