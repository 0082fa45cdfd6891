// <ink-chart>: lines over time as SVG. set({title, unit, series: [{name, values}]}); null leaves a gap.
import { h } from './dom.js';
import { t } from './i18n.js';

const NS = 'http://www.w3.org/2000/svg';
const WIDTH = 320;
const HEIGHT = 110;

function s(tag, attributes) {
  const el = document.createElementNS(NS, tag);
  for (const [key, value] of Object.entries(attributes)) el.setAttribute(key, value);
  return el;
}

/** The next of 1, 2, 5, 10, 20, ... : an axis that reads well and jumps seldom. */
export function ceiling(value) {
  const unit = 10 ** Math.floor(Math.log10(Math.max(value, 1e-3)));
  return [1, 2, 5, 10].find((k) => k * unit >= value * 0.999) * unit;
}

export const figure = (v) => (v === null || v === undefined ? '–' : v >= 100 ? String(Math.round(v)) : String(Number(v.toPrecision(v >= 10 ? 3 : 2))));

export class Chart extends HTMLElement {
  set({ title, unit, series }) {
    const all = series.flatMap((line) => line.values).filter((v) => Number.isFinite(v));
    const top = ceiling(Math.max(...all, 0.5));
    const svg = s('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', class: 'plot', 'aria-hidden': 'true' });
    for (const share of [0, 0.5, 1]) svg.append(s('line', { x1: 0, x2: WIDTH, y1: 4 + share * (HEIGHT - 8), y2: 4 + share * (HEIGHT - 8), class: 'grid' }));
    series.forEach((line, i) => {
      const n = Math.max(2, line.values.length);
      let path = '';
      let pen = 'M';
      line.values.forEach((v, k) => {
        if (!Number.isFinite(v)) {
          pen = 'M';
          return;
        }
        path += `${pen}${((k / (n - 1)) * WIDTH).toFixed(1)} ${(HEIGHT - 4 - (v / top) * (HEIGHT - 8)).toFixed(1)}`;
        pen = 'L';
      });
      svg.append(s('path', { d: path, class: `line line-${i}`, 'vector-effect': 'non-scaling-stroke' }));
    });
    const legend = h('ul', { class: 'legend' }, ...series.map((line, i) => h('li', { class: `key-${i}` }, `${line.name} ${figure(line.values.at(-1))}${unit}`)));
    const summary = series.map((line) => t('status.chart', { name: line.name, now: figure(line.values.at(-1)) + unit, max: figure(Math.max(...line.values.filter(Number.isFinite), 0)) + unit })).join('; ');
    this.setAttribute('role', 'img');
    this.setAttribute('aria-label', `${title}. ${summary}`);
    this.replaceChildren(h('p', { class: 'title' }, title), legend, h('div', { class: 'frame' }, h('span', { class: 'top-value' }, figure(top) + unit), svg));
  }
}

customElements.define('ink-chart', Chart);
