let last = 0;
let counter = 0;

/** A fresh UUID version 7, in canonical form. Ids made by one page sort in the order of their making. */
export function newId(now = Date.now()): string {
  const b = crypto.getRandomValues(new Uint8Array(16));
  if (now > last) {
    last = now;
    counter = ((b[6]! & 7) << 8) | b[7]!; // starts low, so that there is room to count within the millisecond
  } else if (++counter > 0xfff) {
    counter = 0;
    last++; // a clock that stands still or runs back must not end the order
  }
  for (let i = 0; i < 6; i++) b[i] = Math.floor(last / 2 ** (40 - 8 * i)) & 255;
  b[6] = 0x70 | (counter >> 8);
  b[7] = counter & 255;
  b[8] = 0x80 | (b[8]! & 63);
  const hex = Array.from(b, (x) => x.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
