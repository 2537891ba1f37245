/** Any JSON value. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** How an event changes the document at its key. */
export type Op = "put" | "patch" | "delete";

const isObject = (v: unknown): v is Record<string, Json> => typeof v === "object" && v !== null && !Array.isArray(v);

/** RFC 7396. Neither argument is changed; what the patch does not touch is shared with the result. */
export function mergePatch(target: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return patch;
  const out: Record<string, Json> = isObject(target) ? { ...target } : {};
  for (const name of Object.keys(patch)) {
    const value = patch[name]!;
    if (value === null) delete out[name];
    // defineProperty, because assigning to "__proto__" would change the prototype instead of adding a member.
    else Object.defineProperty(out, name, { value: mergePatch(Object.hasOwn(out, name) ? out[name] : undefined, value), configurable: true, enumerable: true, writable: true });
  }
  return out;
}

/** The document after one event: undefined means that there is none. */
export function fold(doc: Json | undefined, op: Op, data: Json | undefined): Json | undefined {
  return op === "put" ? data : op === "patch" ? mergePatch(doc, data ?? {}) : undefined;
}

/** The size of a text on the wire. */
export const utf8Length = (s: string): number => new TextEncoder().encode(s).length;
