interface Job<In, Out> {
  items: In[];
  resolve: (out: Out[]) => void;
  reject: (e: unknown) => void;
}

export interface Lane<In, Out> {
  add(items: In[]): Promise<Out[]>;
  /** Resolves when all is done. */
  idle(): Promise<void> | undefined;
}

/** Group commit: runs jobs one after another; those that came while one ran share the next run. */
export function lane<In, Out>(run: (items: In[]) => Promise<Out[]>): Lane<In, Out> {
  let jobs: Job<In, Out>[] = [];
  let running: Promise<void> | undefined;

  async function work() {
    await undefined; // whatever the same task still adds belongs to the first run
    while (jobs.length) {
      const now = jobs;
      jobs = [];
      try {
        const out = await run(now.flatMap((job) => job.items));
        let i = 0;
        for (const job of now) job.resolve(out.slice(i, (i += job.items.length)));
      } catch (e) {
        for (const job of now) job.reject(e);
      }
    }
    running = undefined;
  }

  return {
    add: (items) =>
      new Promise((resolve, reject) => {
        jobs.push({ items, resolve, reject });
        running ??= work();
      }),
    idle: () => running,
  };
}
