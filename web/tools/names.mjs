// Which property names the build of the client may shorten: those that only its own modules use.
import { build } from "esbuild";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const words = (text) => text.replace(/\/\*[^]*?\*\/|\/\/.*/g, "").match(/[\w$]+/g) ?? [];

/** What browsers and the language call their things. */
function platform() {
  const compilers = fileURLToPath(new URL("../node_modules/@typescript/", import.meta.url));
  const lib = join(compilers, readdirSync(compilers)[0], "lib");
  return readdirSync(lib).filter((file) => file.startsWith("lib.")).flatMap((file) => words(readFileSync(join(lib, file), "utf8")));
}

/** What apps, servers, disks and other tabs know of: every exported type says it; a class does only where apps get at it. */
function outside(dist) {
  const index = readFileSync(join(dist, "index.d.ts"), "utf8") + readFileSync(join(dist, "testing/index.d.ts"), "utf8");
  const known = (name) => new RegExp(`\\b${name}\\b`).test(index);
  return readdirSync(dist, { recursive: true })
    .filter((file) => file.endsWith(".d.ts"))
    .flatMap((file) => {
      const text = readFileSync(join(dist, file), "utf8").replace(/^ +(private|protected) .*$/gm, "");
      return words(text.replace(/^export declare class (\w+)[^]*?^}/gm, (whole, name) => (known(name) ? whole : "")));
    });
}

/** The names that only the modules of these entries use, whose types are in `dist` already. */
export async function innerNames(entryPoints, dist) {
  const { mangleCache } = await build({ entryPoints, bundle: true, format: "esm", outdir: dist, write: false, mangleProps: /./, mangleCache: {}, logLevel: "silent" });
  const taken = new Set([...platform(), ...outside(dist)]);
  return Object.keys(mangleCache).filter((name) => !taken.has(name));
}
