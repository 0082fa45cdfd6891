// <ink-gate>: settings for grown-ups behind a small sum.
import { h } from './dom.js';
import { icon } from './icons.js';
import { label, say, stored } from './i18n.js';
import * as store from './store.js';

const number = (text, low, high) => {
  const value = Number(text);
  return text.trim() !== '' && Number.isInteger(value) && value >= low && value <= high ? value : undefined;
};

export class Gate extends HTMLElement {
  sizes = [256];
  #dialog = h('dialog', { class: 'gate', 'aria-labelledby': 'gate-title' });
  #passed = false;

  connectedCallback() {
    this.append(this.#dialog);
  }

  open() {
    this.#dialog.replaceChildren(this.#passed ? this.#settings() : this.#sum());
    this.#dialog.showModal();
  }

  /** Fields for the job; only what a grown-up has set. */
  fields() {
    const size = number(stored('size'), 256, 2048);
    return { seed: number(stored('seed'), -(2 ** 53), 2 ** 53), steps: number(stored('steps'), 1, 100), width: size, height: size };
  }

  #card(...children) {
    const close = h('button', { type: 'button', class: 'round close', onclick: () => this.#dialog.close() }, icon('close'));
    label(close, 'close');
    return h('div', { class: 'card' }, close, say(h('h2', { id: 'gate-title' }), 'gate.title'), ...children);
  }

  #sum() {
    const a = 6 + Math.floor(Math.random() * 4);
    const b = 3 + Math.floor(Math.random() * 7);
    const answer = h('input', { id: 'gate-answer', inputmode: 'numeric', autocomplete: 'off', maxlength: 4, 'aria-describedby': 'gate-wrong', required: true, autofocus: true });
    const wrong = h('p', { id: 'gate-wrong', class: 'wrong', role: 'alert' });
    const form = h('form', {
      class: 'sum',
      onsubmit: (event) => {
        event.preventDefault();
        if (Number(answer.value) !== a * b) {
          say(wrong, 'gate.wrong');
          answer.select();
          return;
        }
        this.#passed = true;
        this.#dialog.replaceChildren(this.#settings());
        this.#dialog.querySelector('input').focus();
      },
    }, say(h('label', { for: 'gate-answer', class: 'question' }), 'gate.question', { a, b }), answer,
    say(h('button', { class: 'main', type: 'submit' }), 'gate.answer'));
    return this.#card(say(h('p'), 'gate.why'), form, wrong);
  }

  #settings() {
    const field = (name, key, control, hint) => h('div', { class: 'field' }, say(h('label', { for: `set-${name}` }), key), control, say(h('p', { class: 'hint', id: `hint-${name}` }), hint));
    const input = (name, low, high) => h('input', {
      id: `set-${name}`, type: 'number', min: low, max: high, step: 1, value: stored(name), 'aria-describedby': `hint-${name}`,
      onchange: (event) => stored(name, event.target.value),
    });
    const size = h('select', { id: 'set-size', 'aria-describedby': 'hint-size', onchange: (event) => stored('size', event.target.value) });
    for (const side of this.sizes) size.append(h('option', { value: side, selected: String(side) === stored('size') }, `${side} × ${side}`));
    const emptied = h('p', { class: 'hint', role: 'status' });
    const empty = h('button', {
      type: 'button',
      class: 'soft',
      onclick: async () => {
        await store.empty();
        say(emptied, 'gate.emptied');
        this.dispatchEvent(new CustomEvent('emptied'));
      },
    }, icon('trash'), say(h('span'), 'gate.empty'));
    return this.#card(
      field('seed', 'gate.seed', input('seed', -(2 ** 53), 2 ** 53), 'gate.seed_hint'),
      field('steps', 'gate.steps', input('steps', 1, 100), 'gate.steps_hint'),
      field('size', 'gate.size', size, 'gate.size_hint'),
      h('div', { class: 'actions' }, empty, say(h('button', { type: 'button', class: 'main', onclick: () => this.#dialog.close() }), 'gate.done')), emptied,
      h('p', { class: 'links' }, say(h('a', { href: '/editor' }), 'link.editor'), say(h('a', { href: '/status' }), 'link.status')));
  }
}

customElements.define('ink-gate', Gate);
