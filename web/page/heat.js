// A heat map on a canvas: -1 to 1, orange to blue through the paper; the figure under the pointer is said in words.
import {html, useEffect, useRef, useState} from './vendor/htm-preact-3.1.1.js';
import {useWidth} from './bars.js';
import {signed} from './words.js';

const PLUS = [11, 98, 164], MINUS = [190, 85, 15];

export function Heat({names, matrix, label}) {
  const [box, width] = useWidth();
  const canvas = useRef(null);
  const [at, point] = useState(null);
  const left = width < 500 ? 74 : 140, top = left, cell = Math.max(Math.min((width - left) / names.length, 34), 6);
  const w = left + cell * names.length, h = top + cell * names.length;
  useEffect(() => {
    if (!width) return undefined;
    const draw = () => paint(canvas.current, {names, matrix, left, top, cell, w, h});
    draw();
    const dark = matchMedia('(prefers-color-scheme: dark)');
    dark.addEventListener('change', draw);
    return () => dark.removeEventListener('change', draw);
  });
  const where = (event) => {
    const column = Math.floor((event.offsetX - left) / cell), row = Math.floor((event.offsetY - top) / cell);
    point(names[row] && names[column] ? [row, column] : null);
  };
  return html`<div ref=${box}>${width > 0 && html`<canvas ref=${canvas} role="img" aria-label=${label} onMouseMove=${where} onMouseLeave=${() => point(null)} />`}
    <p class="note" aria-live="polite">${at ? `${names[at[0]]} with ${names[at[1]]}: ${signed(matrix[at[0]][at[1]], 2)}` : 'Blue moves together, orange against each other. Point at a cell to read it.'}</p></div>`;
}

function paint(canvas, {names, matrix, left, top, cell, w, h}) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = w * ratio;
  canvas.height = h * ratio;
  Object.assign(canvas.style, {width: `${w}px`, height: `${h}px`});
  const pen = canvas.getContext('2d'), style = getComputedStyle(document.documentElement);
  const paper = style.getPropertyValue('--paper').trim().match(/\w\w/g).map((part) => parseInt(part, 16));
  pen.scale(ratio, ratio);
  pen.fillStyle = style.getPropertyValue('--ink');
  pen.font = '11px system-ui, sans-serif';
  const most = Math.floor(left / 6.5);
  names.forEach((name, at) => {
    const text = name.length > most ? `${name.slice(0, most - 1)}…` : name;
    pen.textAlign = 'right';
    pen.fillText(text, left - 5, top + at * cell + cell / 2 + 4);
    pen.save();
    pen.translate(left + at * cell + cell / 2 + 4, top - 5);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = 'left';
    pen.fillText(text, 0, 0);
    pen.restore();
  });
  matrix.forEach((row, y) => row.forEach((value, x) => {
    if (value === null || Number.isNaN(value)) return;
    const end = value > 0 ? PLUS : MINUS, share = Math.min(Math.abs(value), 1);
    pen.fillStyle = `rgb(${paper.map((from, part) => Math.round(from + (end[part] - from) * share)).join(',')})`;
    pen.fillRect(left + x * cell, top + y * cell, cell - 1, cell - 1);
  }));
}
