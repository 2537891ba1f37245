import { runConformanceTests } from "@durable-streams/server-conformance-tests"
import { afterAll, beforeAll } from "vitest"
import { Server } from "./server.ts"

// The suite waits a little longer for a long-poll than the server does.
const target = { baseUrl: "", longPollTimeoutMs: 3000, subscriptions: true }
let server: Server

beforeAll(async () => {
  server = await Server.start("suite", "--durable-long-poll", "1s", "--durable-webhook-loopback", "--origin", "https://example.com")
  target.baseUrl = server.url
})
afterAll(() => server.stop())

runConformanceTests(target)
