// The children's page: a wish in words or pictures, one button, a sheet of paper, a gallery.
import { $, announce, calm, h, scroll_to } from './dom.js';
import { cancel, config, picture, submit, watch } from './api.js';
import { start_chrome } from './chrome.js';
import { language, on_language, t } from './i18n.js';
import { art, EMPTY } from './picker.js';
import { GROUPS, COLORS, compose, surprise } from './vocabulary.js';
import './easel.js';
import './gallery.js';
import './gate.js';

const prompt = $('#prompt');
const picker = $('ink-picker');
const easel = $('ink-easel');
const gallery = $('ink-gallery');
const gate = $('ink-gate');
const draw_button = $('#draw');

let composed = ''; // what the buttons wrote; other text is the child's own and is only added to
let pieces = {};
let running = null; // {controller, job}
let last = { prompt: '' };

/** What one button adds to a child's own words. */
function piece(group, picked) {
  const lang = language();
  if (group === 'animal' || group === 'color') return GROUPS[group][picked[group]][lang];
  const one = { ...EMPTY, [group]: picked[group] };
  if (group === 'accessory') one.accessory_color = picked.accessory_color;
  return compose(one, lang).replace(/^(小动物|a little animal ?)[，,]? ?/, '');
}

function own_words() {
  return prompt.value.trim() !== '' && prompt.value !== composed;
}

/** Buttons rewrite their own sentence; to a child's own words they add theirs. */
function take_pick(picked) {
  if (!own_words()) {
    composed = compose(picked, language());
    prompt.value = composed;
    pieces = {};
  } else {
    const glue = language() === 'zh' ? '，' : ', ';
    for (const group of Object.keys(GROUPS)) {
      const was = pieces[group];
      const text = picked[group] ? glue + piece(group, picked) : undefined;
      if (was === text) continue;
      if (was) prompt.value = prompt.value.replace(was, '');
      prompt.value += text ?? '';
      pieces[group] = text;
    }
  }
  show_wish();
}

/** The wish as a row of little pictures; a tap takes one away. */
function show_wish() {
  const names = { accessory_color: COLORS, ...GROUPS };
  const tokens = Object.entries(picker.picked).filter(([, id]) => id).map(([group, id]) => {
    const kind = group === 'accessory_color' ? 'color' : group;
    const name = names[group][id][language()];
    const token = h('button', {
      type: 'button', class: `token token-${group}`, 'aria-label': t('wish.remove', { name }), title: t('wish.remove', { name }),
      onclick: () => {
        picker.set({ ...picker.picked, [group]: null });
        take_pick(picker.picked);
        ($('#tokens button') ?? prompt).focus();
      },
    }, art(`${kind}-${id}`));
    return h('li', {}, token);
  });
  $('#tokens').replaceChildren(...tokens);
  $('#clear').hidden = prompt.value === '';
}

function start_again() {
  picker.set(EMPTY);
  prompt.value = composed = '';
  pieces = {};
  show_wish();
}

function explain(error) {
  if (error.status === 0) return t('error.unreachable');
  if (error.status === 401) return t('error.login');
  if (error.status === 503 && !error.message) return t('error.busy');
  return error.message || t('error.other');
}

async function draw(text, { fresh = false } = {}) {
  const wish = text.trim();
  if (!wish) {
    prompt.focus();
    announce(t('wish.empty'));
    $('#hint').hidden = false;
    return;
  }
  $('#hint').hidden = true;
  if (running) return;
  const controller = new AbortController();
  running = { controller, job: null };
  last = { prompt: wish };
  draw_button.disabled = true;
  easel.sending();
  scroll_to(easel);
  const own = gate.fields();
  const fields = { prompt: wish, profile: 'kids', style: 'kids_cute_v2', preview: true };
  for (const [key, value] of Object.entries(own)) {
    if (value !== undefined && !(fresh && key === 'seed')) fields[key] = value;
  }
  if (fresh) fields.seed = crypto.getRandomValues(new Uint32Array(1))[0]; // another picture even where the first was cached
  try {
    let job = await submit('/v1/jobs', fields, { on_wait: (s, error) => easel.wait(s, error.message), signal: controller.signal });
    running.job = job;
    if (controller.signal.aborted) {
      await cancel(job.id);
      throw controller.signal.reason;
    }
    if (job.status === 'queued' || job.status === 'running') easel.job(job);
    job = await watch(job, { on_job: (j) => easel.job(j), on_preview: (p) => easel.preview(p) }, controller.signal);
    await finish(job, wish);
  } catch (error) {
    if (controller.signal.aborted) easel.cancelled();
    else if (error.refusal) easel.refused(error.message, error.refusal.suggestions ?? []);
    else easel.failed(explain(error));
  } finally {
    running = null;
    draw_button.disabled = false;
    scroll_to(easel); // its buttons have come
  }
}

async function finish(job, wish) {
  if (job.status === 'cancelled') return easel.cancelled();
  if (job.status === 'failed') {
    if (job.error?.refusal) return easel.refused(job.error.message, job.error.refusal.suggestions ?? []);
    return easel.failed(job.error?.message || t('error.other'));
  }
  const pictures = [];
  for (const image of job.images) {
    const blob = await picture(image.url);
    pictures.push({ blob, url: URL.createObjectURL(blob) });
    await gallery.add({ blob, prompt: wish, seed: image.seed, created: Date.now() });
  }
  easel.done(pictures, job, wish);
  set_sheet(pictures[0].url, wish);
}

function stop() {
  if (!running) return;
  const { controller, job } = running;
  controller.abort(new DOMException('cancelled', 'AbortError'));
  if (job) cancel(job.id).catch(() => {}); // it may have ended meanwhile
}

/** The sheet that the print stylesheet shows. */
function set_sheet(url, text) {
  $('#sheet').replaceChildren(h('img', { src: url, alt: text }), h('p', {}, text));
}

async function print_picture({ url, prompt: text }) {
  set_sheet(url, text);
  await $('#sheet img').decode().catch(() => {});
  print();
}

function again(text) {
  const wish = text || last.prompt || prompt.value;
  if (prompt.value.trim() !== wish) {
    start_again();
    prompt.value = wish;
    show_wish();
  }
  draw(wish, { fresh: true });
}

picker.addEventListener('pick', (event) => take_pick(event.detail));
prompt.addEventListener('input', () => {
  const said = composed ? [composed] : Object.values(pieces).filter(Boolean);
  if (said.some((words) => !prompt.value.includes(words))) {
    // the words of the buttons were changed by hand: from here on they are the child's own
    picker.set(EMPTY);
    composed = '';
    pieces = {};
  }
  show_wish();
});
prompt.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    draw(prompt.value);
  }
});
draw_button.addEventListener('click', () => draw(prompt.value));
$('#clear').addEventListener('click', () => {
  start_again();
  prompt.focus();
});
$('#surprise').addEventListener('click', () => {
  start_again();
  picker.set(surprise());
  take_pick(picker.picked);
});
easel.addEventListener('cancel', stop);
easel.addEventListener('again', (event) => again(event.detail));
easel.addEventListener('print', (event) => print_picture(event.detail));
easel.addEventListener('wish', (event) => {
  start_again();
  prompt.value = event.detail;
  show_wish();
  draw(event.detail);
});
gallery.addEventListener('again', (event) => again(event.detail));
gallery.addEventListener('print', (event) => print_picture(event.detail));
gate.addEventListener('emptied', () => gallery.refresh());
$('#grownups').addEventListener('click', () => gate.open());
$('#to-gallery').addEventListener('click', () => {
  $('#gallery').scrollIntoView({ behavior: calm() ? 'auto' : 'smooth' });
  $('#gallery h2').focus();
});
on_language((lang) => {
  if (composed && prompt.value === composed) {
    composed = compose(picker.picked, lang);
    prompt.value = composed;
  }
  show_wish();
});

start_chrome();
show_wish();
config().then((known) => {
  prompt.maxLength = Math.min(known.limits.prompt_chars, 500); // a child's wish is short; the service takes more
  gate.sizes = known.sizes;
  if (known.error) easel.failed(explain(known.error));
});
