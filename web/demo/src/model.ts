import type { Doc, ViewEvent } from "@tidemark/client";

// What this app keeps: documents for what has a state, events for what happened.

export const COLUMNS = ["To do", "Doing", "Done"] as const;
export type Column = (typeof COLUMNS)[number];

/** A document of the board. `pos` orders the cards of a column; moving a card changes only that card. */
export type Card = { title: string; column: Column; pos: number; by: string };

/** A paragraph of the note, a document of its own: two people who edit different ones do not meet. */
export type Paragraph = { text: string; by: string };

export interface Message {
  id: string;
  name: string;
  text: string;
  at: number;
  pending: boolean;
}

export const noMessages: readonly Message[] = [];

/** The chat and the notifications are folds of their events. */
export function messages(all: readonly Message[], e: ViewEvent): readonly Message[] {
  if (e.type !== "said" && e.type !== "noticed") return all;
  const { name, text } = e.data as { name: string; text: string };
  return [...all.slice(-199), { id: e.id, name, text, at: e.at, pending: e.pending }];
}

export function inColumn(cards: readonly Doc<Card>[], column: Column): Doc<Card>[] {
  return cards.filter((c) => c.data.column === column).sort((a, b) => a.data.pos - b.data.pos || (a.key < b.key ? -1 : 1));
}

/** A position before the card at `index`, or after the last one. */
export function posAt(cards: readonly Doc<Card>[], index: number): number {
  const before = cards[index - 1]?.data.pos;
  const after = cards[index]?.data.pos;
  if (before === undefined) return (after ?? 1) - 1;
  return after === undefined ? before + 1 : (before + after) / 2;
}

export interface Person {
  name: string;
  color: string;
}

const ANIMALS = ["Otter", "Heron", "Seal", "Puffin", "Crab", "Tern", "Dolphin", "Gull", "Whelk", "Plover"];
const COLORS = ["#0f766e", "#b45309", "#6d28d9", "#be123c", "#1d4ed8", "#15803d", "#a21caf", "#c2410c"];

export function somebody(): Person {
  const n = Math.floor(Math.random() * ANIMALS.length * COLORS.length);
  return { name: ANIMALS[n % ANIMALS.length]!, color: COLORS[n % COLORS.length]! };
}

/** One line about any event, for the timeline. */
export function describe(stream: string, type: string, data: unknown): string {
  const d = (data ?? {}) as Record<string, unknown>;
  const what = typeof d.title === "string" ? `“${d.title}”` : typeof d.text === "string" ? `“${d.text.slice(0, 60)}”` : "";
  if (type === "card.moved") return `a card moved to ${d.column}`;
  if (type === "card.deleted") return "a card was deleted";
  if (type === "noticed") return String(d.text);
  if (type === "paragraph.deleted") return "a paragraph was removed";
  const names: Record<string, string> = { "card.added": "card added", "card.renamed": "card renamed to", said: `${d.name} said`, "paragraph.edited": "note edited", "paragraph.added": "paragraph added" };
  return `${names[type] ?? `${stream}: ${type}`} ${what}`.trim();
}
