import { useDocs } from "@tidemark/react";
import type { Doc } from "@tidemark/client";
import { useEffect, useRef, useState, type KeyboardEvent, type PointerEvent } from "react";
import { board, me, notify } from "./app.ts";
import { COLUMNS, inColumn, posAt, type Card, type Column } from "./model.ts";

/** Cards are documents: put, patch and delete, visible at once, also offline. */
export function Board() {
  const cards = useDocs(board);
  const add = (column: Column, title: string) => {
    const last = inColumn(cards, column);
    board.put("card/" + crypto.randomUUID(), { title, column, pos: posAt(last, last.length), by: me.name }, { type: "card.added", expect: 0 });
  };
  return (
    <section className="panel board" aria-labelledby="board-title">
      <h2 id="board-title">Board</h2>
      <div className="columns">
        {COLUMNS.map((column) => (
          <div className="column" key={column} data-column={column}>
            <h3>
              {column} <span>{inColumn(cards, column).length}</span>
            </h3>
            <div className="cards" role="list" aria-label={column}>
              {inColumn(cards, column).map((card) => (
                <CardView key={card.key} card={card} cards={cards} />
              ))}
            </div>
            <Add label={`Add a card to ${column}`} onAdd={(title) => add(column, title)} />
          </div>
        ))}
      </div>
      <p className="hint">Drag a card, or focus it: Enter edits, Alt+arrows move, Delete removes.</p>
    </section>
  );
}

function move(card: Doc<Card>, cards: readonly Doc<Card>[], column: Column, index: number) {
  const others = inColumn(cards, column).filter((c) => c.key !== card.key);
  board.patch(card.key, { column, pos: posAt(others, index) }, { type: "card.moved" });
  if (column === "Done" && card.data.column !== "Done") notify(`${me.name} finished “${card.data.title}”`);
}

/** The card that has the keyboard's focus next: one that moved to another column is another element there. */
let carried: string | undefined;

function CardView({ card, cards }: { card: Doc<Card>; cards: readonly Doc<Card>[] }) {
  const [editing, setEditing] = useState(false);
  const drag = useDrag((column, index) => move(card, cards, column, index));
  const self = useRef<HTMLElement>(null);
  useEffect(() => {
    if (carried === card.key && !editing) self.current?.focus();
  });

  const rename = (title: string) => {
    setEditing(false);
    if (title && title !== card.data.title) board.patch(card.key, { title }, { type: "card.renamed" });
  };
  const done = (e: KeyboardEvent<HTMLInputElement>) => {
    if (e.key !== "Enter" && e.key !== "Escape") return;
    carried = card.key;
    rename(e.key === "Enter" ? e.currentTarget.value.trim() : "");
  };
  const remove = () => {
    const list = inColumn(cards, card.data.column);
    const at = list.indexOf(card);
    carried = (list[at + 1] ?? list[at - 1])?.key;
    board.delete(card.key, { type: "card.deleted" });
  };
  const keys = (e: KeyboardEvent) => {
    if (e.target !== e.currentTarget) return;
    const list = inColumn(cards, card.data.column);
    const at = list.findIndex((c) => c.key === card.key);
    const column = COLUMNS.indexOf(card.data.column);
    const to = (c: number, index: number) => {
      if (!COLUMNS[c]) return;
      carried = card.key;
      move(card, cards, COLUMNS[c], Math.max(0, index));
    };
    if (e.key === "Enter") setEditing(true);
    else if (e.key === "Delete") remove();
    else if (!e.altKey) return;
    else if (e.key === "ArrowLeft") to(column - 1, at);
    else if (e.key === "ArrowRight") to(column + 1, at);
    else if (e.key === "ArrowUp") to(column, at - 1);
    else if (e.key === "ArrowDown") to(column, at + 1);
    else return;
    e.preventDefault();
  };
  return (
    <article ref={self} className="card" onBlur={() => (carried = undefined)} role="listitem" tabIndex={0} data-card={card.key} data-pending={card.pending || undefined} onKeyDown={keys} {...(editing ? {} : drag)}>
      {editing ? (
        <input autoFocus defaultValue={card.data.title} aria-label="Title" onBlur={(e) => rename(e.target.value.trim())} onKeyDown={done} />
      ) : (
        <>
          <p>{card.data.title}</p>
          <footer>
            <span className="grip" aria-hidden="true">
              ⠿
            </span>
            <span className="by">{card.data.by}</span>
            {card.pending && <span className="pending">not sent yet</span>}
            <button onClick={() => setEditing(true)} aria-label={`Edit ${card.data.title}`}>
              ✎
            </button>
            <button onClick={remove} aria-label={`Delete ${card.data.title}`}>
              ✕
            </button>
          </footer>
        </>
      )}
    </article>
  );
}

/** Dragging with mouse or pen, or with a finger by the grip (elsewhere a finger scrolls): the card is dropped where the pointer is. */
function useDrag(drop: (column: Column, index: number) => void) {
  const start = useRef<{ x: number; y: number; moved: boolean } | undefined>(undefined);
  const place = (el: HTMLElement, x: number, y: number) => {
    el.style.pointerEvents = "none";
    const column = document.elementFromPoint(x, y)?.closest<HTMLElement>("[data-column]");
    el.style.pointerEvents = "";
    if (!column) return;
    const others = [...column.querySelectorAll<HTMLElement>("[data-card]")].filter((c) => c !== el);
    const index = others.findIndex((c) => y < c.getBoundingClientRect().top + c.offsetHeight / 2);
    drop(column.dataset.column as Column, index < 0 ? others.length : index);
  };
  const end = (e: PointerEvent<HTMLElement>, dropped: boolean) => {
    const el = e.currentTarget;
    if (start.current?.moved && dropped) place(el, e.clientX, e.clientY);
    start.current = undefined;
    el.style.translate = "";
    el.classList.remove("dragged");
  };
  return {
    onPointerDown: (e: PointerEvent<HTMLElement>) => {
      if ((e.target as HTMLElement).closest("button, input") || e.button !== 0) return;
      start.current = { x: e.clientX, y: e.clientY, moved: false };
      e.currentTarget.setPointerCapture(e.pointerId);
    },
    onPointerMove: (e: PointerEvent<HTMLElement>) => {
      const from = start.current;
      if (!from) return;
      from.moved ||= Math.hypot(e.clientX - from.x, e.clientY - from.y) > 5;
      if (!from.moved) return;
      e.currentTarget.classList.add("dragged");
      e.currentTarget.style.translate = `${e.clientX - from.x}px ${e.clientY - from.y}px`;
    },
    onPointerUp: (e: PointerEvent<HTMLElement>) => end(e, true),
    onPointerCancel: (e: PointerEvent<HTMLElement>) => end(e, false),
  };
}

export function Add({ label, onAdd }: { label: string; onAdd: (text: string) => void }) {
  const [text, setText] = useState("");
  return (
    <form
      className="add"
      onSubmit={(e) => {
        e.preventDefault();
        if (text.trim()) onAdd(text.trim());
        setText("");
      }}
    >
      <input value={text} onChange={(e) => setText(e.target.value)} placeholder={label} aria-label={label} />
      <button aria-label="Add">+</button>
    </form>
  );
}
