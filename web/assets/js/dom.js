// Elements are made here, never from strings of HTML: what people type reaches the page as text only.

/** h('button', {class: 'x', onclick: f, disabled: true}, 'text', child) */
export function h(tag, props = {}, ...children) {
  const el = document.createElement(tag);
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith('on')) el.addEventListener(key.slice(2), value);
    else if (value === true) el.setAttribute(key, '');
    else el.setAttribute(key, value);
  }
  el.append(...children.filter((c) => c !== null && c !== undefined));
  return el;
}

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Saves a blob under a name. */
export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  h('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

/** A file name out of a prompt: letters and digits of any script, at most 40. */
export function file_name(text, extension) {
  const word = text.replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-+|-+$/g, '');
  return `${[...word].slice(0, 40).join('') || 'inkling'}.${extension}`;
}

export const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

export function scroll_to(el) {
  el.scrollIntoView({ behavior: calm() ? 'auto' : 'smooth', block: 'nearest' });
}

/** One polite live region; repeating the same words is avoided, so a screen reader is not flooded. */
export function announce(text) {
  const region = $('#live');
  if (region && region.textContent !== text) region.textContent = text;
}

/** Arrow keys walk through the buttons of a group; one of them is in the tab order. */
export function roving(group, selector) {
  const items = () => $$(selector, group).filter((b) => !b.disabled && !b.hidden);
  group.addEventListener('keydown', (event) => {
    const all = items();
    const at = all.indexOf(event.target.closest(selector));
    if (at < 0) return;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    let to = null;
    if (step) to = all[(at + step + all.length) % all.length];
    else if (event.key === 'Home') to = all[0];
    else if (event.key === 'End') to = all[all.length - 1];
    if (!to) return;
    event.preventDefault();
    for (const b of all) b.tabIndex = b === to ? 0 : -1;
    to.focus();
  });
}
