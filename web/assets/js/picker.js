// <ink-picker>: five drawers of picture buttons. Sends 'pick' with what is chosen: {animal, color, ...}.
import { h, roving } from './dom.js';
import { language, on_language, say } from './i18n.js';
import { ACCESSORY_COLORS, COLORS, GROUPS } from './vocabulary.js';

const COVERS = { animal: 'animal-cat', color: 'color-pink', accessory: 'accessory-hat', action: 'action-bubbles', place: 'place-rainbow' };
export const EMPTY = { animal: null, color: null, accessory: null, accessory_color: null, action: null, place: null };

export const art = (name) => h('img', { src: `/assets/art/${name}.svg`, alt: '', width: 96, height: 96, draggable: 'false', loading: 'lazy' });

export class Picker extends HTMLElement {
  picked = { ...EMPTY };
  #tabs = {};
  #panels = {};
  #buttons = [];

  connectedCallback() {
    const list = h('div', { role: 'tablist', class: 'tabs' });
    list.dataset.tLabel = 'picker.label';
    for (const [group, entries] of Object.entries(GROUPS)) {
      const tab = h('button', { type: 'button', role: 'tab', id: `tab-${group}`, class: `tab tab-${group}`, 'aria-controls': `panel-${group}`, onclick: () => this.open(group) },
        art(COVERS[group]), say(h('span'), `picker.${group}`));
      tab.addEventListener('focus', () => this.open(group));
      const panel = h('div', { role: 'tabpanel', id: `panel-${group}`, class: 'panel', 'aria-labelledby': tab.id, hidden: true });
      const grid = h('div', { class: 'pictures', role: 'group', 'aria-labelledby': tab.id });
      for (const id of Object.keys(entries)) grid.append(this.#button(group, id, `${group}-${id}`, entries[id]));
      panel.append(grid);
      roving(grid, 'button');
      if (group === 'accessory') panel.append(this.#accessory_colors());
      this.#tabs[group] = tab;
      this.#panels[group] = panel;
      list.append(tab);
    }
    roving(list, '[role=tab]');
    this.append(list, ...Object.values(this.#panels));
    this.open('animal');
    on_language(() => this.#show());
    this.#show();
  }

  #button(group, id, picture, entry) {
    const button = h('button', { type: 'button', class: 'picture', onclick: () => this.#toggle(group, id) }, art(picture), h('span'));
    this.#buttons.push({ button, group, id, entry });
    return button;
  }

  #accessory_colors() {
    const row = h('div', { class: 'pictures small', role: 'group', 'aria-labelledby': 'accessory-colors' });
    for (const id of ACCESSORY_COLORS) row.append(this.#button('accessory_color', id, `color-${id}`, COLORS[id]));
    roving(row, 'button');
    this.colors = h('div', { class: 'accessory-colors', hidden: true }, say(h('h2', { id: 'accessory-colors' }), 'picker.accessory_color'), row);
    return this.colors;
  }

  open(group) {
    for (const [name, tab] of Object.entries(this.#tabs)) {
      const on = name === group;
      tab.setAttribute('aria-selected', String(on));
      tab.tabIndex = on ? 0 : -1;
      this.#panels[name].hidden = !on;
    }
  }

  #toggle(group, id) {
    this.set({ ...this.picked, [group]: this.picked[group] === id ? null : id });
    this.dispatchEvent(new CustomEvent('pick', { detail: this.picked, bubbles: true }));
  }

  set(picked) {
    this.picked = { ...EMPTY, ...picked };
    if (!this.picked.accessory) this.picked.accessory_color = null;
    this.#show();
  }

  #show() {
    const lang = language();
    this.colors.hidden = !this.picked.accessory;
    const stops = new Map(); // the one button of each group that Tab reaches
    for (const { button, group, id, entry } of this.#buttons) {
      const on = this.picked[group] === id;
      button.setAttribute('aria-pressed', String(on));
      button.lastChild.textContent = entry[lang];
      button.tabIndex = -1;
      if (on || !stops.has(group)) stops.set(group, button);
    }
    for (const button of stops.values()) button.tabIndex = 0;
  }
}

customElements.define('ink-picker', Picker);
