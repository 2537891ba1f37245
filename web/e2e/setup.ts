import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { build } from "esbuild";
import { out, web } from "./paths.ts";

/** Builds once what the tests run: the server, the one with tokens, and the page. */
export async function setup() {
  mkdirSync(out, { recursive: true });
  const repo = web + "..";
  execFileSync("go", ["build", "-o", out + "tidemark", "."], { cwd: repo, stdio: "inherit" });
  execFileSync("go", ["build", "-o", out + "authserver", "./web/e2e/authserver"], { cwd: repo, stdio: "inherit" });
  await build({ entryPoints: [web + "e2e/harness.ts"], bundle: true, format: "esm", target: "es2022", outfile: out + "harness.js", tsconfig: web + "tsconfig.json", logLevel: "warning" });
}
