// What the three pages share: the language and theme buttons, icons, first translation.
import { $, $$ } from './dom.js';
import { icon, place_icons } from './icons.js';
import { label, language, set_language, stored } from './i18n.js';

function theme(value) {
  if (value) document.documentElement.dataset.theme = value;
  const dark = value ? value === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  const button = $('#theme');
  button.replaceChildren(icon(dark ? 'sun' : 'moon'));
  label(button, dark ? 'theme.light' : 'theme.dark');
  return dark;
}

export function start_chrome() {
  place_icons();
  const other = $('#language');
  const show = () => {
    // the button is named in the language it leads to
    const to = language() === 'zh' ? 'en' : 'zh';
    other.lang = to === 'zh' ? 'zh-CN' : 'en';
    $('span', other).textContent = to === 'zh' ? '中文' : 'English';
  };
  other.addEventListener('click', () => {
    set_language(language() === 'zh' ? 'en' : 'zh');
    show();
  });
  let dark = theme(stored('theme'));
  $('#theme').addEventListener('click', () => {
    const to = dark ? 'light' : 'dark';
    stored('theme', to);
    dark = theme(to);
  });
  set_language(language());
  show();
  for (const a of $$('a[data-here]')) a.setAttribute('aria-current', 'page');
}
