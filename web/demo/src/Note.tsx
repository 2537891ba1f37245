import { useDocs } from "@tidemark/react";
import type { Doc, Rejected } from "@tidemark/client";
import { useEffect, useRef, useState } from "react";
import { Add } from "./Board.tsx";
import { me, note, tm } from "./app.ts";
import type { Paragraph } from "./model.ts";

/**
 * A text that several people edit. Each paragraph is a document; an edit says which version it was made from (`expect`), so the
 * server refuses it when somebody else was faster. Refused edits stay in `tm.rejected`, and the person chooses.
 */
export function Note() {
  const paragraphs = useDocs(note);
  const refused = useRefused();
  const add = (text: string) => {
    const key = "p/" + Date.now().toString(36) + crypto.randomUUID().slice(0, 8);
    note.put(key, { text, by: me.name }, { type: "paragraph.added", expect: 0 });
  };
  return (
    <section className="panel note" aria-labelledby="note-title">
      <h2 id="note-title">Note</h2>
      {paragraphs.map((p) => (
        <div key={p.key}>
          <Edit p={p} />
          <Conflict p={p} refused={refused.filter((r) => r.mutation.key === p.key)} />
        </div>
      ))}
      {refused.filter((r) => !paragraphs.some((p) => p.key === r.mutation.key)).map((r) => (
        <Removed key={r.id} refused={r} />
      ))}
      <Add label="Add a paragraph" onAdd={add} />
    </section>
  );
}

function useRefused(): readonly Rejected[] {
  const [all, setAll] = useState(tm.rejected);
  useEffect(() => tm.on("rejected", setAll), []);
  return all.filter((r) => r.stream === note.name);
}

const PAUSE = 500; // ms without typing after which an edit is written

function Edit({ p }: { p: Doc<Paragraph> }) {
  const [draft, setDraft] = useState<string>();
  // What the draft was begun from: if somebody changes the paragraph meanwhile, that must show, not be overwritten.
  const base = useRef(p.version);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const text = draft ?? p.data.text;

  const save = (value: string) => {
    clearTimeout(timer.current);
    if (value.trim() === "") note.delete(p.key, { type: "paragraph.deleted", expect: base.current });
    else if (value !== p.data.text) base.current = note.put(p.key, { text: value, by: me.name }, { type: "paragraph.edited", expect: base.current }).id;
  };
  return (
    <div className="paragraph" data-pending={p.pending || undefined}>
      <textarea
        value={text}
        rows={Math.max(1, Math.ceil(text.length / 60), text.split("\n").length)}
        aria-label={`Paragraph by ${p.data.by}`}
        onFocus={() => (base.current = p.version)}
        onChange={(e) => {
          const { value } = e.target;
          setDraft(value);
          clearTimeout(timer.current);
          timer.current = setTimeout(() => value.trim() && save(value), PAUSE);
        }}
        onBlur={() => {
          if (draft !== undefined) save(draft);
          setDraft(undefined);
        }}
      />
      <small>
        {p.data.by}
        {p.pending && " · not sent yet"}
      </small>
    </div>
  );
}

/** Two people changed the same paragraph: both texts, and a choice. */
function Conflict({ p, refused }: { p: Doc<Paragraph>; refused: readonly Rejected[] }) {
  const last = refused[refused.length - 1];
  if (!last) return null;
  const mine = (last.mutation.data as Paragraph | undefined)?.text ?? "(removed)";
  const settle = (text?: string) => {
    if (text !== undefined) note.put(p.key, { text, by: me.name }, { type: "paragraph.edited", expect: p.version });
    for (const r of refused) void r.dismiss();
  };
  return (
    <div className="conflict" role="alert">
      <p>
        <b>{p.data.by}</b> changed this paragraph, too. Your version:
      </p>
      <blockquote>{mine}</blockquote>
      <div className="choices">
        <button onClick={() => settle(mine)}>Use mine</button>
        <button onClick={() => settle()}>Keep theirs</button>
        <button onClick={() => settle(`${p.data.text}\n${mine}`)}>Keep both</button>
      </div>
    </div>
  );
}

/** Somebody removed the paragraph meanwhile. */
function Removed({ refused }: { refused: Rejected }) {
  const { text } = (refused.mutation.data ?? {}) as Partial<Paragraph>;
  useEffect(() => {
    if (!text) void refused.dismiss(); // both removed it
  }, [text, refused]);
  if (!text) return null;
  return (
    <div className="conflict" role="alert">
      <p>Somebody removed this paragraph while you changed it. Your version:</p>
      <blockquote>{text}</blockquote>
      <div className="choices">
        <button onClick={() => void refused.retry({ expect: 0 })}>Put it back</button>
        <button onClick={() => void refused.dismiss()}>Let it go</button>
      </div>
    </div>
  );
}
