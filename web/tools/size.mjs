// The size of what an app loads: the built package, bundled and minified as an app would, then gzip. Fails above the limits.
import { build } from "esbuild";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { buildPackage, target } from "./build.mjs";

const dist = mkdtempSync(join(tmpdir(), "tidemark-size-"));
await buildPackage("client", dist);
const react = fileURLToPath(new URL("../react/src/index.ts", import.meta.url));
const cases = [
  { what: "the core: createClient, memory", code: 'export { createClient, memory } from "./index.js"', limit: 10 },
  { what: "what most apps load: createClient, indexedDB (with tabs and recovery)", code: 'export { createClient, indexedDB } from "./index.js"', limit: 14.75 },
  { what: "all of it", code: 'export * from "./index.js"', limit: 15 },
  { what: "the React hooks", code: `export * from "${react}"`, limit: 0.5 },
];
for (const { what, code, limit } of cases) {
  const { outputFiles } = await build({ stdin: { contents: code, resolveDir: dist }, bundle: true, minify: true, format: "esm", target, write: false, external: ["react", "@tidemark/client"], tsconfigRaw: {} });
  const size = gzipSync(outputFiles[0].contents, { level: 9 }).length / 1024;
  if (size > limit) process.exitCode = 1;
  console.log(`${size > limit ? "FAIL" : "ok  "} ${size.toFixed(2)} KB of ${limit}  ${what}`);
}
rmSync(dist, { recursive: true });
