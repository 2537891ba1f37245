import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { Board } from "./Board.tsx";
import { Chat } from "./Chat.tsx";
import { Cursors } from "./Cursors.tsx";
import { Note } from "./Note.tsx";
import { Notices } from "./Notices.tsx";
import { Strip } from "./Strip.tsx";
import { Timeline } from "./Timeline.tsx";
import { Who } from "./Who.tsx";

const PARTS = ["Board", "Note", "Chat", "Activity"] as const;

function App() {
  const [part, setPart] = useState<(typeof PARTS)[number]>("Board");
  return (
    <>
      <header className="top">
        <h1>
          <img src="icon.svg" alt="" width="26" height="26" /> Tidemark <small>team page</small>
        </h1>
        <Who />
        <Notices />
      </header>
      <Strip />
      <nav className="parts" aria-label="Parts of the page">
        {PARTS.map((p) => (
          <button key={p} aria-current={p === part ? "page" : undefined} onClick={() => setPart(p)}>
            {p}
          </button>
        ))}
      </nav>
      <main data-part={part}>
        <Board />
        <Note />
        <Chat />
        <Timeline />
      </main>
      <Cursors />
    </>
  );
}

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
