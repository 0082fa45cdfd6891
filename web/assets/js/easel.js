// <ink-easel>: the sheet of paper: empty, waiting in line, getting sharper, done, or a friendly no.
// Sends 'cancel', 'again', 'print', 'wish' (a suggestion).
import { h, announce, file_name, save } from './dom.js';
import { icon } from './icons.js';
import { say, t } from './i18n.js';
import { art } from './picker.js';

const QUEUE = ['duck', 'rabbit', 'bear', 'cat', 'panda', 'frog', 'fox', 'owl'];
const PHASES = new Set(['encode prompt', 'denoise', 'decode', 'load', 'check']);

const soft = (name, key, onclick) => h('button', { type: 'button', class: 'soft', onclick }, icon(name), say(h('span'), key));

export class Easel extends HTMLElement {
  #paper = h('div', { class: 'paper' });
  #below = h('div', { class: 'below' });
  #preview = null;
  #said = 0;
  state = '';

  connectedCallback() {
    this.append(this.#paper, this.#below);
    this.idle();
  }

  #set(state, paper, below) {
    this.state = this.dataset.state = state;
    this.#paper.replaceChildren(...paper);
    this.#below.replaceChildren(...below);
  }

  #send(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #stop() {
    const button = h('button', { type: 'button', class: 'soft stop', onclick: () => this.#send('cancel') }, icon('close'), say(h('span'), 'cancel'));
    return h('div', { class: 'actions' }, button);
  }

  idle() {
    this.#set('idle', [h('div', { class: 'empty' }, art('action-painting'), say(h('p'), 'easel.empty'))], []);
  }

  /** The service is busy and said when to ask again. */
  wait(seconds, message) {
    if (this.state !== 'waiting') {
      this.count = h('strong', { class: 'count' });
      this.#set('waiting', [h('div', { class: 'empty' }, art('action-sleeping'), h('p', { class: 'message' }, message || t('easel.busy')), this.count)], [this.#stop()]);
      announce(message || t('easel.busy'));
    }
    say(this.count, 'easel.countdown', { s: seconds });
  }

  sending() {
    this.#preview = null;
    this.#set('sending', [h('div', { class: 'empty' }, art('action-painting'), say(h('p'), 'easel.sending'))], [this.#stop()]);
    announce(t('easel.sending'));
  }

  job(job) {
    if (job.status === 'queued') this.#queued(job);
    else this.#running(job);
  }

  #queued(job) {
    const place = (job.queue_position ?? 0) + 1; // the service counts those ahead
    const vars = { n: place, s: Math.max(1, Math.round(job.eta_s ?? 0)) };
    const ahead = Math.min(place - 1, QUEUE.length - 1);
    const line = h('ol', { class: 'line', 'aria-hidden': 'true' });
    for (let i = 0; i < ahead; i++) line.append(h('li', {}, art(`animal-${QUEUE[i]}`)));
    line.append(h('li', { class: 'you' }, art('action-waving'), say(h('span'), 'easel.you')));
    const text = place > 1 ? 'easel.in_line' : 'easel.next';
    const eta = job.eta_s > 0 ? say(h('p', { class: 'eta' }), 'easel.eta', vars) : null;
    this.#set('queued', [h('div', { class: 'empty queue' }, line, say(h('p'), text, vars), eta)].filter(Boolean), [this.#stop()]);
    announce(t(text, vars));
  }

  #running(job) {
    if (this.state !== 'running') {
      this.#said = 0;
      this.bar = h('progress', { max: 1, value: 0 });
      this.bar.dataset.tLabel = 'easel.progress';
      this.bar.setAttribute('aria-label', t('easel.progress'));
      this.phase = h('p', { class: 'phase' });
      this.#preview ??= h('div', { class: 'empty painting' }, art('action-painting'));
      this.#set('running', [this.#preview], [this.bar, this.phase, this.#stop()]);
      announce(t('easel.drawing'));
    }
    const share = job.steps ? (job.step ?? 0) / job.steps : 0;
    this.bar.value = share;
    const phase = PHASES.has(job.phase) ? job.phase.replace(' ', '_') : 'denoise';
    say(this.phase, `phase.${phase}`, { step: job.step ?? 0, steps: job.steps ?? 0 });
    const half = Math.floor(share * 2);
    if (half > this.#said && share < 1) announce(t('easel.half'));
    this.#said = half;
  }

  /** An unfinished picture: the fewer steps are done, the softer it is shown. */
  preview({ step, steps, image }) {
    if (!this.#preview || this.#preview.tagName !== 'IMG') {
      const img = h('img', { class: 'drawing', alt: '' });
      if (this.state === 'running') this.#paper.replaceChildren(img);
      this.#preview = img;
    }
    this.#preview.src = image;
    this.#preview.style.filter = `blur(${(12 * (1 - Math.min(1, step / Math.max(1, steps)))).toFixed(1)}px)`;
  }

  done(pictures, job, prompt) {
    const shown = pictures.map(({ url }, i) => h('img', { class: 'drawing done', src: url, alt: i ? '' : prompt, id: i ? undefined : 'result' }));
    this.#preview = null;
    const first = pictures[0];
    const notes = [...(job.degraded ? job.degradations ?? [] : []), ...(job.notes ?? [])];
    this.#set('done', shown, [
      h('div', { class: 'actions' },
        soft('again', 'again', () => this.#send('again', prompt)),
        soft('download', 'download', () => save(first.blob, file_name(prompt, first.blob.type.split('/')[1] ?? 'png'))),
        soft('print', 'print', () => this.#send('print', { url: first.url, prompt }))),
      job.degraded ? say(h('p', { class: 'small-note' }), 'easel.degraded') : null,
      notes.length || job.model_reason ? h('details', { class: 'small-note' }, say(h('summary'), 'easel.how'), ...[...notes, job.model_reason].filter(Boolean).map((n) => h('p', {}, n))) : null,
    ].filter(Boolean));
    announce(t('easel.done'));
  }

  refused(message, suggestions) {
    const list = h('ul', { class: 'suggestions' }, ...suggestions.map((wish) => h('li', {}, h('button', { type: 'button', class: 'suggestion', onclick: () => this.#send('wish', wish) }, icon('brush'), h('span', {}, wish)))));
    this.#set('refused', [h('div', { class: 'empty refusal' }, art('action-teaching'), h('p', { class: 'message' }, message), say(h('p', { class: 'hint' }), 'easel.try'), list)], []);
    announce(message);
    list.querySelector('button')?.focus();
  }

  cancelled() {
    this.#set('cancelled', [h('div', { class: 'empty' }, art('action-standing'), say(h('p'), 'easel.cancelled'))], []);
    announce(t('easel.cancelled'));
  }

  failed(message) {
    this.#set('failed', [h('div', { class: 'empty' }, art('action-umbrella'), h('p', { class: 'message' }, message), soft('again', 'retry', () => this.#send('again', null)))], []);
    announce(message);
  }
}

customElements.define('ink-easel', Easel);
