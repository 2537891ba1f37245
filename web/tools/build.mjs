// Builds one part: `node tools/build.mjs client|react|demo`. Packages become dist/ with types, the demo one page for the server.
import { build } from "esbuild";
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { innerNames } from "./names.mjs";

const web = fileURLToPath(new URL("..", import.meta.url));
const at = (path) => web + path;
export const target = ["es2022"];

/** A package: one module per entry, what they share in a chunk, types beside. Names that only its modules use are short. */
export async function buildPackage(name, outdir = at(`${name}/dist`)) {
  const entries = { client: { index: "client/src/index.ts", "testing/index": "client/src/testing/index.ts" }, react: { index: "react/src/index.ts" } }[name];
  const entryPoints = Object.fromEntries(Object.entries(entries).map(([out, path]) => [out, at(path)]));
  rmSync(outdir, { recursive: true, force: true });
  buildTypes(name, outdir);
  const inner = name === "client" ? await innerNames(entryPoints, outdir) : [];
  await build({
    entryPoints,
    outdir,
    bundle: true,
    splitting: true,
    format: "esm",
    target,
    external: ["react", "@tidemark/client"],
    mangleProps: inner.length ? new RegExp(`^(${inner.join("|")})$`) : undefined,
    tsconfigRaw: { compilerOptions: { useDefineForClassFields: false } }, // a field without a value is no code
    logLevel: "warning",
  });
}

function buildTypes(name, outdir) {
  execFileSync(process.execPath, [at("node_modules/typescript/bin/tsc"), "-p", at(`${name}/tsconfig.build.json`), "--outDir", outdir], { stdio: "inherit" });
  // Types name their neighbours as their users find them.
  for (const file of readdirSync(outdir, { recursive: true })) {
    if (!file.endsWith(".d.ts")) continue;
    const text = readFileSync(join(outdir, file), "utf8");
    writeFileSync(join(outdir, file), text.replace(/((?:from |import\()"\.[^"]*)\.ts"/g, '$1.js"'));
  }
}

/** The demo, with the client as it is published. */
export async function buildDemo(outdir = at("demo/dist")) {
  rmSync(outdir, { recursive: true, force: true });
  mkdirSync(outdir, { recursive: true });
  const client = mkdtempSync(join(tmpdir(), "tidemark-client-"));
  await buildPackage("client", client);
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
    alias: { "@tidemark/client": join(client, "index.js") },
    tsconfig: at("tsconfig.json"),
    logLevel: "warning",
  });
  rmSync(client, { recursive: true });
  for (const file of ["index.html", "icon.svg"]) cpSync(at("demo/src/" + file), `${outdir}/${file}`);
}

const part = process.argv[1] === fileURLToPath(import.meta.url) ? process.argv[2] : undefined;
if (part === "demo") await buildDemo();
else if (part) await buildPackage(part);
