// Visit pages in the system's Chromium and print what they show, as JSON: `node visit.mjs PLAN.json`.
//
// The plan: {"playwright": folder with the package, "chromium": its path, "visits": [{"name", "url", "wait_for": selectors that must
// come, "steps": what is done then, each [verb, selector, text], "picture": where the map's picture goes}]}. Requests to any other
// origin than the url's are refused and listed, so what is seen does not depend on a network. "download" is the beginning of what
// the first such button leads to.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

const plan = JSON.parse(readFileSync(process.argv[2], "utf8"));
const { chromium } = createRequire(join(plan.playwright, "package.json"))("playwright-core");
const PATIENCE_MS = 45_000;

const VERBS = {
  click: (page, selector) => page.locator(selector).first().click({ timeout: PATIENCE_MS }),
  fill: (page, selector, text) => page.locator(selector).first().fill(text, { timeout: PATIENCE_MS }),
  wait: (page, selector) => page.locator(selector).first().waitFor({ timeout: PATIENCE_MS }),
  press: (page, key) => page.keyboard.press(key),
};

async function visit(context, { url, wait_for: selectors, steps, picture }) {
  const { origin } = new URL(url);
  const page = await context.newPage();
  const complaints = [];
  const elsewhere = new Set();
  await page.route("**/*", (route) => {
    const asked = new URL(route.request().url());
    if (asked.origin === origin || !asked.protocol.startsWith("http")) {
      return route.continue();
    }
    elsewhere.add(asked.hostname);
    return route.abort();
  });
  page.on("console", (message) => {
    const { url: address } = message.location();
    // A refused request is told by `elsewhere`.
    if (message.type() === "error" && (!address || address.startsWith(origin))) {
      complaints.push(message.text());
    }
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("response", (answer) => {
    if (answer.status() >= 400) {
      complaints.push(`${answer.status()} ${answer.url()}`);
    }
  });
  await page.goto(url, { timeout: PATIENCE_MS });
  for (const selector of selectors) {
    await page.locator(selector).first().waitFor({ timeout: PATIENCE_MS });
  }
  for (const [verb, ...words] of steps) {
    await VERBS[verb](page, ...words);
  }
  await page.waitForLoadState("networkidle", { timeout: PATIENCE_MS }).catch(() => {});
  if (picture) {
    await settle(page, picture);
  }
  const links = await page.locator("a[href]").evaluateAll((all) => all.map((each) => [each.textContent.trim(), each.href]));
  const download = links.find(([text]) => text === "Download")?.[1];
  const shown = {
    download: download ? await firstBytes(download) : null,
    url: page.url(),
    title: await page.title(),
    text: await page.locator("body").innerText(),
    links,
  };
  await page.close();
  return { ...shown, complaints, elsewhere: [...elsewhere] };
}

async function firstBytes(href) {
  const answer = await fetch(href, { headers: { range: "bytes=0-3" } });
  return answer.status === 206 ? Buffer.from(await answer.arrayBuffer()).toString("latin1") : `HTTP ${answer.status}`;
}

// Maps fade their tiles in: wait until two pictures in a row are the same.
async function settle(page, path) {
  let before = Buffer.alloc(0);
  for (let round = 0; round < 30; round += 1) {
    await page.waitForTimeout(300);
    const now = await page.locator(".ol-viewport").first().screenshot({ path });
    if (now.equals(before)) {
      return;
    }
    before = now;
  }
}

const profile = mkdtempSync(join(tmpdir(), "visit-"));
try {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: plan.chromium,
    chromiumSandbox: false,
    args: ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    viewport: { width: 1280, height: 900 },
    locale: "en-GB",
  });
  try {
    const seen = await Promise.all(plan.visits.map(async (each) => [each.name, await visit(context, each)]));
    console.log(JSON.stringify(Object.fromEntries(seen)));
  } finally {
    await context.close();
  }
} finally {
  rmSync(profile, { recursive: true, force: true });
}
