import { useView } from "@tidemark/react";
import { useEffect, useRef } from "react";
import { Add } from "./Board.tsx";
import { chat, me, notify } from "./app.ts";
import { messages, noMessages } from "./model.ts";

/** A chat is a fold of its events; what is typed offline waits at the end. */
export function Chat() {
  const all = useView(chat, noMessages, messages);
  const list = useRef<HTMLOListElement>(null);
  useEffect(() => {
    list.current?.scrollTo({ top: list.current.scrollHeight });
  }, [all.length]);
  const say = (text: string) => {
    chat.append({ type: "said", data: { name: me.name, text } });
    const mentioned = /@(\w+)/.exec(text)?.[1];
    if (mentioned) notify(`${me.name} mentioned ${mentioned}: ${text}`);
  };
  return (
    <section className="panel chat" aria-labelledby="chat-title">
      <h2 id="chat-title">Chat</h2>
      <ol ref={list} aria-live="polite" tabIndex={0} aria-label="Messages">
        {all.map((m) => (
          <li key={m.id} data-pending={m.pending || undefined} className={m.name === me.name ? "mine" : undefined}>
            <b>{m.name}</b> <time>{new Date(m.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" })}</time>
            <p>{m.text}</p>
          </li>
        ))}
      </ol>
      <Add label="Say something, @name to mention" onAdd={say} />
    </section>
  );
}
