import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client"
import { MaterializedState } from "@durable-streams/state"
import { createStateSchema, createStreamDB } from "@durable-streams/state/db"
import { afterEach, beforeEach, expect, test } from "vitest"
import { Server } from "./server.ts"

let server: Server
beforeEach(async () => {
  server = await Server.start("clients", "--durable-long-poll", "2s")
})
afterEach(() => server.stop())

type Message = { n: number }

test("append, read, and follow by long-poll and by server-sent events", async () => {
  const url = `${server.url}/v1/stream/room/1`
  const handle = await DurableStream.create({ url, contentType: "application/json" })
  await handle.append(JSON.stringify({ n: 1 }))
  await handle.append(JSON.stringify({ n: 2 }))
  expect(await (await stream<Message>({ url, live: false })).json()).toEqual([{ n: 1 }, { n: 2 }])

  for (const live of ["long-poll", "sse"] as const) {
    const res = await stream<Message>({ url, offset: "now", live })
    const next = new Promise<readonly Message[]>((resolve) => {
      res.subscribeJson((batch) => {
        if (batch.items.length > 0) resolve(batch.items)
      })
    })
    await handle.append(JSON.stringify({ n: 3 }))
    expect((await next)[0]).toEqual({ n: 3 })
    res.cancel()
  }
})

test("an event pushed to the stream in another way is a message, and the other way round", async () => {
  const url = `${server.url}/v1/stream/room/2`
  const events = `${server.url}/v1/events/room/2`
  const pushed = await fetch(events, { method: "POST", body: JSON.stringify({ id: crypto.randomUUID(), type: "said", data: { n: 1 } }) })
  expect(pushed.status).toBe(200)
  const handle = await DurableStream.connect({ url })
  await handle.append(JSON.stringify({ n: 2 }), { contentType: "application/json" })
  expect(await (await stream<Message>({ url, live: false })).json()).toEqual([{ n: 1 }, { n: 2 }])
  const page = (await (await fetch(events)).json()) as { events: { type: string; data: Message }[] }
  expect(page.events.map((e) => [e.type, e.data.n])).toEqual([
    ["said", 1],
    ["message", 2],
  ])
})

// persistent sends a request again until there is an answer: the producer itself gives up a batch that got none.
const persistent: typeof fetch = async (input, init) => {
  for (;;) {
    try {
      return await fetch(input, init)
    } catch (e) {
      if (!(e instanceof TypeError)) throw e
      await new Promise((r) => setTimeout(r, 20))
    }
  }
}

test("a producer and a reader go on after the server was killed, without loss and without duplicates", async () => {
  const url = `${server.url}/v1/stream/killed`
  const handle = await DurableStream.create({ url, contentType: "application/json" })
  const producer = new IdempotentProducer(handle, "writer", { lingerMs: 1, maxInFlight: 4, fetch: persistent })
  const seen: number[] = []
  const total = 400
  const res = await stream<Message>({ url, offset: "-1", live: "long-poll", onError: () => ({}) })
  const all = new Promise<void>((resolve) => {
    res.subscribeJson((batch) => {
      for (const m of batch.items) seen.push(m.n)
      if (seen.length >= total) resolve()
    })
  })
  for (let n = 0; n < total; n++) {
    producer.append(JSON.stringify({ n }))
    if (n % 100 === 50) {
      await server.kill()
      await server.start()
    }
    if (n % 10 === 0) await new Promise((r) => setTimeout(r, 2))
  }
  await producer.flush()
  await all
  res.cancel()
  const stored = await (await stream<Message>({ url, live: false })).json<Message>()
  expect(stored.map((m) => m.n)).toEqual(Array.from({ length: total }, (_, n) => n))
  expect(seen).toEqual(stored.map((m) => m.n))
})

// user is the smallest validator of the Standard Schema interface.
const user = {
  "~standard": {
    version: 1 as const,
    vendor: "tidemark",
    validate: (value: unknown) => ({ value: value as { id: string; name: string } }),
  },
}
const schema = createStateSchema({ users: { schema: user, type: "user", primaryKey: "id" } })

test("state: a database fed by a stream follows it live", async () => {
  const url = `${server.url}/v1/stream/state`
  const handle = await DurableStream.create({ url, contentType: "application/json" })
  await handle.append(JSON.stringify(schema.users.insert({ value: { id: "1", name: "Ann" } })))
  const db = createStreamDB({ streamOptions: { url, contentType: "application/json" }, state: schema })
  await db.preload()
  expect(db.collections.users.get("1")).toMatchObject({ name: "Ann" })
  await handle.append(JSON.stringify(schema.users.update({ value: { id: "1", name: "Bea" } })))
  await handle.append(JSON.stringify(schema.users.insert({ value: { id: "2", name: "Cid" } })))
  await expect.poll(() => [db.collections.users.get("1")?.name, db.collections.users.get("2")?.name]).toEqual(["Bea", "Cid"])
  db.close()
})

test("state: what a stream holds materializes to the same state", async () => {
  const url = `${server.url}/v1/stream/materialized`
  const handle = await DurableStream.create({ url, contentType: "application/json" })
  for (const e of [
    schema.users.insert({ value: { id: "1", name: "Ann" } }),
    schema.users.update({ value: { id: "1", name: "Bea" } }),
    schema.users.insert({ value: { id: "2", name: "Cid" } }),
    schema.users.delete({ key: "2" }),
  ]) {
    await handle.append(JSON.stringify(e))
  }
  const state = new MaterializedState()
  state.applyBatch(await (await stream({ url, live: false })).json())
  expect([...state.getType("user").entries()]).toEqual([["1", { id: "1", name: "Bea" }]])
})
