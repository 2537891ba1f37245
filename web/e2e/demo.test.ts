import { mkdirSync } from "node:fs";
import type { BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { web } from "./paths.ts";
import { until, World } from "./world.ts";

// The demo as the binary serves it, used like a person does. SCREENSHOTS=1 renews the pictures in docs/images.

let w: World;
beforeAll(async () => {
  w = await World.open();
  await w.serve("demo");
});
afterAll(() => w.close());

const pictures = web + "../docs/images/";
async function picture(page: Page, name: string) {
  if (!process.env.SCREENSHOTS) return;
  mkdirSync(pictures, { recursive: true });
  await page.screenshot({ path: `${pictures}demo-${name}.png` });
}

async function open(options: BrowserContextOptions, name: string): Promise<{ page: Page; errors: string[] }> {
  const context = await w.browser.newContext(options);
  const page = await context.newPage();
  const errors: string[] = [];
  page.on("pageerror", (e) => errors.push(String(e)));
  page.on("console", (m) => m.type() === "error" && !m.text().includes("WebSocket") && errors.push(m.text()));
  await page.goto(w.http + "/demo/");
  await page.getByText("Live", { exact: true }).waitFor();
  await page.getByLabel("Your name").fill(name);
  await page.getByLabel("Your name").press("Enter");
  return { page, errors };
}

async function add(page: Page, label: string, text: string) {
  await page.getByLabel(label).fill(text, { timeout: 5000 }).catch(async (e) => {
    throw new Error(`${label}: ${(await page.locator("body").innerText()).slice(0, 500)} ${e}`);
  });
  await page.getByLabel(label).press("Enter");
}
const card = (page: Page, title: string) => page.locator("[data-card]").filter({ hasText: title });
const column = (page: Page, name: string) => page.locator(`[data-column="${name}"]`);
const pending = async (page: Page) => Number(await page.getByTestId("pending").textContent());

test("two people at a board, a chat and a note; one goes through a tunnel", async () => {
  const anna = await open({ viewport: { width: 1360, height: 900 }, colorScheme: "light" }, "Anna");
  const bert = await open({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2, colorScheme: "dark" }, "Bert");
  const [a, b] = [anna.page, bert.page];

  for (const title of ["Book the ferry", "Pack the charts", "Check the life vests", "Buy rope"]) await add(a, "Add a card to To do", title);
  await add(a, "Add a card to Doing", "Varnish the mast");
  await card(b, "Varnish the mast").waitFor();

  // With the keyboard: to the right, renamed, deleted.
  await card(a, "Book the ferry").focus();
  await a.keyboard.press("Alt+ArrowRight");
  await column(b, "Doing").getByText("Book the ferry").waitFor();
  await card(a, "Buy rope").focus();
  await a.keyboard.press("Enter");
  await a.getByLabel("Title").fill("Buy 40 m of rope");
  await a.keyboard.press("Enter");
  await card(b, "Buy 40 m of rope").waitFor();

  // The focus stays where the person is.
  const focused = (page: Page) => page.evaluate(() => document.activeElement?.closest("[data-card]")?.querySelector("p")?.textContent ?? document.activeElement?.tagName);
  await until(async () => (await focused(a)) === "Buy 40 m of rope", () => focused(a));
  await a.keyboard.press("Enter");
  await a.keyboard.type("something else");
  await a.keyboard.press("Escape");
  await until(async () => (await focused(a)) === "Buy 40 m of rope", () => focused(a));
  await a.keyboard.press("Alt+ArrowUp");
  await until(async () => (await focused(a)) === "Buy 40 m of rope", () => focused(a));
  await a.keyboard.press("Alt+ArrowDown");
  await add(a, "Add a card to To do", "Wrong");
  await card(a, "Wrong").focus();
  await a.keyboard.press("Delete");
  await until(async () => (await card(a, "Wrong").count()) === 0 && (await focused(a)) === "Buy 40 m of rope", () => focused(a));

  // With the mouse.
  const from = (await card(a, "Check the life vests").boundingBox())!;
  const to = (await column(a, "Doing").boundingBox())!;
  await a.mouse.move(from.x + 30, from.y + 12);
  await a.mouse.down();
  await a.mouse.move(to.x + 60, to.y + 60, { steps: 8 });
  await a.mouse.up();
  await column(b, "Doing").getByText("Check the life vests").waitFor();

  // With a finger, by the grip.
  const grip = (await card(b, "Varnish the mast").locator(".grip").boundingBox())!;
  const over = (await card(b, "Check the life vests").boundingBox())!;
  const touch = await b.context().newCDPSession(b);
  const at = (y: number) => [{ x: grip.x + 6, y }];
  await touch.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: at(grip.y + 6) });
  for (let i = 1; i <= 8; i++) await touch.send("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: at(grip.y + 6 + ((over.y + over.height - 4 - grip.y - 6) * i) / 8) });
  await touch.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  const doing = async () => (await column(a, "Doing").locator("[data-card] p").allTextContents()).join();
  await until(async () => /vests,Varnish/.test(await doing()), doing);

  await b.getByRole("button", { name: "Chat" }).click();
  await add(b, "Say something", "On the train now, the tunnel comes soon");
  await add(a, "Say something", "@Bert see you on the other side");
  await b.locator(".chat").getByText("see you on the other side").waitFor();
  await add(a, "Add a paragraph", "Meet at the pier at eight. Bring a warm jacket.");
  await b.getByRole("button", { name: "Note" }).click();
  await b.getByRole("textbox", { name: /Paragraph by/ }).waitFor();
  await until(async () => (await b.getByLabel(/Notifications, 1 unread/).count()) === 1);

  // The tunnel. Both go on.
  await b.getByRole("switch").check();
  await b.getByText("Offline", { exact: true }).waitFor();
  const paragraph = (page: Page) => page.getByRole("textbox", { name: /Paragraph by/ });
  await paragraph(b).fill("Meet at the pier at nine, the train is late.");
  await paragraph(b).blur();
  await b.getByRole("button", { name: "Board" }).click();
  await add(b, "Add a card to To do", "Call the harbour");
  await until(async () => (await pending(b)) === 2, () => pending(b));
  await card(b, "Call the harbour").getByText("not sent yet").waitFor();
  await picture(b, "phone-dark-offline");

  await paragraph(a).fill("Meet at the pier at half past seven.");
  await paragraph(a).blur();
  await card(a, "Pack the charts").focus();
  await a.keyboard.press("Alt+ArrowRight");
  await a.keyboard.press("Alt+ArrowRight");
  await add(a, "Say something", "Charts are packed");
  await until(async () => (await pending(a)) === 0);
  expect(await a.getByText("Call the harbour").count()).toBe(0);

  // Out of it: everything flows in, the conflict is shown, and Bert chooses.
  await b.getByRole("switch").uncheck();
  await b.getByText("Live", { exact: true }).waitFor();
  await card(a, "Call the harbour").waitFor();
  await column(b, "Done").getByText("Pack the charts").waitFor();
  await until(async () => (await pending(b)) === 0);
  await b.getByRole("button", { name: "Activity" }).click();
  await b.getByText(/caught up with demo\/board/).waitFor();
  await picture(b, "phone-dark-replayed");
  await b.getByRole("button", { name: "Note" }).click();
  await b.getByRole("alert").waitFor();
  await picture(b, "phone-dark-conflict");
  await b.getByRole("button", { name: "Keep both" }).click();
  await until(async () => (await paragraph(a).inputValue()) === "Meet at the pier at half past seven.\nMeet at the pier at nine, the train is late.", () => paragraph(a).inputValue());
  expect(await b.getByRole("alert").count()).toBe(0);

  // Somebody removes what somebody else is writing: the text is not gone.
  await add(a, "Add a paragraph", "Who has the keys?");
  const keys = (page: Page) => paragraph(page).nth(1);
  await keys(b).waitFor();
  await b.getByRole("switch").check();
  await keys(b).fill("Anna has the keys.");
  await keys(b).blur();
  await until(async () => (await pending(b)) === 1);
  await keys(a).fill("");
  await keys(a).blur();
  await until(async () => (await paragraph(a).count()) === 1);
  await b.getByRole("switch").uncheck();
  await b.getByText("Somebody removed this paragraph").waitFor();
  await b.getByRole("button", { name: "Put it back" }).click();
  await until(async () => (await paragraph(a).count()) === 2 && (await keys(a).inputValue()) === "Anna has the keys.");

  await b.getByRole("button", { name: "Board" }).click();
  const board = (await b.locator(".board").boundingBox())!;
  await b.mouse.move(board.x + board.width * 0.55, board.y + board.height * 0.4);
  await b.mouse.move(board.x + board.width * 0.6, board.y + board.height * 0.42);
  await a.locator(".cursors").getByText("Bert").waitFor();
  await picture(a, "desktop-light");
  await a.emulateMedia({ colorScheme: "dark" });
  await picture(a, "desktop-dark");
  await b.emulateMedia({ colorScheme: "light" });
  await picture(b, "phone-light");
  await a.getByRole("switch").check();
  await add(a, "Say something", "Now I am in the tunnel");
  await a.emulateMedia({ colorScheme: "light" });
  await picture(a, "desktop-light-offline");

  // A reload without a network to the server: everything is still there.
  await a.getByRole("switch").uncheck();
  await until(async () => (await pending(a)) === 0);
  expect([...anna.errors, ...bert.errors]).toEqual([]);
});

test("the switch cuts the tab that it is in, and no other tab of the browser", async () => {
  const { page: one, errors } = await open({ viewport: { width: 1360, height: 900 } }, "Otter");
  const two = await one.context().newPage();
  await two.goto(w.http + "/demo/");
  await two.getByText("Live", { exact: true }).waitFor();
  const following = async () => (await one.getByText("follows another tab").count()) + (await two.getByText("follows another tab").count());
  await until(async () => (await following()) === 1, following);
  for (const [away, here, n] of [[one, two, 1], [two, one, 2]] as const) {
    await away.getByRole("switch").check();
    await away.getByText("another tab may send it").waitFor();
    await here.getByText("Live", { exact: true }).waitFor();
    await add(here, "Say something", `online ${n}`);
    await until(async () => (await pending(here)) === 0);
    await add(away, "Say something", `offline ${n}`);
    await until(async () => (await pending(away)) === 1);
    expect(await away.getByText(`online ${n}`).count()).toBe(0);
    await away.getByText("Offline", { exact: true }).waitFor();
    await away.getByRole("switch").uncheck();
    for (const page of [one, two]) {
      await page.locator(".chat").getByText(`offline ${n}`).waitFor();
      await page.locator(".chat").getByText(`online ${n}`).waitFor();
      await until(async () => (await pending(page)) === 0);
    }
  }
  expect(errors).toEqual([]);
});
