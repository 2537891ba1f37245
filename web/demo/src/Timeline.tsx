import { useEffect, useState } from "react";
import { tm } from "./app.ts";
import { describe } from "./model.ts";

interface Entry {
  id: string;
  text: string;
  at: number;
  replayed: boolean;
}

const MOST = 60;

/** What came in, newest first; what happened while this device was away is marked. */
export function Timeline() {
  const [entries, setEntries] = useState<Entry[]>([]);
  useEffect(() => {
    const add = (news: Entry[]) => setEntries((old) => [...news.reverse(), ...old].slice(0, MOST));
    const stop = [
      tm.on("events", ({ stream, events, replayed }) =>
        add(events.slice(-MOST).map((e) => ({ id: `${e.seq}`, text: describe(stream, e.type, e.data), at: e.at, replayed }))),
      ),
      tm.on("live", ({ stream, events }) => events > 0 && add([{ id: stream + Math.random(), text: `caught up with ${stream}: ${events} missed`, at: Date.now(), replayed: true }])),
      tm.on("reset", ({ stream, reason }) => add([{ id: stream + Math.random(), text: `${stream} begins anew (${reason})`, at: Date.now(), replayed: true }])),
    ];
    return () => stop.forEach((off) => off());
  }, []);
  return (
    <section className="panel timeline" aria-labelledby="timeline-title">
      <h2 id="timeline-title">Activity</h2>
      {entries.length === 0 && <p className="quiet">Go offline, let somebody else work, and come back: what you missed flows in here.</p>}
      <ol tabIndex={0} aria-label="Events">
        {entries.map((e) => (
          <li key={e.id} data-replayed={e.replayed || undefined}>
            <time>{new Date(e.at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" })}</time> {e.text}
          </li>
        ))}
      </ol>
    </section>
  );
}
