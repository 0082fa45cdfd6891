// <ink-history>: the tree of edits. Keeps the nodes; sends 'go' with the one that was chosen.
// A node is {key, parent, depth, instruction, url, blob, width, height, session, node}: the last two name it at the service.
import { h } from './dom.js';
import { label, language, on_language, say, t } from './i18n.js';

export class History extends HTMLElement {
  #nodes = new Map();
  #next = 0;
  current = null;

  connectedCallback() {
    on_language(() => this.#show());
  }

  get root() { return this.#nodes.get(0) ?? null; }
  get size() { return this.#nodes.size; }
  parent_of(node) { return node?.parent === null || !node ? null : this.#nodes.get(node.parent); }

  start(picture) {
    for (const node of this.#nodes.values()) URL.revokeObjectURL(node.url);
    this.#nodes.clear();
    this.#next = 0;
    return this.add(null, null, picture);
  }

  add(parent, instruction, picture) {
    const node = { session: null, node: null, ...picture, key: this.#next++, parent: parent ? parent.key : null, depth: parent ? parent.depth + 1 : 0, instruction };
    this.#nodes.set(node.key, node);
    this.go(node);
    return node;
  }

  go(node) {
    this.current = node;
    this.#show();
  }

  #branch(key) {
    const children = [...this.#nodes.values()].filter((n) => n.parent === key);
    if (!children.length) return null;
    return h('ul', {}, ...children.map((node) => {
      const text = node.instruction ?? t('history.original');
      const button = h('button', {
        type: 'button', class: 'node', onclick: () => {
          this.go(node);
          this.dispatchEvent(new CustomEvent('go', { detail: node }));
          this.querySelector('[aria-current]')?.focus();
        },
      }, h('img', { src: node.url, alt: '', width: 56, height: 56 }), h('span', {}, text));
      if (node === this.current) button.setAttribute('aria-current', 'step');
      label(button, 'history.go', { n: node.depth, text });
      return h('li', {}, button, this.#branch(node.key));
    }));
  }

  #show() {
    this.lang = language() === 'zh' ? 'zh-CN' : 'en';
    const tree = this.#branch(null);
    this.replaceChildren(tree ?? say(h('p', { class: 'hint' }), 'history.none'));
  }
}

customElements.define('ink-history', History);
