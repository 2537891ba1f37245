// The size of what an app loads: minified by esbuild, then gzip. Fails above the limits.
import { build } from "esbuild";
import { gzipSync } from "node:zlib";
import { fileURLToPath } from "node:url";
import { target } from "./build.mjs";

const dir = fileURLToPath(new URL("..", import.meta.url));
const cases = [
  { what: "createClient, memory", code: 'export { createClient, memory } from "./client/src/index.ts"', limit: 15 },
  { what: "everything: with indexedDB and tabs", code: 'export * from "./client/src/index.ts"', limit: 16.2 },
  { what: "the React hooks", code: 'export * from "./react/src/index.ts"', limit: 0.8 },
];
let failed = false;
for (const { what, code, limit } of cases) {
  const { outputFiles } = await build({ stdin: { contents: code, resolveDir: dir, loader: "ts" }, bundle: true, minify: true, format: "esm", target, write: false, external: ["react", "@tidemark/client"], tsconfigRaw: {} });
  const size = gzipSync(outputFiles[0].contents, { level: 9 }).length / 1024;
  const good = size <= limit;
  failed ||= !good;
  console.log(`${good ? "ok  " : "FAIL"} ${size.toFixed(2)} KB of ${limit}  ${what}`);
}
process.exitCode = failed ? 1 : 0;
