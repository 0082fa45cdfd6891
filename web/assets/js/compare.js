// <ink-compare>: before and after under a slider, side by side, or as their difference.
import { h } from './dom.js';
import { say, t } from './i18n.js';
import { difference } from './photo.js';

export class Compare extends HTMLElement {
  #before = null;
  #after = null;
  #turn = 0;

  show(mode, before, after) {
    this.dataset.mode = mode;
    this.#before = before;
    this.#after = after;
    this.#turn++;
    this.style.setProperty('--ratio', after.width / after.height);
    if (mode === 'slider') this.#slider();
    else if (mode === 'side') this.#side();
    else this.#difference();
  }

  #picture(node, key, name) {
    return h('figure', { class: name }, h('img', { src: node.url, alt: t(key), draggable: 'false' }), say(h('figcaption'), key));
  }

  #slider() {
    const top = h('img', { src: this.#before.url, alt: t('compare.before'), class: 'over', draggable: 'false' });
    const line = h('div', { class: 'cut' });
    const range = h('input', { type: 'range', min: 0, max: 100, value: 50, class: 'reveal' });
    range.dataset.tLabel = 'compare.range';
    range.setAttribute('aria-label', t('compare.range'));
    const move = () => {
      top.style.clipPath = `inset(0 ${100 - range.value}% 0 0)`;
      line.style.left = `${range.value}%`;
      range.setAttribute('aria-valuetext', t('compare.share', { n: range.value }));
    };
    range.addEventListener('input', move);
    const layers = h('div', { class: 'layers' }, h('img', { src: this.#after.url, alt: t('compare.after'), draggable: 'false' }), top, line);
    const drag = (event) => {
      if (event.type === 'pointermove' && !(event.buttons & 1)) return;
      const box = layers.getBoundingClientRect();
      range.value = Math.round(((event.clientX - box.left) / box.width) * 100);
      move();
    };
    layers.addEventListener('pointerdown', drag);
    layers.addEventListener('pointermove', drag);
    this.replaceChildren(layers, h('div', { class: 'ends' }, say(h('span'), 'compare.before'), range, say(h('span'), 'compare.after')));
    move();
  }

  #side() {
    this.replaceChildren(this.#picture(this.#before, 'compare.before', 'half'), this.#picture(this.#after, 'compare.after', 'half'));
  }

  async #difference() {
    const turn = this.#turn;
    const canvas = h('canvas', { role: 'img' });
    const text = h('p', { class: 'hint', role: 'status' });
    this.replaceChildren(canvas, text);
    const share = await difference(canvas, this.#before.url, this.#after.url);
    if (turn !== this.#turn) return;
    say(text, 'compare.changed', { n: (share * 100).toFixed(1) });
    canvas.setAttribute('aria-label', text.textContent);
  }
}

customElements.define('ink-compare', Compare);
