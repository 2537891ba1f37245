// Uses the packages as an app would: packed, unpacked into node_modules, compiled against, run.
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildPackage } from "./build.mjs";

const web = fileURLToPath(new URL("..", import.meta.url));
const app = mkdtempSync(join(tmpdir(), "tidemark-app-"));
const modules = join(app, "node_modules");
const run = (command, args, cwd = app) => execFileSync(command, args, { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

try {
  for (const name of ["client", "react"]) {
    await buildPackage(name);
    const [{ filename }] = JSON.parse(run("npm", ["pack", "--json", "--silent", "--pack-destination", app], web + name));
    const into = join(modules, "@tidemark", name);
    mkdirSync(into, { recursive: true });
    run("tar", ["xzf", filename.replace(/^@/, "").replace("/", "-"), "-C", into, "--strip-components", "1"]);
  }
  for (const shared of ["react", "@types"]) symlinkSync(web + "node_modules/" + shared, join(modules, shared));
  writeFileSync(join(app, "package.json"), '{ "type": "module" }');
  writeFileSync(join(app, "tsconfig.json"), '{ "compilerOptions": { "module": "nodenext", "target": "es2022", "strict": true, "lib": ["es2023", "dom"], "types": [] }, "files": ["app.ts"] }');
  writeFileSync(
    join(app, "app.ts"),
    `import { createClient, memory } from "@tidemark/client";
import { TestServer } from "@tidemark/client/testing";
import { useDocs } from "@tidemark/react";

const server = new TestServer();
const tm = createClient({ url: server.url, webSocket: server.webSocket, storage: memory() });
const room = tm.stream<{ title: string }>("room");
const { seq } = await room.put("k", { title: "t" }).server;
if (seq !== 1 || typeof useDocs !== "function") throw new Error("the packages do not work");
// @ts-expect-error the types say what a document is
room.put("k", { title: 1 });
await tm.close();
`,
  );
  run(process.execPath, [web + "node_modules/typescript/bin/tsc", "-p", app]);
  run(process.execPath, ["app.js"]);
} finally {
  rmSync(app, { recursive: true, force: true });
}
