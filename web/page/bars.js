// Bars in SVG: each row has a name, a bar from zero (or from where the row before ended: a waterfall), and its number.
import {html, useEffect, useRef, useState} from './vendor/htm-preact-3.1.1.js';
import {signedPercent} from './words.js';

const ROW = 24, GAP = 5;

export function useWidth() {
  const box = useRef(null);
  const [width, set] = useState(0);
  useEffect(() => {
    const seen = new ResizeObserver(([entry]) => set(Math.floor(entry.contentRect.width)));
    seen.observe(box.current);
    return () => seen.disconnect();
  }, []);
  return [box, width];
}

// rows: {name, value, mark (a second figure, as a stroke), pick, title}; waterfall: each begins where the one before ended,
// and a row with `total` begins at zero again.
export function Bars({rows, label, say = signedPercent, waterfall = false, markName}) {
  const [box, width] = useWidth();
  const left = Math.min(Math.max(...rows.map((row) => row.name.length), 4) * 7.4 + 8, width * 0.42), right = 78;
  const spans = spread(rows, waterfall);
  const all = [0, ...spans.flat(), ...rows.map((row) => row.mark).filter((mark) => mark !== undefined && mark !== null)];
  const low = Math.min(...all), high = Math.max(...all), room = Math.max(width - left - right, 10);
  const x = (value) => left + (high > low ? (value - low) / (high - low) : 0) * room;
  const said = `${label}: ${rows.slice(0, 12).map((row) => `${row.name} ${say(row.value)}`).join(', ')}${rows.length > 12 ? ', …' : ''}`;
  return html`<div ref=${box}>${width > 0 && html`<svg class="bars" role=${rows.some((row) => row.pick) ? 'group' : 'img'} aria-label=${said} width=${width} height=${rows.length * ROW + 4}>
    ${rows.map((row, at) => html`<${Bar} key=${row.name} row=${row} span=${spans[at]} y=${at * ROW} x=${x} left=${left} width=${width} say=${say} markName=${markName} />`)}
    <line class="zero" x1=${x(0)} x2=${x(0)} y1="0" y2=${rows.length * ROW} /></svg>`}</div>`;
}

function Bar({row, span, y, x, left, width, say, markName}) {
  const [from, to] = span, missing = row.value === null || row.value === undefined;
  const kind = row.value >= 0 ? 'plus' : 'minus';
  const fits = Math.max(Math.floor((left - 8) / 7.2), 3);
  const name = row.name.length > fits ? `${row.name.slice(0, fits - 1)}…` : row.name;
  const mark = row.mark === undefined || row.mark === null ? null : x(row.mark);
  const tip = row.title ?? `${row.name}: ${say(row.value)}${mark === null ? '' : `, ${markName} ${say(row.mark)}`}`;
  return html`<g class=${row.pick ? 'pick' : ''} role=${row.pick ? 'button' : undefined} tabindex=${row.pick ? 0 : undefined} aria-label=${row.pick ? `${tip}, open` : undefined}
    onClick=${row.pick} onKeyDown=${row.pick && ((event) => (event.key === 'Enter' || event.key === ' ') && (event.preventDefault(), row.pick()))}>
    <title>${tip}</title>
    <rect x="0" y=${y} width=${width} height=${ROW} fill="transparent" />
    <text x="0" y=${y + 16}>${name}${row.pick ? ' ›' : ''}</text>
    ${!missing && html`<rect class=${kind} x=${Math.min(x(from), x(to))} y=${y + GAP} width=${Math.max(Math.abs(x(to) - x(from)), 1)} height=${ROW - 2 * GAP} />`}
    ${mark !== null && html`<line class="mark" x1=${mark} x2=${mark} y1=${y + 2} y2=${y + ROW - 2} />`}
    <text class="v" x=${width} y=${y + 16} text-anchor="end">${say(row.value)}</text></g>`;
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
