// <ink-mask>: marks where a picture may change: brush, eraser, and for the keyboard a rectangle (arrow keys) or nine regions.
// What was done is a list of operations, replayed on undo: a list is small where copies of a large canvas are not.
import { h, announce } from './dom.js';
import { t } from './i18n.js';

const COLOR = '#e4007c';

export class Mask extends HTMLElement {
  tool = 'brush'; // brush | eraser | rectangle | none
  size = 0.12; // of the shorter side
  #image = h('img', { alt: '', class: 'photo', draggable: 'false' });
  #canvas = h('canvas', { tabindex: 0, role: 'application', 'aria-describedby': 'mask-help' });
  #box = h('div', { class: 'rectangle', hidden: true });
  #operations = [];
  #undone = [];
  #stroke = null;
  #rectangle = { x: 0.35, y: 0.35, w: 0.3, h: 0.3 };

  connectedCallback() {
    this.#canvas.dataset.tLabel = 'mask.canvas';
    this.#canvas.setAttribute('aria-label', t('mask.canvas'));
    this.append(h('div', { class: 'layers' }, this.#image, this.#canvas, this.#box));
    this.#canvas.addEventListener('pointerdown', (event) => this.#down(event));
    this.#canvas.addEventListener('pointermove', (event) => this.#move(event));
    for (const name of ['pointerup', 'pointercancel']) this.#canvas.addEventListener(name, () => this.#up());
    this.#canvas.addEventListener('keydown', (event) => this.#key(event));
    this.#canvas.addEventListener('focus', () => this.#show_box());
    this.#canvas.addEventListener('blur', () => this.#show_box());
  }

  show(url, width, height, alt) {
    this.#image.src = url;
    this.#image.alt = alt;
    this.#canvas.width = width;
    this.#canvas.height = height;
    this.style.setProperty('--ratio', width / height);
    this.#operations = [];
    this.#undone = [];
    this.#replay();
  }

  choose(tool) {
    this.tool = tool;
    this.dataset.tool = tool;
    this.#show_box();
  }

  get can_undo() { return this.#operations.length > 0; }
  get can_redo() { return this.#undone.length > 0; }

  undo() {
    if (this.can_undo) this.#undone.push(this.#operations.pop());
    this.#replay();
  }

  redo() {
    if (this.can_redo) this.#operations.push(this.#undone.pop());
    this.#replay();
  }

  invert() { this.#do({ kind: 'invert' }); }
  clear() { this.#do({ kind: 'clear' }); }
  region(x, y, w, height) { this.#do({ kind: 'rectangle', x, y, w, h: height, erase: this.tool === 'eraser' }); }

  #do(operation) {
    this.#operations.push(operation);
    this.#undone = [];
    this.#replay();
  }

  #at(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * this.#canvas.width, ((event.clientY - box.top) / box.height) * this.#canvas.height];
  }

  #down(event) {
    if (event.button !== 0 || this.tool === 'none') return;
    this.#canvas.setPointerCapture(event.pointerId);
    const [x, y] = this.#at(event);
    if (this.tool === 'rectangle') this.#stroke = { kind: 'rectangle', x0: x, y0: y };
    else this.#stroke = { kind: 'stroke', erase: this.tool === 'eraser', width: this.size * Math.min(this.#canvas.width, this.#canvas.height), points: [[x, y]] };
    this.#move(event);
  }

  #move(event) {
    if (!this.#stroke) return;
    const [x, y] = this.#at(event);
    if (this.#stroke.kind === 'stroke') {
      this.#stroke.points.push([x, y]);
      this.#draw({ ...this.#stroke, points: this.#stroke.points.slice(-2) });
      return;
    }
    const { x0, y0 } = this.#stroke;
    const { width, height } = this.#canvas;
    this.#rectangle = { x: Math.min(x, x0) / width, y: Math.min(y, y0) / height, w: Math.abs(x - x0) / width, h: Math.abs(y - y0) / height };
    this.#show_box();
  }

  #up() {
    const stroke = this.#stroke;
    this.#stroke = null;
    if (!stroke) return;
    if (stroke.kind === 'stroke') this.#do(stroke);
    else if (this.#rectangle.w > 0.005 && this.#rectangle.h > 0.005) this.#do({ kind: 'rectangle', ...this.#rectangle });
  }

  /** Arrows move, Shift + arrows resize, Enter marks, Delete unmarks. */
  #key(event) {
    if (this.tool !== 'rectangle') return;
    const r = this.#rectangle;
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    const step = 0.02;
    const hold = (v, low, high) => Math.min(high, Math.max(low, v));
    if (dx || dy) {
      if (event.shiftKey) {
        r.w = hold(r.w + dx * step, 0.02, 1 - r.x);
        r.h = hold(r.h + dy * step, 0.02, 1 - r.y);
      } else {
        r.x = hold(r.x + dx * step, 0, 1 - r.w);
        r.y = hold(r.y + dy * step, 0, 1 - r.h);
      }
      this.#show_box();
      announce(t('mask.where', { x: Math.round(r.x * 100), y: Math.round(r.y * 100), w: Math.round(r.w * 100), h: Math.round(r.h * 100) }));
    } else if (event.key === 'Enter' || event.key === ' ') this.#do({ kind: 'rectangle', ...r });
    else if (event.key === 'Delete' || event.key === 'Backspace') this.#do({ kind: 'rectangle', ...r, erase: true });
    else return;
    event.preventDefault();
  }

  #show_box() {
    const r = this.#rectangle;
    this.#box.hidden = this.tool !== 'rectangle' || !(this.#stroke || document.activeElement === this.#canvas);
    Object.assign(this.#box.style, { left: `${r.x * 100}%`, top: `${r.y * 100}%`, width: `${r.w * 100}%`, height: `${r.h * 100}%` });
  }

  #replay() {
    this.#canvas.getContext('2d').clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    for (const operation of this.#operations) this.#draw(operation);
    this.dispatchEvent(new CustomEvent('masked'));
  }

  #draw(operation) {
    const context = this.#canvas.getContext('2d');
    const { width, height } = this.#canvas;
    context.globalCompositeOperation = operation.erase ? 'destination-out' : 'source-over';
    context.fillStyle = context.strokeStyle = COLOR;
    if (operation.kind === 'clear') context.clearRect(0, 0, width, height);
    else if (operation.kind === 'invert') {
      context.globalCompositeOperation = 'source-out';
      context.fillRect(0, 0, width, height);
    } else if (operation.kind === 'rectangle') context.fillRect(operation.x * width, operation.y * height, operation.w * width, operation.h * height);
    else {
      context.lineWidth = operation.width;
      context.lineCap = context.lineJoin = 'round';
      context.beginPath();
      operation.points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.stroke();
    }
  }

  /** White where the picture may change, black elsewhere; null when nothing is marked. */
  async png() {
    const { width, height } = this.#canvas;
    if (!this.can_undo || !width) return null;
    const alpha = this.#canvas.getContext('2d').getImageData(0, 0, width, height).data;
    let marked = false;
    for (let i = 3; i < alpha.length && !marked; i += 4) marked = alpha[i] > 127;
    if (!marked) return null;
    const out = Object.assign(document.createElement('canvas'), { width, height });
    const context = out.getContext('2d');
    context.drawImage(this.#canvas, 0, 0);
    context.globalCompositeOperation = 'source-in';
    context.fillStyle = '#fff';
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = 'destination-over';
    context.fillStyle = '#000';
    context.fillRect(0, 0, width, height);
    return out.toDataURL('image/png');
  }
}

customElements.define('ink-mask', Mask);
