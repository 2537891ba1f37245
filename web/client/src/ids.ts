let last = 0;
let counter = 0;

const hex = (n: number, digits: number) => n.toString(16).padStart(digits, "0");

/** A fresh UUID version 7, in canonical form. Ids made by one page sort in the order of their making. */
export function newId(now = Date.now()): string {
  const [a, b, c, d, seed] = crypto.getRandomValues(new Uint16Array(5)) as unknown as [number, number, number, number, number];
  if (now > last) {
    last = now;
    counter = seed & 0x7ff; // starts low, so that there is room to count within the millisecond
  } else if (++counter > 0xfff) {
    counter = 0;
    last++; // a clock that stands still or runs back must not end the order
  }
  const time = hex(last, 12);
  return [time.slice(0, 8), time.slice(8), hex(0x7000 | counter, 4), hex(0x8000 | (a & 0x3fff), 4), hex(b, 4) + hex(c, 4) + hex(d, 4)].join("-");
}
