/** Resolves as soon as the condition holds; rejects with what is the case after a while. */
export async function until(condition: () => boolean, what: () => unknown = () => condition.toString(), ms = 5000): Promise<void> {
  const end = Date.now() + ms;
  while (!condition()) {
    if (Date.now() > end) throw new Error("still not: " + JSON.stringify(what()));
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}
