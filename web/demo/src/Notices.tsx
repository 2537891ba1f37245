import { useView } from "@tidemark/react";
import { useState } from "react";
import { me, notices } from "./app.ts";
import { messages, noMessages } from "./model.ts";

/** Notifications: events again. What was read is this browser's own business. */
export function Notices() {
  const all = useView(notices, noMessages, messages).filter((n) => n.name !== me.name);
  const [read, setRead] = useState(() => Number(localStorage.getItem("tidemark-demo-read") ?? 0));
  const [open, setOpen] = useState(false);
  const unread = all.filter((n) => n.at > read).length;
  const toggle = () => {
    setOpen(!open);
    const newest = all[all.length - 1]?.at ?? read;
    localStorage.setItem("tidemark-demo-read", String(newest));
    setRead(newest);
  };
  return (
    <div className="notices" onKeyDown={(e) => e.key === "Escape" && setOpen(false)}>
      <button aria-expanded={open} aria-label={`Notifications, ${unread} unread`} onClick={toggle}>
        <svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">
          <path d="M12 3a6 6 0 0 0-6 6v4l-2 4h16l-2-4V9a6 6 0 0 0-6-6Zm-2 16a2 2 0 0 0 4 0" fill="none" stroke="currentColor" strokeWidth="1.8" strokeLinejoin="round" strokeLinecap="round" />
        </svg>
        {unread > 0 && <i>{unread}</i>}
      </button>
      {open && (
        <ul>
          {all.length === 0 && <li className="quiet">Nothing yet. Finish a card, or mention somebody.</li>}
          {[...all].reverse().slice(0, 12).map((n) => (
            <li key={n.id}>{n.text}</li>
          ))}
        </ul>
      )}
    </div>
  );
}
