// The service: JSON calls, waiting when it is busy, and the events of a job (SSE, or polling where SSE fails).

export class ApiError extends Error {
  constructor(status, error, retry_after) {
    super(error.message ?? `HTTP ${status}`);
    this.status = status;
    this.code = error.code ?? null;
    this.param = error.param ?? null;
    this.refusal = error.refusal ?? null;
    this.retry_after = retry_after;
  }
}

const random_key = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, '0')).join('');

/** Credentials stay with the origin: where a key is configured, the browser's own login asks for it. */
export async function call(method, path, body, headers = {}) {
  const init = { method, credentials: 'same-origin', headers: { accept: 'application/json', ...headers } };
  if (body !== undefined) {
    init.headers['content-type'] = 'application/json';
    init.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, init);
  } catch {
    throw new ApiError(0, { code: 'unreachable', message: '' });
  }
  if (response.status === 204) return null;
  const text = await response.text();
  let answer = {};
  try {
    answer = JSON.parse(text);
  } catch {
    // a proxy's error page: the status alone is used
  }
  if (response.ok) return answer;
  const wait = Number.parseInt(response.headers.get('retry-after') ?? '', 10);
  throw new ApiError(response.status, answer.error ?? {}, Number.isFinite(wait) ? wait : null);
}

export function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });
}

/** Posts a job; while the service is busy, counts the seconds of Retry-After down and asks again. */
export async function submit(path, fields, { on_wait, signal, tries = 20 } = {}) {
  const headers = { 'idempotency-key': random_key() };
  for (let i = 0; ; i++) {
    try {
      return await call('POST', path, fields, headers);
    } catch (error) {
      const busy = error.status === 429 || error.status === 503;
      if (!busy || i + 1 >= tries) throw error;
      for (let left = Math.max(1, error.retry_after ?? 5); left > 0; left--) {
        on_wait?.(left, error);
        await sleep(1000, signal);
      }
    }
  }
}

const ENDED = new Set(['succeeded', 'failed', 'cancelled']);

/** Follows a job to its end. handlers: on_job(job), on_preview({step, steps, image}). */
export function watch(job, handlers, signal) {
  if (ENDED.has(job.status)) return Promise.resolve(job);
  return new Promise((resolve, reject) => {
    let source = null;
    let last = job;
    const leave = () => source?.close();
    signal?.addEventListener('abort', () => {
      leave();
      reject(signal.reason);
    });
    const take = (next) => {
      if (signal?.aborted) return;
      last = { ...last, ...next };
      if (ENDED.has(last.status)) {
        leave();
        resolve(last);
      } else handlers.on_job?.(last);
    };
    const poll = async () => {
      for (let failures = 0; !ENDED.has(last.status) && !signal?.aborted; ) {
        try {
          take(await call('GET', `/v1/jobs/${job.id}`));
          failures = 0;
        } catch (error) {
          if (error.status === 404 || ++failures > 8) return reject(error);
        }
        await sleep(700);
      }
    };
    if (typeof EventSource === 'undefined') return void poll();
    source = new EventSource(`/v1/jobs/${job.id}/events`);
    for (const name of ['queued', 'progress', 'succeeded', 'failed', 'cancelled']) {
      source.addEventListener(name, (event) => {
        take(JSON.parse(event.data));
      });
    }
    source.addEventListener('preview', (event) => handlers.on_preview?.(JSON.parse(event.data)));
    source.onerror = () => {
      leave(); // no silent reconnecting for ever: polling tells for certain how the job ended
      if (!ENDED.has(last.status) && !signal?.aborted) poll();
    };
  });
}

export const cancel = (id) => call('POST', `/v1/jobs/${id}/cancel`, {});

export async function picture(url) {
  const response = await fetch(url, { credentials: 'same-origin' });
  if (!response.ok) throw new ApiError(response.status, {});
  return response.blob();
}

/** What the service allows; a page still works with these when the answer cannot be had. */
export async function config() {
  const base = {
    profiles: ['kids', 'editor'],
    limits: { max_images: 3, max_image_bytes: 8 << 20, max_n: 4, max_side: 2048, prompt_chars: 4096 },
    default_size: 256,
    sizes: [256],
    size_presets: [],
    version: '',
  };
  try {
    const own = await call('GET', '/v1/config');
    return { ...base, ...own, limits: { ...base.limits, ...own.limits } };
  } catch (error) {
    return { ...base, error };
  }
}
