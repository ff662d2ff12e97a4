// Bars in SVG: each row has a name, a bar from zero (or from where the row before ended: a waterfall), and its number.
import {html, useLayoutEffect, useMemo, useRef, useState} from './vendor/htm-preact-3.1.1.js';
import {signedPercent} from './words.js';

const ROW = 24, GAP = 5;

// How wide a text is in the letters of a picture, and as much of it as fits.
const pen = document.createElement('canvas').getContext('2d');
pen.font = '13px system-ui, sans-serif';
const wide = (text) => pen.measureText(text).width;

function fitting(text, room) {
  if (wide(text) <= room) return text;
  let n = text.length - 1;
  while (n > 2 && wide(`${text.slice(0, n)}…`) > room) n -= 1;
  return `${text.slice(0, n)}…`;
}

export function useWidth() {
  const box = useRef(null);
  const [width, set] = useState(0);
  // Before the first paint: a picture that waited for the observer would come a frame later.
  useLayoutEffect(() => {
    set(Math.floor(box.current.clientWidth));
    const seen = new ResizeObserver(([entry]) => set(Math.floor(entry.contentRect.width)));
    seen.observe(box.current);
    return () => seen.disconnect();
  }, []);
  return [box, width];
}

// Half a pixel is as fine as a bar can be seen to be; what moves by less is not drawn again.
const half = (x) => Math.round(2 * x) / 2;

// rows: {name, value, mark (a second figure, as a stroke), pick, title}; waterfall: each begins where the one before ended,
// and a row with `total` begins at zero again.
export function Bars({rows, label, say = signedPercent, waterfall = false, markName}) {
  const [box, width] = useWidth();
  const names = rows.map((row) => row.name + (row.pick ? ' ›' : ''));
  const widest = useMemo(() => Math.max(...names.map(wide), 30), [names.join('\n')]);
  const left = Math.ceil(Math.min(widest + 10, width * 0.42)), right = 78;
  const spans = spread(rows, waterfall);
  const all = [0, ...spans.flat(), ...rows.map((row) => row.mark).filter((mark) => mark !== undefined && mark !== null)];
  const low = Math.min(...all), high = Math.max(...all), room = Math.max(width - left - right, 10);
  const x = (value) => half(left + (high > low ? (value - low) / (high - low) : 0) * room);
  const said = `${label}: ${rows.slice(0, 12).map((row) => `${row.name} ${say(row.value)}`).join(', ')}${rows.length > 12 ? ', …' : ''}`;
  return html`<div ref=${box}>${width > 0 && html`<svg class="bars" role=${rows.some((row) => row.pick) ? 'group' : 'img'} aria-label=${said} width=${width} height=${rows.length * ROW + 4}>
    ${rows.map((row, at) => html`<${Bar} key=${row.name} row=${row} from=${x(spans[at][0])} to=${x(spans[at][1])} mark=${row.mark === undefined || row.mark === null ? null : x(row.mark)} y=${at * ROW} left=${left} width=${width} say=${say} markName=${markName} />`)}
    <line class="zero" x1=${x(0)} x2=${x(0)} y1="0" y2=${rows.length * ROW} /></svg>`}</div>`;
}

function Bar({row, from, to, mark, y, left, width, say, markName}) {
  const {name, pick} = row, missing = row.value === null || row.value === undefined;
  const kind = row.value >= 0 ? 'plus' : 'minus', value = say(row.value);
  // A row that does nothing says its number beside the bar, so what is pointed at need not say it again.
  const tip = row.title ?? (pick || mark !== null ? `${name}: ${value}${mark === null ? '' : `, ${markName} ${say(row.mark)}`}` : name);
  const short = useMemo(() => fitting(name, left - 10 - (pick ? wide(' ›') : 0)), [name, left, Boolean(pick)]);
  return useMemo(() => html`<g class=${pick ? 'pick' : ''} role=${pick ? 'button' : undefined} tabindex=${pick ? 0 : undefined} aria-label=${pick ? `${tip}, open` : undefined}
    onClick=${pick} onKeyDown=${pick && ((event) => (event.key === 'Enter' || event.key === ' ') && (event.preventDefault(), pick()))}>
    <title>${tip}</title>
    <rect x="0" y=${y} width=${width} height=${ROW} fill="transparent" />
    <text x="0" y=${y + 16}>${short}${pick ? ' ›' : ''}</text>
    ${!missing && html`<rect class=${kind} x=${Math.min(from, to)} y=${y + GAP} width=${Math.max(Math.abs(to - from), 1)} height=${ROW - 2 * GAP} />`}
    ${mark !== null && html`<line class="mark" x1=${mark} x2=${mark} y1=${y + 2} y2=${y + ROW - 2} />`}
    <text class="v" x=${width} y=${y + 16} text-anchor="end">${value}</text></g>`, [tip, short, value, missing, kind, from, to, mark, y, width, pick]);
}

function spread(rows, waterfall) {
  let at = 0;
  return rows.map((row) => {
    const value = row.value ?? 0;
    if (!waterfall || row.total) return [0, value];
    const span = [at, at + value];
    at += value;
    return span;
  });
}

export const largest = (rows, most) => [...rows].sort((a, b) => Math.abs(b.value ?? 0) - Math.abs(a.value ?? 0)).slice(0, most);
// The same rows in the order that they have: what moves stays where it is.
export function largestInPlace(rows, most) {
  const kept = new Set(largest(rows, most));
  return rows.filter((row) => kept.has(row));
}
