// A stand-in for `inkling serve` for work on the pages: the same routes and events, one job at a time, no checks.
//   node tests/web/mock_server.mjs [PORT]      pictures by $INKLING (default build/bin/inkling)
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { dirname, extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '../..');
const web = join(root, 'web');
const program = process.env.INKLING ?? join(root, 'build/bin/inkling');
const step_ms = Number(process.env.STEP_MS ?? 120);
const scratch = mkdtempSync(join(tmpdir(), 'inkling-mock-'));
const run = promisify(execFile);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
const CSP = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const UNSAFE = /blood|horror|gun|monster with knife|血腥|恐怖|枪/i;
const SUGGESTIONS = {
  en: ['a friendly dinosaur eating ice cream', 'a brave lion wearing a red cape', 'a little owl under the starry sky'],
  zh: ['友好的恐龙在吃冰淇淋', '勇敢的狮子披着红色披风', '星空下的小猫头鹰'],
};

const jobs = new Map();
const sessions = new Map();
const queue = [];
const totals = { accepted: 0, done: 0, failed: 0, cancelled: 0, refused: 0, rejected: 0 };
const safety = {};
const history = [];
let running = null;
const started = Date.now();

const id = (prefix) => `${prefix}_${randomBytes(16).toString('hex')}`;
const now = () => Math.floor(Date.now() / 1000);

function error(status, message, code = null, extra = {}, headers = {}) {
  return { status, headers, body: { error: { message, type: 'invalid_request_error', param: null, code, ...extra } } };
}

function view(job) {
  const { pictures, watchers, fields, controller, ...shown } = job;
  void pictures, watchers, fields, controller;
  const place = queue.indexOf(job);
  return { ...shown, queue_position: job.status === 'queued' ? place + (running ? 1 : 0) : null, eta_s: job.status === 'queued' ? (place + 1) * 1.5 : null };
}

function send(job, event, data = view(job)) {
  for (const response of job.watchers) {
    response.write(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
    if (['succeeded', 'failed', 'cancelled'].includes(event)) response.end();
  }
}

function end(job, status, changes = {}) {
  Object.assign(job, { status, ...changes });
  totals[{ succeeded: 'done', failed: 'failed', cancelled: 'cancelled' }[status]]++;
  send(job, status);
}

async function pump() {
  if (running || !queue.length) return;
  const job = (running = queue.shift());
  for (const other of queue) send(other, 'queued');
  job.status = 'running';
  job.phase = 'encode prompt';
  send(job, 'progress');
  try {
    const f = job.fields;
    for (let i = 0; i < f.n; i++) {
      const file = join(scratch, `${job.id}-${i}.png`);
      const seed = Math.abs(f.seed + i) % 2147483647;
      const args = [f.images.length ? 'edit' : 'generate', '-p', job.prompt, '-s', String(seed), '-o', file];
      f.images.forEach((bytes, k) => {
        const reference = join(scratch, `${job.id}-in${k}.${bytes[0] === 0x89 ? 'png' : 'jpg'}`);
        writeFileSync(reference, bytes);
        args.push('-i', reference);
      });
      await run(program, args);
      job.pictures.push({ bytes: readFileSync(file), seed });
    }
    const preview = `data:image/png;base64,${job.pictures[0].bytes.toString('base64')}`;
    job.phase = 'denoise';
    for (job.step = 1; job.step <= job.steps && job.status === 'running'; job.step++) {
      await sleep(step_ms);
      if (job.status !== 'running') break;
      send(job, 'progress');
      if (f.preview && job.step % 2 === 0) send(job, 'preview', { step: job.step, steps: job.steps, image: preview });
    }
    if (job.status === 'running') {
      if (f.session) remember(job);
      end(job, 'succeeded', { images: job.pictures.map((p, i) => ({ url: `/v1/jobs/${job.id}/images/${i}`, seed: p.seed, width: 256, height: 256, format: 'png' })) });
    }
  } catch (problem) {
    if (job.status === 'running') end(job, 'failed', { error: error(500, String(problem.stderr ?? problem.message).slice(-300), 'internal').body.error });
  }
  running = null;
  pump();
}

function remember(job) {
  const session = sessions.get(job.fields.session);
  const node = `n${session.nodes.length}`;
  const parent = job.fields.parent;
  session.pictures[node] = job.pictures[0].bytes;
  const depth = session.nodes.find((n) => n.id === parent).depth + 1;
  session.nodes.push({ id: node, parent, depth, instruction: job.prompt, image_url: `/v1/sessions/${session.id}/images/${node}`, created: now() });
  session.head = job.node = node;
  if (depth > session.limit) job.notes.push('The chain was longer than its limit: it was run again from the original.');
}

const bytes_of = (url) => Buffer.from(url.replace(/^data:[^,]*,/, ''), 'base64');

function create(fields, extra = {}) {
  const known = new Set(['prompt', 'negative_prompt', 'profile', 'style', 'width', 'height', 'steps', 'cfg_scale', 'seed', 'n', 'images', 'mask', 'auto_mask', 'geometry', 'model', 'deadline_s', 'preview', 'output_format', 'quality', 'postprocess', 'label', 'session', 'parent']);
  for (const key of Object.keys(fields)) if (!known.has(key)) return error(400, `unknown field ${key}`);
  if (typeof fields.prompt !== 'string' || !fields.prompt) return error(400, 'prompt: a text of 1 to 4096 characters is needed');
  const zh = /[\u4e00-\u9fff]/.test(fields.prompt);
  if (UNSAFE.test(fields.prompt)) {
    totals.refused++;
    safety.violence = (safety.violence ?? 0) + 1;
    return error(400, zh ? '这个我们不画，换一个开心的愿望吧！' : 'Let us draw something friendlier instead!', 'moderation_blocked', { refusal: { category: 'violence', suggestions: SUGGESTIONS[zh ? 'zh' : 'en'] } });
  }
  const job = {
    id: id('job'), object: 'job', status: 'queued', created: now(), profile: fields.profile ?? 'kids', prompt: fields.prompt, phase: 'queued', step: 0, steps: fields.steps ?? 8,
    degraded: false, degradations: [], model: 'inkling-tiny', model_reason: 'the only model of this service', cache: null, images: [], error: null, notes: [], session: null, node: null, timings: {},
    pictures: [], watchers: new Set(),
    fields: { ...fields, seed: fields.seed ?? Math.floor(Math.random() * 2 ** 31), n: fields.n ?? 1, images: (fields.images ?? []).map(bytes_of), ...extra },
  };
  jobs.set(job.id, job);
  queue.push(job);
  totals.accepted++;
  setTimeout(pump, 250);
  return { status: 202, body: view(job) };
}

const shown_session = ({ pictures, ...session }) => (void pictures, session);

function session_route(method, parts, body) {
  if (method === 'POST' && parts.length === 2) {
    const session = { id: id('ses'), nodes: [], head: 'n0', limit: 4, pictures: { n0: bytes_of(body.image) } };
    session.nodes.push({ id: 'n0', parent: null, depth: 0, instruction: null, image_url: `/v1/sessions/${session.id}/images/n0`, created: now() });
    sessions.set(session.id, session);
    return { status: 201, body: shown_session(session) };
  }
  const session = sessions.get(parts[2]);
  if (!session) return error(404, 'no such session');
  if (parts[3] === 'images') return { status: 200, bytes: session.pictures[parts[4]] };
  if (parts[3] === 'edits') {
    const parent = body.parent ?? session.head;
    const { parent: _, ...fields } = body;
    return create(fields, { session: session.id, parent, images: [session.pictures[parent]] });
  }
  if (parts[3] === 'undo') session.head = session.nodes.find((n) => n.id === session.head).parent ?? session.head;
  if (parts[3] === 'head') session.head = body.node;
  return { status: 200, body: shown_session(session) };
}

function stats() {
  return {
    uptime_s: (Date.now() - started) / 1000, version: 'mock',
    workers: [{ device: 'cpu', state: running ? 'busy' : 'ready', pid: process.pid, restarts: 0, breaker: 'closed', model: 'inkling-tiny', memory_bytes: 412e6, gpu: null }],
    queue: { waiting: queue.length, running: running ? 1 : 0, limit: 64, predicted_wait_s: queue.length * 1.5 },
    degrade: { level: 0, reason: '' }, totals, latency: { p50_s: 1.2, p95_s: 2.1, p99_s: 2.4, queue_p95_s: 0.6 }, step_s: step_ms / 1000,
    cache: Object.fromEntries(['result', 'embedding', 'latent', 'template'].map((k, i) => [k, { hits: 12 * (4 - i), misses: 9 + i, entries: 9, bytes: 1e6 * (i + 1) }])),
    safety_blocks: safety, oom: 0, history,
  };
}

function route(method, path, body, response) {
  const parts = path.split('/').filter(Boolean);
  if (path === '/v1/config') {
    return { status: 200, body: { profile: 'kids', profiles: ['kids', 'editor', 'open'], styles: ['none', 'kids_cute_v2'], models: [{ id: 'inkling-tiny' }], limits: { max_images: 3, max_image_bytes: 8 << 20, max_n: 4, max_side: 2048, prompt_chars: 4096 }, default_size: 256, sizes: [256], size_presets: [{ id: 'square_1000', width: 1000, height: 1000 }, { id: 'taobao_800', width: 800, height: 800 }], chain_limit: 4, auth: false, version: 'mock' } };
  }
  if (path === '/v1/stats') return { status: 200, body: stats() };
  if (parts[1] === 'sessions') return session_route(method, parts, body);
  if (path === '/v1/jobs' && method === 'POST') return create(body);
  const job = jobs.get(parts[2]);
  if (parts[1] !== 'jobs' || !job) return error(404, 'not found');
  if (parts[3] === 'cancel') {
    const at = queue.indexOf(job);
    if (at >= 0) queue.splice(at, 1);
    if (['queued', 'running'].includes(job.status)) end(job, 'cancelled');
    return { status: 200, body: view(job) };
  }
  if (parts[3] === 'images') return { status: 200, bytes: job.pictures[Number(parts[4])].bytes };
  if (parts[3] === 'events') {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
    job.watchers.add(response);
    const event = job.status === 'running' ? 'progress' : job.status;
    response.write(`event: ${event}\ndata: ${JSON.stringify(view(job))}\n\n`);
    if (!['queued', 'running'].includes(job.status)) response.end();
    response.on('close', () => job.watchers.delete(response));
    return null;
  }
  return { status: 200, body: view(job) };
}

function file(path, response) {
  const pages = { '/': 'index.html', '/editor': 'editor.html', '/status': 'status.html', '/favicon.ico': 'favicon.svg', '/favicon.svg': 'favicon.svg' };
  const name = pages[path] ?? (path.startsWith('/assets/') ? normalize(path).slice(1) : null);
  try {
    const bytes = readFileSync(join(web, name));
    response.writeHead(200, { 'content-type': TYPES[extname(name)], 'content-security-policy': CSP, 'x-content-type-options': 'nosniff', 'cache-control': 'no-cache' });
    response.end(bytes);
  } catch {
    response.writeHead(404).end();
  }
}

setInterval(() => {
  history.push({ t: now(), waiting: queue.length, running: running ? 1 : 0, p95_s: 1.6 + Math.sin(Date.now() / 20000) * 0.4, done_per_min: 8 + Math.cos(Date.now() / 30000) * 5 });
  if (history.length > 60) history.shift();
}, 1000).unref();

createServer(async (request, response) => {
  const path = new URL(request.url, 'http://mock').pathname;
  if (!path.startsWith('/v1/')) return file(path, response);
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString();
  const answer = route(request.method, path, text ? JSON.parse(text) : {}, response);
  if (!answer) return;
  if (answer.bytes) {
    response.writeHead(200, { 'content-type': answer.bytes[0] === 0x89 ? 'image/png' : 'image/jpeg' }).end(answer.bytes);
  } else {
    response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers }).end(JSON.stringify(answer.body));
  }
}).listen(Number(process.argv[2] ?? 8099), '127.0.0.1', () => console.log(`http://127.0.0.1:${process.argv[2] ?? 8099}`));
