import { readFileSync } from "node:fs";

type Piece = string | { repeat: string; times: number } | { hex: string };
export type Text = string | Piece[];

/** The cases of one file of testdata/protocol. */
export function cases<C>(file: string): (C & { name: string })[] {
  return JSON.parse(readFileSync(new URL(`../../../testdata/protocol/${file}.json`, import.meta.url), "utf8")).cases;
}

/** The text of a case; undefined when it is none in Unicode. */
export function text(t: Text): string | undefined {
  if (typeof t === "string") return t;
  const bytes = Buffer.concat(t.map((p) => (typeof p === "string" ? Buffer.from(p) : "hex" in p ? Buffer.from(p.hex, "hex") : Buffer.from(p.repeat.repeat(p.times)))));
  const s = bytes.toString("utf8");
  return Buffer.from(s).equals(bytes) ? s : undefined;
}
