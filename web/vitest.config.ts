import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      { find: "@tidemark/client/testing", replacement: at("./client/src/testing/index.ts") },
      { find: "@tidemark/client", replacement: at("./client/src/index.ts") },
      { find: "@tidemark/react", replacement: at("./react/src/index.ts") },
    ],
  },
  test: {
    include: ["client/test/**/*.test.ts", "react/test/**/*.test.tsx"],
    maxWorkers: 2,
  },
});
