/** Web Locks as far as tabs use them: exclusive, first come first served, with a signal for the waiting. */
export function fakeLocks(): LockManager {
  const queues = new Map<string, (() => void)[]>();
  const request = async (name: string, { signal }: { signal?: AbortSignal }, fn: () => Promise<unknown>) => {
    const queue = queues.get(name) ?? [];
    queues.set(name, queue);
    await new Promise<void>((resolve, reject) => {
      const turn = () => {
        signal?.removeEventListener("abort", give);
        resolve();
      };
      const give = () => {
        const i = queue.indexOf(turn);
        queue.splice(i, 1);
        if (i === 0 && queue[0]) setTimeout(queue[0]); // its turn was on the way
        reject(new DOMException("aborted", "AbortError"));
      };
      queue.push(turn);
      if (queue.length === 1) setTimeout(turn);
      signal?.addEventListener("abort", give);
    });
    try {
      return await fn();
    } finally {
      queue.shift();
      if (queue[0]) setTimeout(queue[0]);
    }
  };
  return { request } as unknown as LockManager;
}
