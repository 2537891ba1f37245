interface Request {
  turn(): void;
  holds: boolean;
  rob?(): void;
}

/** Web Locks as far as tabs use them: exclusive, first come first served, with a signal for the waiting, and stealing. */
export function fakeLocks(): LockManager & { stolen: string[] } {
  const queues = new Map<string, Request[]>();
  const stolen: string[] = [];
  const grant = (r: Request) => {
    r.holds = true;
    setTimeout(() => r.turn());
  };
  const leave = (queue: Request[], r: Request) => {
    const i = queue.indexOf(r);
    if (i < 0) return; // it was robbed
    queue.splice(i, 1);
    if (r.holds && queue[0]) grant(queue[0]);
  };
  const request = async (name: string, { signal, steal }: { signal?: AbortSignal; steal?: boolean }, fn: () => Promise<unknown>) => {
    if (signal && steal) throw new DOMException("a signal cannot be used with steal", "NotSupportedError");
    const queue = queues.get(name) ?? [];
    queues.set(name, queue);
    const r: Request = { turn: () => undefined, holds: false };
    const robbed = new Promise<never>((_, reject) => (r.rob = () => reject(new DOMException("stolen", "AbortError"))));
    robbed.catch(() => undefined);
    await new Promise<void>((resolve, reject) => {
      const give = () => {
        leave(queue, r);
        reject(new DOMException("aborted", "AbortError"));
      };
      r.turn = () => {
        signal?.removeEventListener("abort", give);
        resolve();
      };
      signal?.addEventListener("abort", give);
      if (!steal) return void (queue.push(r) === 1 && grant(r));
      stolen.push(name);
      if (queue[0]?.holds) queue.shift()!.rob!();
      queue.unshift(r);
      grant(r);
    });
    try {
      return await Promise.race([fn(), robbed]);
    } finally {
      leave(queue, r);
    }
  };
  return { request, stolen } as unknown as LockManager & { stolen: string[] };
}
