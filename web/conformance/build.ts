import { execFileSync } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import type { TestProject } from "vitest/node"

declare module "vitest" {
  export interface ProvidedContext {
    folder: string
    binary: string
  }
}

// Builds the server once for all test files, into a folder that is gone afterwards.
export default function setup(project: TestProject) {
  const folder = mkdtempSync(join(tmpdir(), "tidemark-conformance-"))
  const binary = join(folder, "tidemark")
  execFileSync("go", ["build", "-o", binary, "."], { cwd: join(import.meta.dirname, "../.."), stdio: "inherit" })
  project.provide("folder", folder)
  project.provide("binary", binary)
  return () => rmSync(folder, { recursive: true, force: true })
}
