import { createClient, indexedDB } from "@tidemark/client";
import { somebody, type Card, type Paragraph, type Person } from "./model.ts";

// The whole setup: one client, and a stream for each part of the page.

// Every ?device=… has a database and a person of its own, so that one browser can be several people.
const device = new URLSearchParams(location.search).get("device") ?? "";

export const tm = createClient({
  url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/v1/ws`,
  storage: indexedDB("tidemark-demo" + (device && "-" + device)),
  app: "demo/1",
});

export const board = tm.stream<Card>("demo/board");
export const chat = tm.stream("demo/chat");
export const notices = tm.stream("demo/notices");
export const note = tm.stream<Paragraph>("demo/note");
export const here = tm.stream("demo/here");

const key = "tidemark-demo-me" + device;
export const me: Person = JSON.parse(localStorage.getItem(key) ?? "null") ?? somebody();
export function rename(name: string): void {
  me.name = name;
  localStorage.setItem(key, JSON.stringify(me));
  here.presence.set({ ...me });
}
rename(me.name);

/** Tells everybody about something worth a notification. */
export function notify(text: string): void {
  notices.append({ type: "noticed", data: { name: me.name, text } });
}

export const nextDevice = `?device=${Number(device || 1) + 1}`;
