import { defineConfig } from "vitest/config"

// testTimeout: what waits for a time to live, and retries of clients whose server was killed, on a busy machine.
export default defineConfig({
  test: { include: ["*.test.ts"], globalSetup: "./build.ts", testTimeout: 30_000, hookTimeout: 60_000, fileParallelism: false },
})
