// Fails when the demo that is committed for the server is not what its source builds.
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildDemo } from "./build.mjs";

const committed = fileURLToPath(new URL("../demo/dist", import.meta.url));
const built = mkdtempSync(join(tmpdir(), "tidemark-demo-"));
await buildDemo(built);
const files = new Set([...readdirSync(committed), ...readdirSync(built)]);
const read = (dir, file) => {
  try {
    return readFileSync(join(dir, file));
  } catch {
    return undefined;
  }
};
const stale = [...files].filter((f) => !read(committed, f) || !read(built, f)?.equals(read(committed, f)));
rmSync(built, { recursive: true });
if (stale.length) {
  console.error(`web/demo/dist is stale (${stale.join(", ")}): run "npm run build" in web/ and commit it`);
  process.exitCode = 1;
}
