// The state of the service, asked every two seconds.
import { $, h } from './dom.js';
import { call } from './api.js';
import { start_chrome } from './chrome.js';
import { on_language, say, t } from './i18n.js';
import { figure } from './line_chart.js';

const PERIOD = 2000;
const KEEP = 150; // samples of our own: five minutes
const samples = [];
let last = null;
let heard = performance.now();

const known = (prefix, id) => (t(`${prefix}.${id}`) === `${prefix}.${id}` ? String(id) : t(`${prefix}.${id}`));
const seconds = (v) => (Number.isFinite(v) ? `${figure(v)} s` : '–');
const megabytes = (v) => (Number.isFinite(v) ? (v >= 1e9 ? `${figure(v / 1e9)} GB` : `${figure(v / 1e6)} MB`) : '–');

function duration(s) {
  const [d, hours, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  return [d && `${d} d`, hours && `${hours} h`, `${m} min`].filter(Boolean).join(' ');
}

function tile(key, value, note, tone) {
  return h('div', { class: `card tile ${tone ?? ''}` }, say(h('dt'), key), h('dd', {}, value), note ? h('dd', { class: 'note' }, note) : null);
}

function table(el, heads, rows) {
  el.replaceChildren(h('thead', {}, h('tr', {}, ...heads.map((key) => h('th', { scope: 'col' }, t(key))))),
    h('tbody', {}, ...rows.map((row) => h('tr', {}, ...row.map((cell, i) => (i ? h('td', {}, cell) : h('th', { scope: 'row' }, cell)))))));
}

function state(text, tone) {
  return h('span', { class: `state ${tone}` }, text);
}

function show() {
  if (!last) return;
  const { queue = {}, latency = {}, degrade = {}, workers = [], cache = {}, totals = {} } = last;
  const newest = last.history?.at(-1) ?? {};
  $('#tiles').replaceChildren(
    tile('status.degrade', known('status', `level${degrade.level ?? 0}`), degrade.reason, degrade.level ? 'warn' : 'fine'),
    tile('status.waiting', figure(queue.waiting), Number.isFinite(queue.predicted_wait_s) ? t('status.predicted', { s: figure(queue.predicted_wait_s) }) : t('status.of_limit', { n: queue.limit })),
    tile('status.running', figure(queue.running)),
    tile('status.p50', seconds(latency.p50_s)),
    tile('status.p95', seconds(latency.p95_s)),
    tile('status.per_minute', figure(newest.done_per_min)),
    tile('status.step', seconds(last.step_s)));

  const history = last.history ?? [];
  const line = (name, values) => ({ name: t(name), values });
  const charts = [
    { title: t('status.load'), unit: '', series: [line('status.waiting', history.map((p) => p.waiting)), line('status.running', history.map((p) => p.running))] },
    { title: t('status.times'), unit: ' s', series: [line('status.p50', samples.map((p) => p.p50)), line('status.p95', samples.map((p) => p.p95))] },
    { title: t('status.throughput'), unit: '', series: [line('status.per_minute', history.map((p) => p.done_per_min))] },
    { title: t('status.steps'), unit: ' s', series: [line('status.step', samples.map((p) => p.step))] },
  ];
  if (workers.some((w) => w.gpu)) charts.push({ title: t('status.gpu_load'), unit: ' %', series: workers.filter((w) => w.gpu).map((w) => ({ name: w.device, values: samples.map((p) => p.gpu?.[w.device]) })) });
  const box = $('#charts');
  while (box.children.length < charts.length) box.append(h('ink-chart', { class: 'card' }));
  while (box.children.length > charts.length) box.lastChild.remove();
  charts.forEach((chart, i) => box.children[i].set(chart));

  table($('#workers'), ['device', 'state', 'breaker', 'model', 'memory', 'gpu', 'restarts'].map((k) => `status.${k}`), workers.map((w) => [
    w.device, state(known('state', w.state), ['ready', 'busy'].includes(w.state) ? 'fine' : 'warn'), state(known('breaker', w.breaker), w.breaker === 'closed' ? 'fine' : 'warn'),
    w.model ?? '–', megabytes(w.memory_bytes), w.gpu ? `${figure(w.gpu.utilisation)} %, ${megabytes(w.gpu.used_bytes)} / ${megabytes(w.gpu.total_bytes)}` : '–', String(w.restarts ?? 0),
  ]));
  table($('#caches'), ['cache', 'hits', 'misses', 'rate', 'size'].map((k) => `status.${k}`), Object.entries(cache).map(([name, c]) => [
    known('cache', name), figure(c.hits ?? 0), figure(c.misses ?? 0), c.hits + c.misses ? `${Math.round((100 * c.hits) / (c.hits + c.misses))} %` : '–', megabytes(c.bytes),
  ]));
  $('#totals').replaceChildren(...['accepted', 'done', 'failed', 'cancelled', 'refused', 'rejected'].map((key) => h('div', {}, say(h('dt'), `status.${key}`), h('dd', {}, figure(totals[key] ?? 0)))),
    h('div', {}, say(h('dt'), 'status.oom'), h('dd', {}, figure(last.oom ?? 0))), h('div', {}, say(h('dt'), 'status.uptime'), h('dd', {}, duration(last.uptime_s ?? 0))));

  const blocks = Object.entries(last.safety_blocks ?? {}).sort((a, b) => b[1] - a[1]);
  const most = Math.max(1, ...blocks.map(([, n]) => n));
  $('#safety').replaceChildren(...(blocks.length ? blocks.map(([name, n]) => h('div', {}, h('dt', {}, known('safety', name)), h('dd', {}, h('meter', { min: 0, max: most, value: n, 'aria-hidden': 'true' }), String(n)))) : [h('div', {}, h('dt', {}, t('status.none')), h('dd', {}))]));
  $('#version').textContent = `inkling ${last.version ?? ''}`;
}

function pulse() {
  const silent = Math.round((performance.now() - heard) / 1000);
  const text = $('#pulse span');
  const live = silent < 6;
  $('#pulse').dataset.state = live ? 'live' : 'stale';
  if (live) say(text, 'status.live');
  else say(text, 'status.stale', { s: silent });
}

async function ask() {
  try {
    last = await call('GET', '/v1/stats');
    heard = performance.now();
    samples.push({ p50: last.latency?.p50_s, p95: last.latency?.p95_s, step: last.step_s, gpu: Object.fromEntries((last.workers ?? []).map((w) => [w.device, w.gpu?.utilisation])) });
    if (samples.length > KEEP) samples.shift();
    show();
  } catch {
    // the pulse says how long the service has been silent
  }
  pulse();
  setTimeout(ask, PERIOD);
}

start_chrome();
on_language(show);
ask();
