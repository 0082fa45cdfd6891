// Two languages that change without a reload: every text on a page has a key, and say() remembers it.
import en from '../i18n/en.js';
import zh from '../i18n/zh.js';

const tables = { en, zh };
const variables = new WeakMap();
const listeners = new Set();
let current = pick();

function pick() {
  const kept = stored('language');
  if (kept in tables) return kept;
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en';
}

/** localStorage may be forbidden; then nothing is remembered. */
export function stored(key, value) {
  try {
    if (value === undefined) return localStorage.getItem(`inkling.${key}`) ?? '';
    localStorage.setItem(`inkling.${key}`, value);
  } catch {
    // a page in private mode works all the same
  }
  return value ?? '';
}

export const language = () => current;

export function t(key, vars = {}) {
  const text = tables[current][key] ?? tables.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in vars ? String(vars[name]) : all));
}

/** Puts a text on an element and keeps it right when the language changes. */
export function say(el, key, vars) {
  el.dataset.t = key;
  variables.set(el, vars);
  el.textContent = t(key, vars);
  return el;
}

/** The same for its accessible name and tooltip. */
export function label(el, key, vars) {
  el.dataset.tLabel = key;
  variables.set(el, vars ?? variables.get(el));
  el.setAttribute('aria-label', t(key, vars));
  el.title = t(key, vars);
  return el;
}

export function translate(root = document) {
  for (const el of root.querySelectorAll('[data-t]')) el.textContent = t(el.dataset.t, variables.get(el));
  for (const el of root.querySelectorAll('[data-t-label]')) {
    el.setAttribute('aria-label', t(el.dataset.tLabel, variables.get(el)));
    if (el.tagName === 'BUTTON') el.title = el.getAttribute('aria-label');
  }
  for (const el of root.querySelectorAll('[data-t-placeholder]')) el.placeholder = t(el.dataset.tPlaceholder);
}

export function set_language(to) {
  current = to;
  stored('language', to);
  document.documentElement.lang = to === 'zh' ? 'zh-CN' : 'en';
  document.title = t(document.body.dataset.title);
  translate();
  for (const f of listeners) f(to);
}

export const on_language = (f) => listeners.add(f);
