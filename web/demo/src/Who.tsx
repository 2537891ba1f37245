import { usePresence } from "@tidemark/react";
import { useState } from "react";
import { here, me, nextDevice, rename } from "./app.ts";
import type { Person } from "./model.ts";

/** Who is here: presence, which ends by itself with the connection. */
export function Who() {
  const [others] = usePresence(here);
  const [name, setName] = useState(me.name);
  return (
    <div className="who">
      <ul aria-label="Also here">
        {others.map((o) => {
          const { name, color } = o.data as unknown as Person;
          return (
            <li key={o.session} style={{ background: color }} title={name}>
              {name.slice(0, 2)}
            </li>
          );
        })}
      </ul>
      <input
        value={name}
        aria-label="Your name"
        style={{ borderColor: me.color }}
        onChange={(e) => setName(e.target.value)}
        onBlur={() => rename(name.trim() || me.name)}
        onKeyDown={(e) => e.key === "Enter" && e.currentTarget.blur()}
      />
      <a href={nextDevice} target="_blank" rel="noreferrer" title="Opens this page as another person, with a storage of its own">
        second device
      </a>
    </div>
  );
}
