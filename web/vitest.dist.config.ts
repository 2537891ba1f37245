import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// The published build, in which inner names are short, against the tests that use the client as an app does. Built by tools/package.mjs.
export default defineConfig({
  resolve: {
    alias: [
      { find: "@tidemark/client/testing", replacement: at("./client/dist/testing/index.js") },
      { find: "@tidemark/client", replacement: at("./client/dist/index.js") },
      { find: "@tidemark/react", replacement: at("./react/dist/index.js") },
    ],
  },
  test: {
    include: ["client/test/{basic,client,names}.test.ts", "react/test/**/*.test.tsx"],
    maxWorkers: 2,
  },
});
