import { useStatus } from "@tidemark/react";
import { useEffect, useState } from "react";
import { board, chat, note, notices, tm } from "./app.ts";

const WORDS = { offline: "Offline", connecting: "Connecting", replaying: "Catching up", live: "Live", unauthorized: "Signed out" };
const STORAGE = { persistent: "saved on this device", "best-effort": "saved on this device", memory: "in memory only", lost: "this device cannot save" };

/** How things stand: the switch, the phase, what is pending, the tidemark. */
export function Strip() {
  const { phase, pending, storage, leader, lastError } = useStatus(tm);
  const [cut, setCut] = useState(false);
  const seq = useTidemark();
  return (
    <section className="strip" data-phase={phase} aria-label="Connection">
      <label className="switch" title="Cuts this tab alone: other tabs of this browser stay online">
        <input
          type="checkbox"
          role="switch"
          checked={cut}
          onChange={(e) => {
            setCut(e.target.checked);
            if (e.target.checked) tm.disconnect();
            else tm.connect();
          }}
        />
        <span>Go offline</span>
      </label>
      <span className="phase" role="status" title={phase === "offline" ? lastError?.message : undefined}>
        {WORDS[phase]}
      </span>
      <span className={pending ? "count waiting" : "count"}>
        <b data-testid="pending">{pending}</b> pending
      </span>
      <span className="count" title="The last event of the log that this device has: where it goes on after an absence">
        tidemark <b data-testid="seq">{seq}</b>
      </span>
      <span className={cut ? "count told" : "count quiet"}>
        {STORAGE[storage]}
        {cut ? "; another tab may send it" : leader ? "" : " · follows another tab"}
      </span>
    </section>
  );
}

function useTidemark() {
  const read = () => Math.max(board.seq, chat.seq, note.seq, notices.seq);
  const [seq, setSeq] = useState(read);
  useEffect(() => {
    const update = () => setSeq(read());
    const stop = [tm.on("events", update), tm.on("live", update), tm.on("status", update)];
    return () => stop.forEach((off) => off());
  }, []);
  return seq;
}
