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
  /** I lead since `epoch`, and have committed up to `rev`. */
  | { t: "lead"; rev: number; epoch: number }
  /** What the leading tab did, in the order of `rev`. */
  | { t: "did"; rev: number; changes: Change[] }
  /** There are new mutations in the storage, or here, when they could not be stored. */
  | { t: "added"; rows: Unplaced[] }
  | ({ t: "line" } & Line)
  | { t: "effect"; e: Effect }
  | { t: "signal" | "presence"; stream: string; data: Json }
  | { t: "rejected" | "poke" | "connect" };

/** Is the leading tab awake? Yes. */
type Beat = { t: "beat" | "awake" };

const BEAT = 200; // ms between two questions
const SILENT = 3; // so many without an answer: it sleeps, though nobody told it to

export interface TabsListener {
  lead(): void;
  /** This tab slept or hung for so long that another one took the lead from it. */
  robbed(): void;
  /** Another tab is gone; what it wrote last is in the storage. */
  died(tab: string): void;
  note(from: string, n: Note): void;
}

/**
 * The tabs that share one storage: who leads (Web Locks), and how they talk (BroadcastChannel). Where there is nothing to share, the
 * tab leads. A lead moves when its tab gives the lock back (it freezes), when the browser does (it is closed, crashed, discarded), or
 * when a tab that the user sees takes it, because the leading one does not answer: then it sleeps without having been told.
 */
export class Tabs {
  private id = "";
  private readonly name: string | undefined;
  private readonly on: TabsListener;
  private channel: BroadcastChannel | undefined;
  private locks = new AbortController();
  private leads = false;
  private beat: ReturnType<typeof setInterval> | undefined;
  private unanswered = 0;

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
    this.channel.onmessage = (e) => this.hear(e.data.from, e.data.note);
    // As long as this lock is held the tab is alive; who gets it knows that the tab is gone.
    this.hold(this.name + "/" + this.id, joined);
    this.elect(false);
    this.unanswered = 0;
    this.beat = setInterval(() => this.look(), BEAT);
  }

  /** Gives the lead back, and leaves. For pages that freeze, too: so it is all done when this returns. */
  stop(): void {
    this.leads = false;
    clearInterval(this.beat);
    this.locks.abort();
    this.channel?.close();
    this.channel = undefined;
  }

  send(note: Note | Beat): void {
    this.channel?.postMessage({ from: this.id, note });
  }

  watch(tab: string): void {
    const { signal } = this.locks;
    navigator.locks.request(this.name + "/" + tab, { signal }, () => {
      if (!signal.aborted) this.on.died(tab);
    }).catch(() => undefined);
  }

  private hear(from: string, note: Note | Beat) {
    if (note.t === "awake") this.unanswered = 0;
    else if (note.t !== "beat") this.on.note(from, note as Note);
    else if (this.leads) this.send({ t: "awake" });
  }

  /** Asks whether the leading tab is awake. In hidden tabs nobody waits, and their timers are slow. */
  private look() {
    if (this.leads || (typeof document !== "undefined" && document.visibilityState === "hidden")) this.unanswered = 0;
    else if (this.unanswered++ < SILENT) this.send({ t: "beat" });
    else {
      this.unanswered = 0;
      this.elect(true);
    }
  }

  private elect(steal: boolean) {
    const granted = () => {
      this.leads = true;
      this.send({ t: "awake" });
      this.on.lead();
    };
    this.hold(this.name!, granted, () => this.on.robbed(), steal);
  }

  private hold(name: string, granted: () => void, taken = () => {}, steal = false) {
    const { signal } = this.locks;
    let mine = false;
    const held = () =>
      new Promise<void>((release) => {
        signal.addEventListener("abort", () => release());
        mine = !signal.aborted;
        if (mine) granted();
        else release();
      });
    navigator.locks.request(name, steal ? { steal } : { signal }, held).catch(() => {
      if (mine && !signal.aborted) taken();
    });
  }
}
