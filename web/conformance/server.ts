import { spawn, type ChildProcess } from "node:child_process"
import { createServer } from "node:net"
import { join } from "node:path"
import { inject } from "vitest"

// Server is a real server over one file. It can be killed at any moment and started again at the same address.
export class Server {
  #child: ChildProcess | undefined

  private constructor(
    readonly url: string,
    private readonly args: string[],
  ) {}

  static async start(name: string, ...flags: string[]): Promise<Server> {
    const port = await freePort()
    const data = join(inject("folder"), `${name}-${port}.tidemark`)
    const s = new Server(`http://127.0.0.1:${port}`, ["serve", "--listen", `127.0.0.1:${port}`, "--data", data, ...flags])
    await s.start()
    return s
  }

  async start(): Promise<void> {
    const child = spawn(inject("binary"), this.args, { stdio: ["ignore", "pipe", "inherit"] })
    this.#child = child
    await new Promise<void>((resolve, reject) => {
      child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)))
      child.stdout!.on("data", (text: Buffer) => {
        if (text.includes("listening")) resolve()
      })
    })
  }

  // kill ends the process at once, as a power switch would end it.
  async kill(): Promise<void> {
    await this.#end("SIGKILL")
  }

  async stop(): Promise<void> {
    await this.#end("SIGTERM")
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once("exit", resolve))
    child.kill(signal)
    await gone
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once("error", reject)
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number }
      probe.close(() => resolve(port))
    })
  })
}
