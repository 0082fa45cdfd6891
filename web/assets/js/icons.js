// Line icons on a 24 x 24 grid, drawn for these pages.
import { label } from './i18n.js';

const PATHS = {
  brush: 'M14 4.5 19.5 10 11 16.5 7.5 13Z M7.5 13C4.5 13.5 5 17 3.5 19.5 6.5 20.5 10.5 20 11 16.5 M14 4.5l2-1.5c1.5-1 5.5 3 4.5 4.5L19.5 10',
  again: 'M20 11a8 8 0 0 0-14.5-3.5L3.5 10 M3.5 4.5V10H9 M4 13a8 8 0 0 0 14.5 3.5l2-2.5 M20.5 19.5V14H15',
  download: 'M12 3.5v11 M7.5 10.5 12 15l4.5-4.5 M4 16.5V19a1.5 1.5 0 0 0 1.5 1.5h13A1.5 1.5 0 0 0 20 19v-2.5',
  print: 'M7 8.5V3.5h10v5 M7 17.5H5A1.5 1.5 0 0 1 3.5 16v-6A1.5 1.5 0 0 1 5 8.5h14a1.5 1.5 0 0 1 1.5 1.5v6a1.5 1.5 0 0 1-1.5 1.5h-2 M7 14h10v6.5H7Z',
  trash: 'M4 6.5h16 M9 6.5V4h6v2.5 M6 6.5 7 20.5h10l1-14 M10 10.5v6 M14 10.5v6',
  close: 'M5.5 5.5l13 13 M18.5 5.5l-13 13',
  lock: 'M6 10.5h12v10H6Z M8.5 10.5V7.5a3.5 3.5 0 0 1 7 0v3 M12 14.5v2.5',
  globe: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z M3.5 12h17 M12 3.5c5 5 5 12 0 17 M12 3.5c-5 5-5 12 0 17',
  sun: 'M12 7.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9Z M12 2v2 M12 20v2 M2 12h2 M20 12h2 M5 5l1.4 1.4 M17.6 17.6 19 19 M19 5l-1.4 1.4 M6.4 17.6 5 19',
  moon: 'M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10Z',
  dice: 'M5.5 4h13A1.5 1.5 0 0 1 20 5.5v13a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 18.5v-13A1.5 1.5 0 0 1 5.5 4Z M8.5 8.5v.1 M15.5 8.5v.1 M12 12v.1 M8.5 15.5v.1 M15.5 15.5v.1',
  undo: 'M8.5 5 4 9.5 8.5 14 M4 9.5h10a5.5 5.5 0 0 1 0 11h-4',
  redo: 'M15.5 5 20 9.5 15.5 14 M20 9.5H10a5.5 5.5 0 0 0 0 11h4',
  eraser: 'M13.5 4.5 20 11l-8.5 8.5H8L3.5 15Z M8.5 9.5l6.5 6.5 M11.5 19.5h9',
  invert: 'M12 3.5a8.5 8.5 0 1 0 0 17Z M12 3.5a8.5 8.5 0 0 1 0 17 M15 8v8 M18 9.5v5',
  upload: 'M12 15.5v-11 M7.5 9 12 4.5 16.5 9 M4 16.5V19a1.5 1.5 0 0 0 1.5 1.5h13A1.5 1.5 0 0 0 20 19v-2.5',
  image: 'M4 5h16v14H4Z M4 16l4.5-4.5 4 4 3-3L20 17 M15.5 8.5v.1',
  slider: 'M4 4.5h16v15H4Z M12 2.5v19 M9.5 10 7.5 12l2 2 M14.5 10l2 2-2 2',
  columns: 'M4 4.5h16v15H4Z M12 4.5v15',
  difference: 'M9 5a6 6 0 1 0 0 12A6 6 0 0 0 9 5Z M15 7a6 6 0 1 0 0 12 6 6 0 0 0 0-12Z',
  single: 'M4 4.5h16v15H4Z',
  rectangle: 'M4 8V4.5h3.5 M16.5 4.5H20V8 M20 16v3.5h-3.5 M7.5 19.5H4V16',
  wand: 'M4 20 14 10 M14 4v3 M18 8h3 M17 5l1.5-1.5 M19 12l1 1 M11 5l-1-1 M14 10l1.5-1.5',
  check: 'M4.5 12.5 10 18 19.5 6.5',
  plus: 'M12 5v14 M5 12h14',
  info: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z M12 11v5.5 M12 7.8v.1',
  warning: 'M12 4 21 20H3Z M12 10v4.5 M12 17.3v.1',
  branch: 'M7 4v16 M7 14c0-5 10-3 10-9 M7 4v.1 M17 5v.1',
  gallery: 'M4 4h7v7H4Z M13 4h7v7h-7Z M4 13h7v7H4Z M13 13h7v7h-7Z',
  clear: 'M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17Z M9 9l6 6 M15 9l-6 6',
  pulse: 'M3 12h4l2.5-7 5 14L17 12h4',
  home: 'M4 11.5 12 4l8 7.5 M6 10v10h12V10 M10 20v-5.5h4V20',
};

const NS = 'http://www.w3.org/2000/svg';

export function icon(name) {
  const svg = document.createElementNS(NS, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  const path = document.createElementNS(NS, 'path');
  path.setAttribute('d', PATHS[name]);
  svg.append(path);
  return svg;
}

/** <button data-icon="print" ...>: the icon goes before what the button holds. */
export function place_icons(root = document) {
  for (const el of root.querySelectorAll('[data-icon]')) {
    if (!el.querySelector('.icon')) el.prepend(icon(el.dataset.icon));
  }
}

/** A round button that shows an icon alone. */
export function icon_button(name, key, onclick) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'round';
  button.append(icon(name));
  if (onclick) button.addEventListener('click', onclick);
  return label(button, key);
}
