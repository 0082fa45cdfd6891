// <ink-gallery>: the pictures drawn in this browser. Sends 'again' with a prompt, 'print' with a picture.
import { h, announce, file_name, save } from './dom.js';
import { icon } from './icons.js';
import { label, say, t } from './i18n.js';
import * as store from './store.js';

const action = (name, key, onclick) => h('button', { type: 'button', class: 'soft', onclick }, icon(name), say(h('span'), key));

export class Gallery extends HTMLElement {
  #shelf = h('ul', { class: 'shelf' });
  #none = say(h('p', { class: 'none' }), 'gallery.none');
  #dialog = h('dialog', { class: 'viewer', 'aria-labelledby': 'viewer-prompt' });
  #urls = [];

  connectedCallback() {
    this.append(this.#shelf, this.#none, this.#dialog);
    this.#dialog.addEventListener('click', (event) => {
      if (event.target === this.#dialog) this.#dialog.close(); // a click beside the card
    });
    this.refresh();
  }

  async add(entry) {
    try {
      await store.keep(entry);
    } catch {
      announce(t('gallery.full'));
    }
    await this.refresh();
  }

  async refresh() {
    let entries = [];
    try {
      entries = await store.all();
    } catch {
      // no database here: the picture on the paper is still there to save
    }
    for (const url of this.#urls) URL.revokeObjectURL(url);
    this.#urls = [];
    this.#shelf.replaceChildren(...entries.reverse().map((entry) => {
      const url = URL.createObjectURL(entry.blob);
      this.#urls.push(url);
      const button = h('button', { type: 'button', class: 'framed', onclick: () => this.#view(entry, url) }, h('img', { src: url, alt: '', width: 160, height: 160 }));
      label(button, 'gallery.open', { prompt: entry.prompt });
      return h('li', {}, button);
    }));
    this.#none.hidden = entries.length > 0;
  }

  #view(entry, url) {
    const send = (type, detail) => {
      this.#dialog.close();
      this.dispatchEvent(new CustomEvent(type, { detail }));
    };
    const close = h('button', { type: 'button', class: 'round close', onclick: () => this.#dialog.close() }, icon('close'));
    label(close, 'close');
    const prompt = h('p', { id: 'viewer-prompt', class: 'viewer-prompt' }, entry.prompt);
    const picture = h('img', { src: url, alt: entry.prompt, class: 'big' });
    this.#dialog.replaceChildren(h('div', { class: 'card' }, close, picture, prompt, h('div', { class: 'actions' },
      action('again', 'again', () => send('again', entry.prompt)),
      action('download', 'download', () => save(entry.blob, file_name(entry.prompt, entry.blob.type.split('/')[1] ?? 'png'))),
      action('print', 'print', () => send('print', { url, prompt: entry.prompt })),
      action('trash', 'delete', async () => {
        await store.remove(entry.id);
        this.#dialog.close();
        await this.refresh();
        announce(t('gallery.deleted'));
      }))));
    this.#dialog.showModal();
  }
}

customElements.define('ink-gallery', Gallery);
