// Builds one part: `node tools/build.mjs client|react|demo`. Packages become dist/ with types, the demo one page for the server.
import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const web = fileURLToPath(new URL("..", import.meta.url));
const at = (path) => web + path;
export const target = ["es2022"];

/** A package: one module per entry, what they share in a chunk, types beside. */
export async function buildPackage(name, outdir = at(`${name}/dist`)) {
  const entries = { client: { index: "client/src/index.ts", "testing/index": "client/src/testing/index.ts" }, react: { index: "react/src/index.ts" } }[name];
  rmSync(outdir, { recursive: true, force: true });
  await build({
    entryPoints: Object.fromEntries(Object.entries(entries).map(([out, path]) => [out, at(path)])),
    outdir,
    bundle: true,
    splitting: true,
    format: "esm",
    target,
    external: ["react", "@tidemark/client"],
    logLevel: "warning",
  });
  const project = `${name}/tsconfig.build.json`;
  execFileSync(process.execPath, [at("node_modules/typescript/bin/tsc"), "-p", at(project), "--outDir", outdir], { stdio: "inherit" });
  // Types name their neighbours as their users find them.
  for (const file of readdirSync(outdir, { recursive: true })) {
    if (!file.endsWith(".d.ts")) continue;
    const text = readFileSync(join(outdir, file), "utf8");
    writeFileSync(join(outdir, file), text.replace(/((?:from |import\()"\.[^"]*)\.ts"/g, '$1.js"'));
  }
}

export async function buildDemo(outdir = at("demo/dist")) {
  rmSync(outdir, { recursive: true, force: true });
  mkdirSync(outdir, { recursive: true });
  await build({
    entryPoints: { app: at("demo/src/main.tsx"), style: at("demo/src/style.css") },
    outdir,
    bundle: true,
    minify: true,
    format: "esm",
    target,
    jsx: "automatic",
    legalComments: "none",
    define: { "process.env.NODE_ENV": '"production"' },
    tsconfig: at("tsconfig.json"),
    logLevel: "warning",
  });
  for (const file of ["index.html", "icon.svg"]) cpSync(at("demo/src/" + file), `${outdir}/${file}`);
}

const part = process.argv[1] === fileURLToPath(import.meta.url) ? process.argv[2] : undefined;
if (part === "demo") await buildDemo();
else if (part) await buildPackage(part);
