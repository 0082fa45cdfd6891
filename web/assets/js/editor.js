// The photo editor: pictures in, an instruction, perhaps a mask, and a tree of results.
import { $, $$, announce, file_name, h, roving, save } from './dom.js';
import { call, cancel, config, picture, submit, watch } from './api.js';
import { start_chrome } from './chrome.js';
import { icon } from './icons.js';
import { label, language, on_language, say, t, translate } from './i18n.js';
import { data_url, decoded, PhotoError, preset_size, read_photo, rendered } from './photo.js';
import { carry_labels } from './metadata.js';
import './compare.js';
import './history.js';
import './mask.js';

const mask = $('ink-mask');
const compare = $('ink-compare');
const tree = $('ink-history');
const instruction = $('#instruction');
const QUICK = ['watermark', 'white', 'label', 'text', 'color', 'place', 'wear'];
const SIDES = [256, 512, 768, 1024, 1536, 2048];

let known = { limits: { max_images: 3, max_image_bytes: 8 << 20, max_n: 4, max_side: 2048 }, size_presets: [], default_size: 256 };
let files = []; // the chosen files; the first is the picture that is edited, the others are examples
let references = [];
let limit = 4; // edits in a row before errors add up
let view = 'mask';
let running = null;

// -- pictures ------------------------------------------------------------
function complain(key, vars) {
  show_message(t(key, vars));
}

function show_message(text, { retry = null, suggestions = [], kind = 'bad' } = {}) {
  const box = $('#message');
  $('#work').hidden = !tree.root; // a message is also shown before the first picture
  box.dataset.kind = kind;
  const buttons = suggestions.map((wish) => h('button', { type: 'button', class: 'soft', onclick: () => { instruction.value = wish; run(); } }, wish));
  if (retry) buttons.push(h('button', { type: 'button', class: 'soft', onclick: retry }, icon('again'), say(h('span'), 'retry')));
  box.replaceChildren(icon(kind === 'bad' ? 'warning' : 'info'), h('p', {}, text), ...(buttons.length ? [h('div', { class: 'buttons' }, ...buttons)] : []));
  box.hidden = false;
  if (!tree.root) $('#drop').after(box);
  else $('#candidates').after(box);
}

const hide_message = () => ($('#message').hidden = true);

async function take(list, add) {
  hide_message();
  const room = known.limits.max_images - (add ? files.length : 0);
  let chosen = [...list];
  if (chosen.length > room) {
    complain('error.too_many', { n: known.limits.max_images });
    chosen = chosen.slice(0, Math.max(0, room));
  }
  if (!chosen.length) return;
  const side = Number($('#side').value);
  const read = [];
  for (const file of chosen) {
    try {
      read.push({ file, photo: await read_photo(file, known.limits, side) });
    } catch (error) {
      if (!(error instanceof PhotoError)) throw error;
      complain(`error.photo_${error.message}`, { name: file.name });
    }
  }
  if (!read.length) return;
  if (add && tree.root) {
    references.push(...read.map((r) => r.photo));
    files.push(...read.map((r) => r.file));
  } else {
    files = read.map((r) => r.file);
    references = read.slice(1).map((r) => r.photo);
    const { photo } = read[0];
    tree.start({ blob: photo.blob, url: photo.url, width: photo.width, height: photo.height });
    if (photo.reduced) announce(t('pictures.reduced', { w: photo.width, h: photo.height }));
    $('#candidates').hidden = true;
    set_view('mask');
  }
  show_pictures();
  show();
}

function show_pictures() {
  const root = tree.root;
  const entries = root ? [{ url: root.url, name: files[0]?.name ?? '', first: true }, ...references] : [];
  $('#pictures').replaceChildren(...entries.map((entry, i) => {
    const item = h('li', {}, h('img', { src: entry.url, alt: '', width: 64, height: 64 }), h('span', {}, entry.first ? t('pictures.main') : t('pictures.reference', { n: i + 1 })), h('span', { class: 'name' }, entry.name));
    if (!entry.first) {
      const button = h('button', { type: 'button', class: 'round', onclick: () => {
        references.splice(i - 1, 1);
        files.splice(i, 1);
        show_pictures();
        $('#add').focus();
      } }, icon('close'));
      item.append(label(button, 'pictures.remove', { n: i + 1 }));
    }
    return item;
  }));
  $('#add').disabled = !root || entries.length >= known.limits.max_images;
}

// -- stage ---------------------------------------------------------------
function set_view(to) {
  view = to;
  for (const button of $$('#views button')) button.setAttribute('aria-pressed', String(button.dataset.view === to));
  show();
}

function before() {
  return $('#against').value === 'root' ? tree.root : tree.parent_of(tree.current);
}

/** The stage as the present node and view want it. */
function show() {
  const node = tree.current;
  $('#drop').hidden = Boolean(node);
  $('#work').hidden = !node;
  for (const id of ['masking', 'go', 'save']) $(`#${id}`).disabled = !node || Boolean(running);
  $('#undo').disabled = !tree.parent_of(node) || Boolean(running);
  if (!node) return;
  const other = before();
  for (const button of $$('#views button')) button.disabled = button.dataset.view !== 'mask' && !other;
  if (!other && view !== 'mask') return set_view('mask');
  mask.hidden = view !== 'mask';
  compare.hidden = view === 'mask';
  $('#against-box').hidden = view === 'mask' || node.depth < 2;
  if (view === 'mask') {
    if (mask.node !== node) {
      mask.show(node.url, node.width, node.height, node.instruction ?? t('history.original'));
      mask.node = node;
    }
  } else compare.show(view, other, node);
  const chain = $('#chain');
  chain.hidden = node.depth < limit;
  if (!chain.hidden) say($('span', chain), 'chain.warning', { n: node.depth + 1, limit });
  const facts = [`${node.width} × ${node.height}`];
  if (node.seed !== undefined) facts.push(t('facts.seed', { n: node.seed }));
  if (node.model) facts.push(node.model + (node.model_reason ? `: ${node.model_reason}` : ''));
  $('#facts').replaceChildren(...[...facts, ...(node.notes ?? [])].map((text) => h('span', {}, text)));
}

function go_to(node) {
  if (node.session) call('POST', `/v1/sessions/${node.session}/head`, { node: node.node }).catch(() => {}); // the parent is named with every edit anyway
  $('#candidates').hidden = true;
  hide_message();
  show();
  announce(t('history.at', { n: node.depth, text: node.instruction ?? t('history.original') }));
}

async function undo() {
  const node = tree.current;
  const parent = tree.parent_of(node);
  if (!parent) return;
  if (node.session && node.session === parent.session) call('POST', `/v1/sessions/${node.session}/undo`, {}).catch(() => {});
  tree.go(parent);
  go_to(parent);
}

/** What is done to the result; undefined when nothing was asked for. */
function finishing() {
  const chosen = {};
  for (const name of ['white_balance', 'match_colors']) if ($(`#${name}`).checked) chosen[name] = true;
  for (const name of ['sharpen', 'guided_filter']) if (Number($(`#${name}`).value) > 0) chosen[name] = Number($(`#${name}`).value);
  return Object.keys(chosen).length ? chosen : undefined;
}

// -- editing -------------------------------------------------------------
async function open_session(node, options) {
  const session = await submit('/v1/sessions', { image: await data_url(node.blob) }, options);
  node.session = session.id;
  node.node = session.head;
  limit = session.limit ?? limit;
}

async function post(node, fields, options) {
  if (references.length) {
    const images = [await data_url(node.blob), ...(await Promise.all(references.map((r) => data_url(r.blob))))];
    return submit('/v1/jobs', { ...fields, images }, options);
  }
  if (!node.session) await open_session(node, options);
  const edit = () => submit(`/v1/sessions/${node.session}/edits`, { ...fields, parent: node.node }, options);
  try {
    return await edit();
  } catch (error) {
    if (error.status !== 404) throw error;
    await open_session(node, options); // the service has forgotten the session; the picture is still here
    return edit();
  }
}

function progress(job) {
  const queued = job.status === 'queued';
  const bar = $('#progress');
  if (queued) bar.removeAttribute('value');
  else bar.value = job.steps ? (job.step ?? 0) / job.steps : 0;
  const eta = job.eta_s > 0 ? Math.max(1, Math.round(job.eta_s)) : null;
  if (queued) say($('#phase'), eta ? 'editor.queued_eta' : 'editor.queued', { n: (job.queue_position ?? 0) + 1, s: eta });
  else say($('#phase'), eta ? 'editor.running_eta' : 'editor.running', { step: job.step ?? 0, steps: job.steps ?? 0, s: eta });
  if (queued || (job.step ?? 0) <= 1) announce($('#phase').textContent);
}

function busy(on) {
  $('#busy').hidden = !on;
  $('#preview').hidden = true;
  if (on) $('#progress').removeAttribute('value');
  show();
}

async function run() {
  const text = instruction.value.trim();
  const node = tree.current;
  if (!node || running) return;
  if (!text) {
    instruction.focus();
    return show_message(t('error.no_instruction'), { kind: 'info' });
  }
  hide_message();
  const fields = { prompt: text, profile: 'editor', preview: true, output_format: 'png', n: Number($('#count').value), seed: crypto.getRandomValues(new Uint32Array(1))[0] };
  const png = await mask.png();
  if (png && mask.node === node) fields.mask = png;
  else if ($('#auto-mask').checked) fields.auto_mask = true;
  const after = finishing();
  if (after) fields.postprocess = after;
  const controller = new AbortController();
  running = { controller, job: null };
  set_view('mask');
  busy(true);
  say($('#phase'), 'editor.sending');
  $('#cancel').focus();
  const on_wait = (s, error) => {
    $('#phase').textContent = `${error.message || t('error.busy')} ${t('easel.countdown', { s })}`;
  };
  try {
    let job = await post(node, fields, { on_wait, signal: controller.signal });
    running.job = job;
    if (controller.signal.aborted) {
      await cancel(job.id);
      throw controller.signal.reason;
    }
    progress(job);
    const on_preview = ({ image }) => {
      $('#preview').src = image;
      $('#preview').hidden = false;
    };
    job = await watch(job, { on_job: progress, on_preview }, controller.signal);
    if (job.status === 'failed') throw Object.assign(new Error(job.error?.message ?? ''), { refusal: job.error?.refusal });
    if (job.status === 'cancelled') throw new DOMException('cancelled', 'AbortError');
    await finish(job, node, text);
  } catch (error) {
    if (error.name === 'AbortError') show_message(t('editor.cancelled'), { kind: 'info', retry: run });
    else show_message(explain(error), { retry: error.refusal ? null : run, suggestions: error.refusal?.suggestions ?? [] });
  } finally {
    running = null;
    busy(false);
  }
  ($('input.reveal') ?? $('#message button') ?? instruction).focus();
}

function explain(error) {
  if (error.status === 0) return t('error.unreachable');
  if (error.status === 401) return t('error.login');
  return error.message || t('error.other');
}

async function finish(job, parent, text) {
  const results = [];
  for (const image of job.images) {
    const blob = await picture(image.url);
    const url = URL.createObjectURL(blob);
    const { naturalWidth: width, naturalHeight: height } = await decoded(url);
    const notes = [...(job.degraded ? job.degradations ?? [] : []), ...(job.notes ?? [])];
    results.push({ blob, url, width, height, seed: image.seed, model: job.model, model_reason: job.model_reason, notes, session: null, node: null });
  }
  if (job.node && parent.session) Object.assign(results[0], { session: parent.session, node: job.node });
  const chosen = new Map([[0, tree.add(parent, text, results[0])]]);
  running = null;
  set_view('slider');
  candidates(results, chosen, parent, text);
  announce(t('editor.done', { n: results.length }));
}

/** Each result is one click; a chosen one becomes a branch of the tree. */
function candidates(results, chosen, parent, text) {
  $('#candidates').hidden = results.length < 2;
  const group = $('#candidates div');
  group.replaceChildren(...results.map((result, i) => {
    const button = h('button', { type: 'button', 'aria-pressed': String(i === 0), onclick: () => {
      if (chosen.has(i)) tree.go(chosen.get(i));
      else chosen.set(i, tree.add(parent, text, result));
      for (const b of group.children) b.setAttribute('aria-pressed', String(b === button));
      show();
    } }, h('img', { src: result.url, alt: '', width: 120, height: 120 }), h('span', {}, String(i + 1)));
    return label(button, 'candidates.choose', { n: i + 1 });
  }));
}

// -- export --------------------------------------------------------------
async function export_picture(event) {
  event.preventDefault();
  const node = tree.current;
  if (!node) return;
  const format = $('#format').value;
  const type = `image/${format}`;
  const size = known.size_presets.map(preset_size).find((p) => p.name === $('#preset').value);
  // untouched bytes keep everything that the service wrote into the file
  const blob = !size && node.blob.type === type ? node.blob : await carry_labels(node.blob, await rendered(node.url, type, 0.92, size), size?.width ?? node.width, size?.height ?? node.height);
  save(blob, file_name(files[0]?.name.replace(/\.[^.]*$/, '') ?? 'inkling', format === 'jpeg' ? 'jpg' : format));
  announce(t('export.done'));
}

// -- wiring --------------------------------------------------------------
function fill_lists() {
  const lang = language();
  $('#quick').replaceChildren(...QUICK.map((key) => {
    const button = h('button', { type: 'button', class: 'chip', onclick: () => {
      const [text, part] = t(`quick.${key}.text`).split('|');
      instruction.value = text;
      instruction.focus();
      const at = part ? text.indexOf(part) : -1; // the words to change are selected
      if (at >= 0) instruction.setSelectionRange(at, at + part.length);
    } });
    return say(button, `quick.${key}`);
  }));
  const kept = $('#preset').value;
  const option = (value, text) => h('option', { value }, text);
  $('#preset').replaceChildren(option('', t('export.original')), ...known.size_presets.map(preset_size).filter((p) => p.width).map((p) => option(p.name, `${p.name.replace(/_?\d+(x\d+)?$/, '').replace(/_/g, ' ') || t('export.square')} ${p.width} × ${p.height}`)));
  $('#preset').value = kept;
  const names = ['top_left', 'top', 'top_right', 'left', 'center', 'right', 'bottom_left', 'bottom', 'bottom_right'];
  $('#regions').replaceChildren(...names.map((name, i) => h('button', {
    type: 'button', class: 'soft', lang: lang === 'zh' ? 'zh-CN' : 'en',
    onclick: () => {
      mask.region((i % 3) / 3, Math.floor(i / 3) / 3, 1 / 3, 1 / 3);
      announce(t('mask.marked', { name: t(`region.${name}`) }));
    },
  }, t(`region.${name}`))));
}

function fill_sides() {
  const usual = 1024; // a service with a smaller model edits small and enlarges; it says so in its notes
  $('#side').replaceChildren(...SIDES.filter((s) => s <= known.limits.max_side).map((s) => h('option', { value: s, selected: s === usual }, `${s} px`)));
  $$('#count option').forEach((o, i) => (o.disabled = o.hidden = i >= known.limits.max_n));
}

$('#choose').addEventListener('click', () => $('#file').click());
for (const [id, add] of [['add', true], ['restart', false]]) {
  $(`#${id}`).addEventListener('click', () => {
    $('#file').dataset.add = add ? '1' : '';
    $('#file').click();
  });
}
$('#file').addEventListener('change', async (event) => {
  const list = [...event.target.files];
  event.target.value = '';
  await take(list, event.target.dataset.add === '1' && Boolean(tree.root));
  event.target.dataset.add = '';
});
addEventListener('paste', (event) => {
  const list = [...(event.clipboardData?.files ?? [])];
  if (list.length) take(list, Boolean(tree.root) && files.length < known.limits.max_images);
});
for (const name of ['dragenter', 'dragover']) {
  addEventListener(name, (event) => {
    event.preventDefault();
    $('.stage').classList.add('over');
  });
}
for (const name of ['dragleave', 'drop']) addEventListener(name, () => $('.stage').classList.remove('over'));
addEventListener('drop', (event) => {
  event.preventDefault();
  const list = [...(event.dataTransfer?.files ?? [])];
  if (list.length) take(list, false);
});
$('#side').addEventListener('change', async () => {
  if (tree.size === 1 && files.length) await take(files, false); // before the first edit the photo is read again
});

roving($('#views'), 'button');
roving($('#mask-tools'), 'button');
for (const button of $$('#views button')) button.addEventListener('click', () => set_view(button.dataset.view));
$('#against').addEventListener('change', show);
for (const button of $$('#mask-tools button')) {
  button.addEventListener('click', () => {
    for (const b of $$('#mask-tools button')) b.setAttribute('aria-pressed', String(b === button));
    mask.choose(button.dataset.tool);
    if (view !== 'mask') set_view('mask');
  });
}
$('#mask-size').addEventListener('input', (event) => (mask.size = event.target.value / 100));
for (const name of ['undo', 'redo', 'invert', 'clear']) $(`#mask-${name}`).addEventListener('click', () => mask[name]());
mask.addEventListener('masked', () => {
  $('#mask-undo').disabled = !mask.can_undo;
  $('#mask-redo').disabled = !mask.can_redo;
});
addEventListener('keydown', (event) => {
  if (!(event.ctrlKey || event.metaKey) || /TEXTAREA|INPUT/.test(event.target.tagName) || !tree.root) return;
  if (event.key.toLowerCase() === 'z') {
    event.preventDefault();
    if (event.shiftKey) mask.redo();
    else mask.undo();
  }
});
$('#edit-form').addEventListener('submit', (event) => {
  event.preventDefault();
  run();
});
instruction.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) run();
});
$('#cancel').addEventListener('click', () => {
  if (!running) return;
  const { controller, job } = running;
  controller.abort(new DOMException('cancelled', 'AbortError'));
  if (job) cancel(job.id).catch(() => {}); // it may have ended meanwhile
});
$('#undo').addEventListener('click', undo);
tree.addEventListener('go', (event) => go_to(event.detail));
$('#export').addEventListener('submit', export_picture);
on_language(() => {
  fill_lists();
  show_pictures();
  show();
});

mask.choose('brush');
fill_sides();
start_chrome();
translate();
config().then((answer) => {
  known = answer;
  limit = answer.chain_limit ?? limit;
  fill_sides();
  fill_lists();
  show_pictures();
  show();
  if (answer.error) show_message(explain(answer.error));
});
