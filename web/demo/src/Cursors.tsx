import { usePresence } from "@tidemark/react";
import { useEffect, useState } from "react";
import { here } from "./app.ts";
import type { Person } from "./model.ts";

const EVERY = 50; // ms between two signals

type Place = { x: number; y: number };

/** Live cursors: signals, which are never stored, from whoever is present. Places are fractions of the board. */
export function Cursors() {
  const [others] = usePresence(here);
  const [places, setPlaces] = useState<Record<string, Place>>({});

  useEffect(() => here.onSignal((s) => setPlaces((all) => ({ ...all, [s.session]: s.data as Place }))), []);
  useEffect(() => {
    let last = 0;
    const tell = (e: PointerEvent) => {
      const area = document.querySelector(".board")?.getBoundingClientRect();
      if (!area?.width || e.timeStamp - last < EVERY) return;
      last = e.timeStamp;
      here.signal({ x: (e.clientX - area.left) / area.width, y: (e.clientY - area.top) / area.height });
    };
    addEventListener("pointermove", tell);
    return () => removeEventListener("pointermove", tell);
  }, []);

  const area = document.querySelector(".board")?.getBoundingClientRect();
  if (!area?.width) return null;
  return (
    <div className="cursors" aria-hidden="true">
      {others.map((o) => {
        const at = places[o.session];
        const { name, color } = o.data as unknown as Person;
        if (!at) return null;
        return (
          <div key={o.session} style={{ translate: `${area.left + at.x * area.width}px ${area.top + at.y * area.height}px`, color }}>
            <svg viewBox="0 0 16 16" width="18" height="18">
              <path d="M2 1l12 6-5 2-2 5z" fill="currentColor" stroke="#fff" />
            </svg>
            <span style={{ background: color }}>{name}</span>
          </div>
        );
      })}
    </div>
  );
}
