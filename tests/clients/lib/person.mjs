// What a person does in a browser, and what they see: keys, the focus, contrast, what the console says.

import { writeFileSync } from "node:fs";
import path from "node:path";
import { assertTrue } from "./compare.mjs";
import { fail, sleep, waiting } from "./script.mjs";

const KEYS = { Enter: { code: 13, text: "\r" }, Tab: { code: 9 }, ArrowDown: { code: 40 }, " ": { code: 32, text: " " } };

/** Has DevTools tell what the console says, and collects it: errors, warnings, what a policy forbids. */
export async function complaintsOf(page) {
  const complaints = [];
  page.heard = (method, params) => {
    if (method === "Runtime.exceptionThrown") complaints.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
    if (method === "Runtime.consoleAPICalled") complaints.push(`${params.type}: ${params.args.map(({ value }) => value).join(" ")}`);
    if (method === "Log.entryAdded") complaints.push(`${params.entry.level}: ${params.entry.text} ${params.entry.url ?? ""}`);
  };
  for (const domain of ["Runtime", "Log", "Page"]) await page.call(`${domain}.enable`);
  return complaints;
}

/** In the page: how many fields have no name. */
export const namelessFields = `[...document.querySelectorAll("input, select, button")].filter((field) => !(field.labels?.length || field.textContent || field.getAttribute("aria-label"))).length`;

/** Texts with too little contrast, as WCAG 2 counts it. */
export const faintTexts = (page) => page.value(`(${faint})()`);

/** In the page: texts with too little contrast, as WCAG 2 counts it. */
function faint() {
  const channels = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || element.closest("[hidden], noscript, dialog:not([open])")) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)} ${element.textContent.trim().slice(0, 40)}`);
  }
  return found;
}

/** Waits until an expression is true in the page. */
export async function until(page, what, expression) {
  const began = Date.now();
  let says = "";
  const holds = async () => {
    while (!(await page.value(expression))) {
      says = await page.value("document.activeElement.outerHTML.slice(0, 300) + document.body.innerText");
      await sleep(20);
    }
  };
  await waiting(() => `${what}; the page says: ${says}`, holds());
  return Date.now() - began;
}

/** Opens an address anew, and waits until it has loaded. */
export async function go(page, url) {
  for (const [address, expression] of [["about:blank", `location.href === "about:blank"`], [url, `location.href !== "about:blank" && document.readyState === "complete"`]]) {
    await page.call("Page.navigate", { url: address });
    // While one page gives way to the other there is nobody to ask.
    const there = () => page.value(expression).catch(() => false);
    const loaded = async () => {
      while (!(await there())) await sleep(20);
    };
    await waiting(`${address} to load`, loaded());
  }
}

/** How large the window is. */
export async function size(page, width, height) {
  await page.call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 500 });
}

/** What is in the window, as NAME.png in a directory, if there is one. */
export async function picture(page, directory, name) {
  if (!directory) return;
  const { data } = await page.call("Page.captureScreenshot", { captureBeyondViewport: true });
  writeFileSync(path.join(directory, `${name}.png`), Buffer.from(data, "base64"));
}

/** What has the focus, by its id, or else by its words. */
export const focused = (page) => page.value("document.activeElement.id || document.activeElement.getAttribute('aria-label') || document.activeElement.value || document.activeElement.textContent");
/** Presses a key. */
export const press = (page, key) => page.press(key, KEYS[key]);

/** Goes on with Tab until that has the focus; it must show that it has. */
export async function tabTo(page, wanted) {
  const seen = [];
  for (let tabs = 0; tabs < 30; tabs += 1) {
    await press(page, "Tab");
    const at = await focused(page);
    seen.push(at);
    if (at !== wanted) continue;
    const outline = await page.value("getComputedStyle(document.activeElement).outlineStyle");
    assertTrue(`the focus on ${wanted} to be seen`, outline !== "none");
    return;
  }
  fail(`expected to reach ${wanted} by Tab; came to ${seen.join(", ")}`);
}
