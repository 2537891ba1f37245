import type { SharedStorage, Unplaced, Write } from "./storage.ts";

interface Job<In, Out> {
  items: In[];
  resolve: (out: Out[]) => void;
  reject: (e: unknown) => void;
}

/** Runs jobs one after another; those that came while one ran share the next run. */
class Lane<In, Out> {
  private jobs: Job<In, Out>[] = [];
  private running: Promise<void> | undefined;
  private readonly run: (items: In[]) => Promise<Out[]>;

  constructor(run: (items: In[]) => Promise<Out[]>) {
    this.run = run;
  }

  add(items: In[]): Promise<Out[]> {
    const result = new Promise<Out[]>((resolve, reject) => this.jobs.push({ items, resolve, reject }));
    this.running ??= this.work();
    return result;
  }

  idle(): Promise<void> {
    return this.running ?? Promise.resolve();
  }

  private async work() {
    await undefined; // whatever the same task still adds belongs to the first run
    while (this.jobs.length) {
      const jobs = this.jobs;
      this.jobs = [];
      try {
        const out = await this.run(jobs.flatMap((j) => j.items));
        let i = 0;
        for (const j of jobs) j.resolve(out.slice(i, (i += j.items.length)));
      } catch (e) {
        for (const j of jobs) j.reject(e);
      }
    }
    this.running = undefined;
  }
}

/** Group commit in front of a storage: new mutations in one lane, what the leading tab confirms in the other. */
export class Saver {
  private readonly appends: Lane<Unplaced, number>;
  private readonly commits: Lane<Write, void>;
  /** The lead that commits are made under. */
  fence: number | undefined;

  constructor(storage: SharedStorage) {
    this.appends = new Lane((rows) => storage.append(rows));
    this.commits = new Lane<Write, void>(async (writes) => {
      await storage.commit(writes, this.fence);
      return [];
    });
  }

  /** Resolves with the place of the mutation when it is on disk. */
  async append(row: Unplaced): Promise<number> {
    return (await this.appends.add([row]))[0]!;
  }

  async commit(writes: Write[]): Promise<void> {
    await this.commits.add(writes);
  }

  async idle(): Promise<void> {
    await Promise.all([this.appends.idle(), this.commits.idle()]);
  }
}
