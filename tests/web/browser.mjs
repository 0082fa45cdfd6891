// What the tests of the pages share: a browser, a record of everything that must not happen, axe.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const here = dirname(fileURLToPath(import.meta.url));
export const BAG = join(here, 'data/bag.png');

export function check(condition, text) {
  if (!condition) throw new Error(text);
}

export async function start() {
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--force-color-profile=srgb'] });
}

/** A page in a language and width; done() fails on any foreign request, console error or broken policy. */
export async function open(browser, url, path, { width = 1280, lang = 'en', scheme = 'light', shots } = {}) {
  const context = await browser.newContext({
    viewport: { width, height: width < 600 ? 780 : 900 }, locale: lang === 'zh' ? 'zh-CN' : 'en-US', colorScheme: scheme, acceptDownloads: true, hasTouch: width < 600,
  });
  const page = await context.newPage();
  page.setDefaultTimeout(30000);
  const faults = [];
  const origin = new URL(url).origin;
  page.on('request', (request) => {
    const to = request.url();
    if (!/^(data|blob):/.test(to) && new URL(to).origin !== origin) faults.push(`third-party request: ${to}`);
  });
  page.on('console', (message) => {
    // Chromium itself notes answers such as a refusal's 400 as errors
    if (message.type() === 'error' && !/^Failed to load resource: the server responded with a status of (400|429|503)/.test(message.text())) faults.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => faults.push(`exception: ${error.stack}`));
  page.on('dialog', (dialog) => {
    faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  await page.goto(url + path);
  await page.waitForFunction(() => document.documentElement.lang && document.title !== 'inkling');
  const name = (state) => `${path === '/' ? 'children' : path.slice(1)}-${state}-${width}-${lang}${scheme === 'dark' ? '-dark' : ''}`;
  return {
    page, context, lang, width,
    shot: (state) => page.screenshot({ path: join(shots, `${name(state)}.png`), fullPage: true }),
    /** axe (WCAG 2.2 A and AA), no sideways scrolling, 44 px targets. */
    async audit(state) {
      await page.waitForFunction(() => document.getAnimations().every((a) => a.effect.getTiming().iterations === Infinity || a.playState !== 'running'));
      await page.evaluate(axe + ';0');
      const result = await page.evaluate(() => window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
      for (const v of result.violations) faults.push(`axe ${name(state)} ${v.id}: ${v.nodes.map((n) => `${n.target} ${n.any.map((a) => a.message).join(' ')}`).slice(0, 3).join(' | ')}`);
      const small = await page.evaluate(() => [...document.querySelectorAll('button, a[href], select, textarea, input:not(.hidden, [type=checkbox]), label.check, summary')]
        .filter((e) => e.checkVisibility({ visibilityProperty: true }) && !e.closest('.skip'))
        .map((e) => ({ box: e.getBoundingClientRect(), e }))
        .filter(({ box }) => box.width > 1 && (box.width < 43.5 || box.height < 43.5))
        .map(({ e, box }) => `${e.tagName} ${e.id || e.className || e.textContent} ${Math.round(box.width)}x${Math.round(box.height)}`));
      if (small.length) faults.push(`targets under 44 px in ${name(state)}: ${small.slice(0, 5).join(', ')}`);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (over > 0) faults.push(`${name(state)} scrolls sideways by ${over} px`);
    },
    async done() {
      await context.close();
      check(faults.length === 0, faults.join('\n  '));
    },
  };
}

/** Tab until an element has the focus: proof that the keyboard alone gets there. */
export async function tab_to(page, selector, most = 60) {
  for (let i = 0; i < most; i++) {
    await page.keyboard.press('Tab');
    if (await page.evaluate((s) => document.activeElement?.matches(s), selector)) return;
  }
  throw new Error(`the keyboard does not reach ${selector}`);
}

/** A JPEG of the page's canvas, turned by an EXIF orientation tag. */
export async function turned_jpeg(page, width, height, orientation) {
  const base64 = await page.evaluate(([w, h]) => {
    const canvas = Object.assign(document.createElement('canvas'), { width: w, height: h });
    const context = canvas.getContext('2d');
    context.fillStyle = '#2a6';
    context.fillRect(0, 0, w, h);
    context.fillStyle = '#e33';
    context.fillRect(0, 0, w / 2, h / 2); // top left before turning
    return canvas.toDataURL('image/jpeg').split(',')[1];
  }, [width, height]);
  const jpeg = Buffer.from(base64, 'base64');
  const tiff = Buffer.from([0x4d, 0x4d, 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, orientation, 0, 0, 0, 0, 0, 0]);
  const body = Buffer.concat([Buffer.from('Exif\0\0', 'latin1'), tiff]);
  const head = Buffer.from([0xff, 0xe1, 0, body.length + 2]);
  return Buffer.concat([jpeg.subarray(0, 2), head, body, jpeg.subarray(2)]);
}
