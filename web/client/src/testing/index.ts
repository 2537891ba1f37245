/**
 * `@tidemark/client/testing`: a Tidemark server in memory, for the tests of apps, and for this package's own. It speaks
 * tidemark.v1 as far as this client does, and can misbehave on demand. Nothing of it is meant for production.
 */
export { TestServer, type CutPoint, type TestServerOptions } from "./server.ts";
export { memory } from "../memory.ts";
