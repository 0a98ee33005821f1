// Take a picture of a web page with the system's Chromium, and say what the page complained about.
//
// usage: node tools/screenshot.mjs URL OUT.png [--wait-for TEXT] [--width N] [--height N] [--full-page]
//
// Needs `npm ci` in tools/ once, and a Chromium: /usr/bin/chromium, or the path in CHROMIUM.
// Console errors, failed requests and answers of 400 and more go to stderr, one line each.
// Exit codes: 0 fine (also when the page complained), 1 the page or the text did not come (the picture is taken all the same),
// 2 usage.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { chromium } from "playwright-core";

const USAGE = "usage: node tools/screenshot.mjs URL OUT.png [--wait-for TEXT] [--width N] [--height N] [--full-page]";
const PATIENCE_MS = 30_000;
// Headless Chromium keeps no user's settings, so whatever would call home is turned off here. It runs without its sandbox, which
// containers and root do not have: only for pages that are trusted, such as our own.
const CHROMIUM_FLAGS = [
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

function readArguments() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        "wait-for": { type: "string" },
        width: { type: "string", default: "1280" },
        height: { type: "string", default: "900" },
        "full-page": { type: "boolean", default: false },
      },
    });
    const [url, out, ...more] = positionals;
    const [width, height] = [values.width, values.height].map(Number);
    if (!out || more.length || ![width, height].every((pixels) => Number.isInteger(pixels) && pixels > 0)) {
      throw new Error("URL, OUT.png, and whole numbers of pixels are needed");
    }
    return { url, out, width, height, text: values["wait-for"], fullPage: values["full-page"] };
  } catch (error) {
    console.error(`${error.message}\n${USAGE}`);
    process.exit(2);
  }
}

function listen(page) {
  const told = new Set();
  const complain = (kind, text, address) => {
    // Chromium repeats a failed request as a console error, and is the only one to tell of a missing favicon.
    if (address === undefined || !told.has(address)) {
      told.add(address);
      console.error(`${kind}: ${text}`);
    }
  };
  page.on("console", (message) => {
    const { url: address } = message.location();
    const isRequest = message.text().startsWith("Failed to load resource");
    if (message.type() === "error") {
      complain("console", `${message.text()} ${address}`.trim(), isRequest ? address : undefined);
    }
  });
  page.on("pageerror", (error) => complain("exception", error.message));
  page.on("requestfailed", (request) => complain("failed", `${request.url()} ${request.failure()?.errorText}`, request.url()));
  page.on("response", (response) => {
    if (response.status() >= 400) {
      complain(`HTTP ${response.status()}`, response.url(), response.url());
    }
  });
}

// Maps draw after the network is idle, and fade their tiles in: wait until two pictures in a row are the same.
async function settle(page) {
  let before = Buffer.alloc(0);
  for (let round = 0; round < 20; round += 1) {
    await page.waitForTimeout(400);
    const now = await page.screenshot();
    if (now.equals(before)) {
      return;
    }
    before = now;
  }
}

const { url, out, width, height, text, fullPage } = readArguments();
const profile = mkdtempSync(join(tmpdir(), "screenshot-"));
try {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    chromiumSandbox: false,
    args: CHROMIUM_FLAGS,
    viewport: { width, height },
    locale: "en-GB",
  });
  try {
    const page = await context.newPage();
    listen(page);
    try {
      await page.goto(url, { timeout: PATIENCE_MS });
      if (text !== undefined) {
        await page.getByText(text).locator("visible=true").first().waitFor({ timeout: PATIENCE_MS });
      }
      // Tiles that never come (no network) must not hold up the picture.
      await page.waitForLoadState("networkidle", { timeout: 5_000 }).catch(() => {});
      await settle(page);
    } catch (error) {
      console.error(`${url}: ${error.message.split("\n")[0]}`);
      process.exitCode = 1;
    }
    await page.screenshot({ path: out, fullPage });
    console.log(out);
  } finally {
    await context.close();
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  rmSync(profile, { recursive: true, force: true });
}
