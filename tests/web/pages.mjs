// node pages.mjs URL FOLDER: walks through the pages as a child, a seller and an operator do.
import { readFileSync } from 'node:fs';
import { BAG, check, open, start, tab_to, turned_jpeg } from './browser.mjs';

const [, , url, shots] = process.argv;
const only = process.env.ONLY ? new RegExp(process.env.ONLY) : /./;
const WORDS = {
  en: { wish: 'a yellow duck wearing a red hat', unsafe: 'a naked man with a gun, blood and gore, 裸体', edit: 'change the color of the bag to blue', composed: 'a blue rabbit wearing a green crown' },
  zh: { wish: '黄色的小鸭子戴着红色帽子', unsafe: '裸体，血腥恐怖的杀人画面', edit: '把手提包的颜色换成蓝色', composed: '蓝色的兔子戴着绿色王冠' },
};
const XSS = '<img src=x onerror=alert(1)>';

async function drawn(page) {
  await page.waitForSelector('ink-easel[data-state=done] #result, ink-easel[data-state=failed], ink-easel[data-state=refused]');
  check(await page.$('#result'), `no picture: ${await page.textContent('ink-easel')}`);
  const size = await page.$eval('#result', (img) => img.decode().then(() => img.naturalWidth));
  check(size >= 256, `the picture is ${size} px wide`);
}

const shelf = (page) => page.locator('ink-gallery .shelf li').count();

async function draw_by_prompt(browser, options) {
  const t = await open(browser, url, '/', options);
  const { page } = t;
  const words = WORDS[t.lang];
  await t.shot('empty');
  await t.audit('empty');
  await page.fill('#prompt', words.wish);
  await page.click('#draw');
  await page.waitForSelector('ink-easel[data-state=running] progress, ink-easel[data-state=done]');
  const live = await page.textContent('#live');
  check(live.length > 0, 'progress is not announced');
  await page.waitForSelector('.drawing');
  if (await page.$('ink-easel[data-state=running]')) await t.shot('drawing');
  await drawn(page);
  await t.audit('done');
  await t.shot('done');
  check((await shelf(page)) === 1, 'the picture is not in the gallery');

  const first = await page.getAttribute('#result', 'src');
  await page.click('ink-easel .actions .soft >> nth=0'); // again
  await page.waitForFunction((src) => document.querySelector('#result') && document.querySelector('#result').src !== src, first);
  await page.waitForFunction(() => document.querySelectorAll('ink-gallery .shelf li').length === 2);
  await page.reload();
  await page.waitForFunction(() => document.querySelectorAll('ink-gallery .shelf li').length === 2);

  await page.click('.framed >> nth=0');
  await page.waitForSelector('dialog[open] .big');
  await t.audit('viewer');
  await t.shot('viewer');
  const [download] = await Promise.all([page.waitForEvent('download'), page.click('dialog .actions .soft >> nth=1')]);
  const bytes = readFileSync(await download.path());
  check(bytes.length > 2000, 'the saved picture is empty');
  await page.evaluate(() => (window.print = () => (window.printed = true)));
  await page.click('dialog .actions .soft >> nth=2');
  await page.waitForFunction(() => window.printed);
  await page.emulateMedia({ media: 'print' });
  check(await page.isVisible('#sheet img'), 'the picture is not on the printed page');
  check(!(await page.isVisible('#prompt')) && !(await page.isVisible('.top')), 'buttons are on the printed page');
  await t.shot('print');
  await page.emulateMedia({ media: 'screen' });
  await page.click('.framed >> nth=0');
  await page.click('dialog .actions .soft >> nth=3'); // delete
  await page.waitForFunction(() => document.querySelectorAll('ink-gallery .shelf li').length === 1);
  await t.done();
}

async function draw_by_buttons(browser, options) {
  const t = await open(browser, url, '/', options);
  const { page } = t;
  const pick = (group, id) => page.locator(`#panel-${group} button:has(img[src$="${id}.svg"])`).first().click();
  await pick('animal', 'animal-rabbit');
  await page.click('#tab-color');
  await pick('color', 'color-blue');
  await page.click('#tab-accessory');
  await pick('accessory', 'accessory-crown');
  await page.locator('.accessory-colors button:has(img[src$="color-green.svg"])').click();
  check((await page.inputValue('#prompt')) === WORDS[t.lang].composed, `composed: ${await page.inputValue('#prompt')}`);
  await t.audit('buttons');
  await t.shot('buttons');
  await page.click('#language'); // the wish follows the language
  const other = t.lang === 'en' ? 'zh' : 'en';
  check((await page.inputValue('#prompt')) === WORDS[other].composed, 'the wish does not change its language');
  check((await page.getAttribute('html', 'lang')).startsWith(other), 'lang is not set');
  await page.click('#language');
  await page.click('#tab-action');
  await pick('action', 'action-bubbles');
  await page.click('#tab-place');
  await pick('place', 'place-meadow');
  await t.audit('place');
  check((await page.locator('#tokens li').count()) === 6, 'six pictures tell the wish');
  await page.click('#draw');
  await drawn(page);
  await page.click('#clear');
  check((await page.inputValue('#prompt')) === '' && (await page.locator('#tokens li').count()) === 0, 'clear leaves something');
  await page.click('#surprise');
  check((await page.inputValue('#prompt')).length >= 2, 'no surprise'); // 小猫 is one
  await t.done();
}

async function refusal(browser, options) {
  const t = await open(browser, url, '/', options);
  const { page } = t;
  await page.fill('#prompt', WORDS[t.lang].unsafe);
  await page.click('#draw');
  await page.waitForSelector('ink-easel[data-state=refused]');
  check((await page.locator('.suggestion').count()) === 3, 'three suggestions');
  await t.audit('refused');
  await t.shot('refused');
  await page.click('.suggestion >> nth=0');
  await drawn(page);
  await t.done();
}

async function cancelling(browser, options) {
  const t = await open(browser, url, '/', options);
  const { page } = t;
  // a queue: jobs of the same service before ours
  const ahead = await page.evaluate(async (wish) => {
    const ids = [];
    for (let i = 0; i < 3; i++) {
      const answer = await fetch('/v1/jobs', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ prompt: wish, steps: 100, n: 2, seed: Math.floor(Math.random() * 1e9) }) });
      ids.push((await answer.json()).id);
    }
    return ids;
  }, WORDS[t.lang].wish);
  await page.evaluate(() => localStorage.setItem('inkling.steps', '100')); // long enough to be stopped
  await page.fill('#prompt', WORDS[t.lang].wish);
  await page.click('#draw');
  await page.waitForSelector('ink-easel[data-state=queued], ink-easel[data-state=running]');
  if (await page.$('ink-easel[data-state=queued]')) {
    await t.audit('queued');
    await t.shot('queued');
  }
  await page.click('.stop');
  await page.waitForSelector('ink-easel[data-state=cancelled]');
  await page.evaluate((ids) => Promise.all(ids.map((id) => fetch(`/v1/jobs/${id}/cancel`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{}' }))), ahead);
  check(await page.isEnabled('#draw'), 'nothing can be drawn after a stop');
  await t.done();
}

async function busy_and_down(browser, options) {
  const t = await open(browser, url, '/', options);
  const { page } = t;
  let asked = 0;
  await page.route('**/v1/jobs', (route) => {
    if (asked++ > 0) return route.continue();
    return route.fulfill({ status: 429, headers: { 'retry-after': '2' }, contentType: 'application/json', body: JSON.stringify({ error: { message: 'Many are waiting.', type: 'rate_limit', param: null, code: 'busy' } }) });
  });
  await page.route('**/events', (route) => route.fulfill({ status: 503, body: '' })); // no SSE: polling must do
  await page.fill('#prompt', WORDS[t.lang].wish);
  await page.click('#draw');
  await page.waitForSelector('.count');
  await t.audit('waiting');
  await t.shot('waiting');
  await drawn(page);
  check(asked >= 2, 'it was not asked again');
  await page.unroute('**/v1/jobs');
  await page.route('**/v1/jobs', (route) => route.fulfill({ status: 400, contentType: 'application/json', body: JSON.stringify({ error: { message: `no ${XSS}`, type: 'x', param: null, code: 'x' } }) }));
  await page.fill('#prompt', 'x');
  await page.click('#draw');
  await page.waitForSelector('ink-easel[data-state=failed]');
  check((await page.textContent('ink-easel .message')).includes(XSS), 'the message of the service is not shown as text');
  await t.audit('failed');
  await t.done();
}

async function markup_is_text(browser, options) {
  const t = await open(browser, url, '/', options);
  const { page } = t;
  await page.fill('#prompt', `${XSS} ${WORDS[t.lang].wish}`);
  await page.click('#draw');
  await page.waitForSelector('ink-easel[data-state=done], ink-easel[data-state=refused], ink-easel[data-state=failed]');
  if (await page.$('#result')) {
    await page.click('.framed');
    check((await page.textContent('.viewer-prompt')).includes('<img'), 'the prompt is not shown as text');
  }
  check((await page.$$('img[src="x"]')).length === 0, 'markup became an element');
  const blocked = await page.evaluate(async () => {
    const seen = new Promise((resolve) => {
      addEventListener('securitypolicyviolation', (e) => resolve(e.effectiveDirective));
      setTimeout(() => resolve(null), 2000);
    });
    const script = document.createElement('script');
    script.textContent = 'window.evil = 1';
    document.body.append(script);
    return [await seen, window.evil ?? 0];
  });
  check(blocked[0]?.startsWith('script-src') && blocked[1] === 0, `an inline script ran: ${blocked}`);
  await t.context.close(); // the policy's own report is in the console, as it should be
}

async function grown_ups(browser, options) {
  const t = await open(browser, url, '/', options);
  const { page } = t;
  await page.click('#grownups');
  await page.waitForSelector('dialog[open] .question');
  await t.audit('gate');
  await t.shot('gate');
  await page.fill('#gate-answer', '1');
  await page.keyboard.press('Enter');
  check((await page.textContent('#gate-wrong')).length > 3 && !(await page.$('#set-seed')), 'a wrong answer opens the gate');
  const [a, b] = (await page.textContent('.question')).match(/\d+/g).map(Number);
  await page.fill('#gate-answer', String(a * b));
  await page.keyboard.press('Enter');
  await page.fill('#set-seed', '7');
  await page.fill('#set-steps', '4');
  await t.audit('settings');
  await t.shot('settings');
  await page.click('dialog .main');
  await page.fill('#prompt', WORDS[t.lang].wish);
  const [request] = await Promise.all([page.waitForRequest((r) => r.url().endsWith('/v1/jobs') && r.method() === 'POST'), page.click('#draw')]);
  const sent = request.postDataJSON();
  check(sent.seed === 7 && sent.steps === 4 && sent.profile === 'kids', `sent ${JSON.stringify(sent)}`);
  await drawn(page);
  await t.done();
}

async function children_keyboard(browser, options) {
  const t = await open(browser, url, '/', options);
  const { page } = t;
  await tab_to(page, '#tab-animal');
  await tab_to(page, '#panel-animal .picture');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('Space');
  check((await page.inputValue('#prompt')).length > 0, 'no wish by keyboard');
  await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('ArrowRight'); // the next drawer
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.evaluate(() => document.activeElement.blur());
  await tab_to(page, '#prompt');
  await tab_to(page, '#draw');
  await page.keyboard.press('Enter');
  await drawn(page);
  await tab_to(page, '.framed', 80);
  await page.keyboard.press('Enter');
  await page.waitForSelector('dialog[open]');
  await page.keyboard.press('Escape');
  check(!(await page.$('dialog[open]')), 'Escape does not close the picture');
  await t.done();
}

// -- editor ----------------------------------------------------------------
async function edited(page) {
  await page.waitForSelector('input.reveal, #message:visible', { timeout: 90000 });
  check(await page.$('input.reveal'), `no result: ${await page.textContent('#message')}`);
}

async function edit(browser, options) {
  const t = await open(browser, url, '/editor', options);
  const { page } = t;
  const words = WORDS[t.lang];
  await t.audit('empty');
  await t.shot('empty');
  await page.selectOption('#side', '256');
  await page.setInputFiles('#file', { name: `${XSS}.png`, mimeType: 'image/png', buffer: readFileSync(BAG) });
  await page.waitForSelector('ink-mask img[src^=blob]');
  check((await page.textContent('.thumbs .name')).includes('onerror'), 'the file name is not shown as text');
  await page.click('.chip >> nth=4');
  check((await page.inputValue('#instruction')).length > 3, 'a quick instruction writes nothing');
  await page.fill('#instruction', words.edit);
  const box = await page.locator('ink-mask canvas').boundingBox();
  const at = (x, y) => [box.x + box.width * x, box.y + box.height * y];
  await page.evaluate(() => document.querySelector('ink-mask').scrollIntoView({ block: 'center' }));
  const again = await page.locator('ink-mask canvas').boundingBox();
  Object.assign(box, again);
  await page.mouse.move(...at(0.2, 0.3));
  await page.mouse.down();
  for (const [x, y] of [[0.8, 0.3], [0.2, 0.5], [0.8, 0.6], [0.2, 0.8], [0.8, 0.85]]) await page.mouse.move(...at(x, y), { steps: 6 });
  await page.mouse.up();
  const marked = () => page.$eval('ink-mask', (m) => m.png().then((p) => (p ? p.length : 0)));
  check((await marked()) > 0, 'the brush marks nothing');
  await page.click('#mask-undo');
  check((await marked()) === 0, 'undo leaves the mark');
  await page.click('#mask-redo');
  await page.click('#mask-invert');
  await page.click('#mask-invert');
  await t.audit('masked');
  await t.shot('masked');
  const [request] = await Promise.all([page.waitForRequest((r) => r.url().endsWith('/edits')), page.click('#go')]);
  check(request.postDataJSON().mask?.startsWith('data:image/png'), 'the mask is not sent');
  await page.waitForSelector('#busy:visible');
  await edited(page);
  await t.audit('slider');
  await t.shot('slider');
  const cut = () => page.$eval('ink-compare .over', (e) => e.style.clipPath);
  const was = await cut();
  await page.focus('input.reveal');
  for (let i = 0; i < 5; i++) await page.keyboard.press('ArrowRight');
  check((await cut()) !== was, 'the slider does not follow the keys');
  for (const view of ['side', 'difference']) {
    await page.click(`[data-view=${view}]`);
    await page.waitForTimeout(300);
    await t.audit(view);
    await t.shot(view);
  }
  check(/\d/.test(await page.textContent('ink-compare .hint')), 'no share of changed pixels');

  await page.click('#undo');
  check((await page.locator('.node[aria-current]').textContent()).length > 0 && (await page.isDisabled('#undo')), 'undo does not lead to the original');
  await page.selectOption('#count', '2'); // a branch with two candidates
  await page.click('.chip >> nth=1');
  await page.click('#go');
  await edited(page);
  check((await page.locator('.candidates button').count()) === 2, 'two candidates');
  check((await page.locator('ink-history .node').count()) === 3, 'a branch keeps the other');
  await page.click('.candidates button >> nth=1');
  check((await page.locator('ink-history .node').count()) === 4, 'the second candidate becomes a node');
  await t.audit('candidates');
  await t.shot('candidates');

  for (const [format, magic] of [['png', '89504e47'], ['jpeg', 'ffd8ff'], ['webp', '52494646']]) {
    await page.selectOption('#format', format);
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save')]);
    const bytes = readFileSync(await download.path());
    check(bytes.subarray(0, 4).toString('hex').startsWith(magic), `${format}: ${bytes.subarray(0, 4).toString('hex')}`);
    check(!/[<>]/.test(download.suggestedFilename()), `file name ${download.suggestedFilename()}`);
  }
  const presets = await page.$$eval('#preset option', (o) => o.map((x) => x.value).filter(Boolean));
  if (presets.length) {
    await page.selectOption('#preset', presets[0]);
    await page.selectOption('#format', 'png');
    const [download] = await Promise.all([page.waitForEvent('download'), page.click('#save')]);
    const bytes = readFileSync(await download.path());
    const wanted = (await page.textContent('#preset option:checked')).match(/(\d+) × (\d+)/);
    check(bytes.readUInt32BE(16) === Number(wanted[1]) && bytes.readUInt32BE(20) === Number(wanted[2]), `preset ${presets[0]} gave ${bytes.readUInt32BE(16)} x ${bytes.readUInt32BE(20)}`);
  }
  check((await page.$$('img[src="x"]')).length === 0, 'markup became an element');
  await t.done();
}

async function photos(browser, options) {
  const t = await open(browser, url, '/editor', options);
  const { page } = t;
  const turned = await turned_jpeg(page, 640, 320, 6);
  await page.selectOption('#side', '256');
  await page.setInputFiles('#file', [{ name: 'turned.jpg', mimeType: 'image/jpeg', buffer: turned }, { name: 'two.png', mimeType: 'image/png', buffer: readFileSync(BAG) }]);
  await page.waitForSelector('ink-mask img[src^=blob]');
  check((await page.textContent('#facts')).includes('128 × 256'), `turned and reduced: ${await page.textContent('#facts')}`);
  const red = await page.$eval('ink-mask img', async (img) => {
    await img.decode();
    const canvas = Object.assign(document.createElement('canvas'), { width: img.naturalWidth, height: img.naturalHeight });
    const context = canvas.getContext('2d');
    context.drawImage(img, 0, 0);
    return context.getImageData(100, 30, 1, 1).data[0]; // orientation 6: top left goes to the top right
  });
  check(red > 180, 'EXIF orientation is ignored');
  check((await page.locator('.thumbs li').count()) === 2, 'two pictures');
  await page.setInputFiles('#file', { name: 'broken.png', mimeType: 'image/png', buffer: Buffer.from('not a picture') });
  await page.waitForSelector('#message:visible');
  check((await page.textContent('#message')).includes('broken.png'), 'a broken file is not named');
  await t.audit('broken');
  // paste and drop
  const base64 = readFileSync(BAG).toString('base64');
  for (const kind of ['paste', 'drop']) {
    await page.evaluate(async ([name, data]) => {
      const blob = await (await fetch(`data:image/png;base64,${data}`).catch(() => null))?.blob();
      const bytes = blob ?? new Blob([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], { type: 'image/png' });
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], `${name}.png`, { type: 'image/png' }));
      const event = name === 'paste' ? new ClipboardEvent('paste', { clipboardData: transfer }) : new DragEvent('drop', { dataTransfer: transfer, cancelable: true });
      dispatchEvent(event);
    }, [kind, base64]).catch((error) => check(false, error.message));
    await page.waitForFunction((name) => [...document.querySelectorAll('.thumbs .name')].some((e) => e.textContent === `${name}.png`), kind);
  }
  await t.context.close(); // the data: fetch above is refused by the policy and says so in the console
}

/** The label of AI pictures outlives every export. */
async function labels(browser, options) {
  const t = await open(browser, url, '/editor', options);
  const { page } = t;
  const found = await page.evaluate(async () => {
    const { carry_labels } = await import('/assets/js/metadata.js');
    const canvas = Object.assign(document.createElement('canvas'), { width: 40, height: 30 });
    canvas.getContext('2d').fillRect(0, 0, 20, 20);
    const blob = (type) => new Promise((resolve) => canvas.toBlob(resolve, type, 0.9));
    const label = '{"Label":"1","ContentProducer":"inkling <&>"}';
    const text = new TextEncoder().encode(`AIGC\0\0\0\0\0${label}`);
    const plain = new Uint8Array(await (await blob('image/png')).arrayBuffer());
    const length = new Uint8Array(4);
    new DataView(length.buffer).setUint32(0, text.length);
    const source = new Blob([plain.subarray(0, 33), length, new TextEncoder().encode('iTXt'), text, new Uint8Array(4), plain.subarray(33)]);
    const out = {};
    for (const type of ['image/png', 'image/jpeg', 'image/webp']) {
      const made = await carry_labels(source, await blob(type), 40, 30);
      const image = await createImageBitmap(made);
      const bytes = new TextDecoder('latin1').decode(await made.arrayBuffer());
      out[type] = { size: `${image.width}x${image.height}`, label: bytes.includes('"Label"') || bytes.includes('&#34;Label&#34;'), escaped: type === 'image/png' || bytes.includes('inkling &#60;&#38;&#62;') };
    }
    const unlabelled = await blob('image/jpeg');
    out.none = (await carry_labels(new Blob([plain]), unlabelled, 40, 30)) === unlabelled;
    return out;
  });
  for (const [type, r] of Object.entries(found)) {
    if (type === 'none') check(r, 'a label out of nothing');
    else check(r.size === '40x30' && r.label && r.escaped, `${type}: ${JSON.stringify(r)}`);
  }
  await t.done();
}

async function editor_refusal_and_cancel(browser, options) {
  const t = await open(browser, url, '/editor', options);
  const { page } = t;
  await page.selectOption('#side', '256');
  await page.setInputFiles('#file', BAG);
  await page.waitForSelector('ink-mask img[src^=blob]');
  await page.fill('#instruction', WORDS[t.lang].unsafe);
  await page.click('#go');
  await page.waitForSelector('#message:visible');
  await t.audit('refused');
  await t.shot('refused');
  await page.fill('#instruction', WORDS[t.lang].edit);
  await page.selectOption('#count', '4');
  await page.click('#go');
  await page.waitForSelector('#busy:visible');
  await page.click('#cancel');
  await page.waitForSelector('#message:visible');
  check(!(await page.isVisible('#busy')), 'still busy after a stop');
  check((await page.locator('ink-history .node').count()) === 1, 'a stopped edit left a node');
  await page.selectOption('#count', '1');
  await page.check('#auto-mask');
  await page.click('details:has(#match_colors) summary');
  await page.check('#match_colors');
  await t.audit('finishing');
  const [request] = await Promise.all([page.waitForRequest((r) => r.url().endsWith('/edits')), page.click('#message .soft')]); // try again
  const sent = request.postDataJSON();
  check(sent.auto_mask === true && sent.postprocess.match_colors === true && !sent.mask, `sent ${Object.keys(sent)}`);
  await edited(page);
  await t.done();
}

async function editor_keyboard(browser, options) {
  const t = await open(browser, url, '/editor', options);
  const { page } = t;
  // Awaited from the start: the dialog is caught even when a slow machine handles the key before the wait.
  const picked = page.waitForEvent('filechooser');
  await page.selectOption('#side', '256');
  await tab_to(page, '#choose');
  await page.keyboard.press('Enter');
  await (await picked).setFiles(BAG);
  await page.waitForSelector('ink-mask img[src^=blob]');
  await tab_to(page, '#mask-tools button');
  await page.keyboard.press('End');
  await page.keyboard.press('Enter');
  await tab_to(page, 'ink-mask canvas', 120);
  check(await page.isVisible('.rectangle'), 'no rectangle on focus');
  for (const key of ['ArrowRight', 'ArrowDown', 'Shift+ArrowRight', 'Shift+ArrowDown', 'Enter']) await page.keyboard.press(key);
  check(await page.$eval('ink-mask', (m) => m.png().then(Boolean)), 'the keyboard marks nothing');
  await t.audit('keyboard');
  await tab_to(page, '#instruction', 120);
  await page.keyboard.type(WORDS[t.lang].edit);
  await page.keyboard.press('Control+Enter');
  await edited(page);
  check(await page.evaluate(() => document.activeElement.matches('input.reveal')), 'the slider does not get the focus');
  await page.keyboard.press('Home');
  await tab_to(page, '.node', 120);
  await page.keyboard.press('Enter');
  await tab_to(page, '#save', 120);
  const [download] = await Promise.all([page.waitForEvent('download'), page.keyboard.press('Enter')]);
  check((await download.path()).length > 0, 'nothing was saved');
  await t.done();
}

async function chain(browser, options) {
  const t = await open(browser, url, '/editor', options);
  const { page } = t;
  await page.selectOption('#side', '256');
  await page.setInputFiles('#file', BAG);
  await page.waitForSelector('ink-mask img[src^=blob]');
  for (let i = 0; i < 5; i++) {
    await page.click(`.chip >> nth=${[1, 4, 5, 6, 2][i]}`);
    const warned = await page.isVisible('#chain');
    check(warned === (i >= 4), `edit ${i + 1}: warning ${warned}`);
    if (i === 4) await t.shot('chain');
    await page.click('#go');
    await page.waitForFunction((n) => document.querySelectorAll('ink-history .node').length === n && document.querySelector('#busy').hidden, i + 2, { timeout: 90000 });
  }
  await t.audit('chain');
  await t.done();
}

async function status_page(browser, options) {
  const t = await open(browser, url, '/status', options);
  const { page } = t;
  await page.waitForSelector('ink-chart path.line', { state: 'attached' }); // a level line has no height
  await page.waitForTimeout(2500);
  check((await page.getAttribute('#pulse', 'data-state')) === 'live', 'not live');
  check((await page.locator('ink-chart').count()) === 4 && (await page.locator('#workers tbody tr').count()) >= 1, 'charts or workers are missing');
  await t.audit('live');
  await t.shot('live');
  const before = await page.textContent('.heading h1');
  await page.click('#language');
  check((await page.textContent('.heading h1')) !== before, 'the language does not change');
  await t.done();
}

const browser = await start();
const failures = [];
async function run(name, test, options) {
  const label = `${name} ${options.width} ${options.lang}${options.scheme ? ` ${options.scheme}` : ''}`;
  if (!only.test(label)) return;
  const began = Date.now();
  try {
    await test(browser, { ...options, shots });
    console.log(`ok    ${label} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failures.push(label);
    console.log(`FAIL  ${label}\n  ${error.message.split('\n').slice(0, 12).join('\n  ')}`);
  }
}

for (const width of [360, 1280]) {
  for (const lang of ['zh', 'en']) {
    const at = { width, lang };
    await run('draw by prompt', draw_by_prompt, at);
    await run('draw by buttons', draw_by_buttons, at);
    await run('refusal', refusal, at);
    await run('cancel', cancelling, at);
    await run('grown-ups', grown_ups, at);
    await run('edit', edit, at);
    await run('editor refusal and cancel', editor_refusal_and_cancel, at);
    await run('status', status_page, at);
  }
}
const wide = { width: 1280, lang: 'en' };
await run('busy and down', busy_and_down, wide);
await run('markup is text', markup_is_text, wide);
await run('children keyboard', children_keyboard, wide);
await run('editor keyboard', editor_keyboard, wide);
await run('photos', photos, wide);
await run('chain', chain, wide);
await run('labels', labels, wide);
const dark = { width: 1280, lang: 'en', scheme: 'dark' };
await run('draw by buttons', draw_by_buttons, dark);
await run('refusal', refusal, { ...dark, width: 360, lang: 'zh' });
await run('edit', edit, dark);
await run('status', status_page, dark);
await browser.close();
console.log(failures.length ? `${failures.length} failed` : 'all passed');
process.exit(failures.length ? 1 : 0);
