// @vitest-environment happy-dom
import { act, StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { expect, test } from "vitest";
import { createClient, memory, type Client, type ViewEvent } from "@tidemark/client";
import { TestServer } from "@tidemark/client/testing";
import { useDoc, useDocs, usePresence, useStatus, useView } from "@tidemark/react";

(globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;

const none: string[] = [];
const words = (all: string[], e: ViewEvent) => (e.type === "said" ? [...all, e.data as string] : all);

function App({ tm }: { tm: Client }) {
  const room = tm.stream<{ title: string }>("room/1");
  const docs = useDocs(room);
  const one = useDoc(room, "b");
  const said = useView(room, none, words);
  const { phase, pending } = useStatus(tm);
  const [others] = usePresence(room);
  return <p>{`docs=${docs.map((d) => d.key + (d.pending ? "*" : ""))} b=${one?.data.title ?? ""} said=${said} ${phase} ${pending} others=${others.length}`}</p>;
}

async function shows(root: HTMLElement, text: string) {
  for (let i = 0; i < 500 && root.textContent !== text; i++) await act(() => new Promise((resolve) => setTimeout(resolve, 2)));
  expect(root.textContent).toBe(text);
}

test("components show what the client has, at once and on", async () => {
  const server = new TestServer();
  const tm = createClient({ url: server.url, webSocket: server.webSocket, storage: memory() });
  const root = document.createElement("div");
  await act(() => createRoot(root).render(<StrictMode><App tm={tm} /></StrictMode>));
  await shows(root, "docs= b= said= live 0 others=0");
  server.stop();
  await shows(root, "docs= b= said= offline 0 others=0");
  await act(async () => {
    tm.stream("room/1").put("b", { title: "B" });
    tm.stream("room/1").append({ type: "said", data: "hi" });
  });
  expect(root.textContent).toMatch(/^docs=b\* b=B said=hi (offline|connecting) 2 others=0$/);
  server.start();
  await shows(root, "docs=b b=B said=hi live 0 others=0");
  server.write({ stream: "room/1", key: "a", op: "put", data: { title: "A" } });
  await shows(root, "docs=a,b b=B said=hi live 0 others=0");
  await act(() => tm.close());
});

test("renders empty on a server", async () => {
  const server = new TestServer();
  const tm = createClient({ url: server.url, webSocket: server.webSocket, storage: memory() });
  expect(renderToString(<App tm={tm} />)).toBe("<p>docs= b= said= offline 0 others=0</p>");
  await tm.close();
});
