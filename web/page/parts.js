// What every view is put together of: panels that tell loading, empty and broken apart, figures, tables.
import {html, useEffect, useLayoutEffect, useMemo, useRef, useState} from './vendor/htm-preact-3.1.1.js';
import {age} from './words.js';

// All ages move with one clock, in one frame; one that reads the same as before is not drawn again.
const ages = new Set();
setInterval(() => { if (!document.hidden) for (const tick of ages) tick(); }, 1000);

export function Age({at, what = 'asked'}) {
  const said = at ? age(at) : null, now = useRef(null);
  const [, again] = useState(0);
  now.current = {at, said};
  useEffect(() => {
    const tick = () => now.current.at && age(now.current.at) !== now.current.said && again((number) => number + 1);
    ages.add(tick);
    return () => ages.delete(tick);
  }, []);
  return at ? html`<span class="age" title=${`${new Date(at).toISOString().slice(0, 19)}Z`}>${what} ${said}</span>` : null;
}

// What moves is drawn while it is in sight (and once before), at most each `every_ms`: below the fold it costs nothing.
export function InSight({every_ms = 0, children}) {
  const box = useRef(null), held = useRef({at: -Infinity, drawn: null}), h = held.current;
  const [seen, see] = useState(false);
  const [, again] = useState(0);
  useEffect(() => {
    const looks = new IntersectionObserver((entries) => see(entries.at(-1).isIntersecting), {rootMargin: '100px'});
    looks.observe(box.current);
    return () => looks.disconnect();
  }, []);
  const now = performance.now(), left = h.at + every_ms - now, draws = !h.drawn || (seen && left <= 0);
  if (draws) Object.assign(h, {at: now, drawn: children()});
  // The last value is drawn too when no other comes. (An effect after the paint would cost a frame of its own.)
  useLayoutEffect(() => {
    if (draws || !seen) return undefined;
    const timer = setTimeout(() => again((number) => number + 1), left);
    return () => clearTimeout(timer);
  });
  return html`<div class="sight" ref=${box}>${h.drawn}</div>`;
}

export function Broken({error, again}) {
  // The place in a formula is in its message.
  const where = error.field && error.field !== 'formula' ? ` (field ${error.field}${error.rows ? `, ${JSON.stringify(error.rows).slice(0, 120)}` : ''})` : '';
  const help = error.status === 401 || error.status === 403 ? ' Give a token with “Access”, at the top.' : '';
  return html`<div class="broken" role="alert"><b>${error.away ? 'Not reached' : error.code ?? 'Broken'}:</b> ${error.message}${where}.${help}${error.again_s ? ' It is asked again by itself.' : ''}
    ${again && html` <button class="small" onClick=${again}>Ask again</button>`}</div>`;
}

export const Empty = ({children}) => html`<div class="empty">${children}</div>`;
export const Loading = ({what = 'Asking the engine'}) => html`<div class="loading" role="status">${what}…</div>`;

// Shows what was asked for: `children` is a function of the value. A value that could not be renewed is shown as old.
export function Asked({of, what, empty, children}) {
  if (of.state === 'nothing') return html`<${Empty}>${empty ?? 'Nothing is asked for yet.'}<//>`;
  if (of.state === 'loading') return html`<${Loading} what=${what} />`;
  if (of.value === undefined) return html`<${Broken} error=${of.error} again=${of.again} />`;
  return [of.error && html`<${Broken} error=${of.error} again=${of.again} />`, children(of.value)];
}

export function Panel({title, wide, age: at, tools, children, id}) {
  return html`<section class=${'panel' + (wide ? ' wide' : '')} aria-label=${title} id=${id}>
    <header><h3>${title}</h3>${at && html`<${Age} at=${at} />`}${tools && html`<span class="tools">${tools}</span>`}</header>${children}</section>`;
}

// rows: [name, text, title?]
export const Figures = ({rows}) => html`<dl class="figures">${rows.map(([name, text, title]) =>
  html`<div title=${title}><dt>${name}</dt><dd>${text}</dd></div>`)}</dl>`;

// columns: {name, of: row => text, n: is a number, long: sentences, whole: never broken}; pick: what a click on a row does.
export function Table({columns, rows, pick, picked, caption, limit = 400}) {
  if (!rows.length) return html`<${Empty}>There is none.<//>`;
  return html`<div class="scroll" tabindex="0" role="region" aria-label=${caption}><table>
    <thead><tr>${columns.map((c) => html`<th scope="col" class=${c.n ? 'n' : ''}>${c.name}</th>`)}</tr></thead>
    <tbody>${rows.slice(0, limit).map((row, at) => html`<tr key=${row.key ?? at} class=${pick ? 'link' : ''} aria-selected=${picked ? String(picked(row)) : undefined}
      onClick=${pick && (() => pick(row))} tabindex=${pick ? 0 : undefined}
      onKeyDown=${pick && ((event) => event.key === 'Enter' && pick(row))}>${columns.map((c) => html`<td class=${c.n ? 'n' : c.long ? 'long' : c.whole ? 'whole' : ''}>${c.of(row)}</td>`)}</tr>`)}</tbody></table>
    ${rows.length > limit && html`<p class="note">${limit} of ${rows.length} are shown.</p>`}</div>`;
}

const SIGNS = {READY: ['●', 'good'], healthy: ['●', 'good'], STARTING: ['◐', 'warn'], starting: ['◐', 'warn'], DEGRADED: ['▲', 'warn'], degraded: ['▲', 'warn'], FAULTED: ['✖', 'bad'], STOPPED: ['✖', 'bad']};
// A sign and a word, so that colour is never the only one.
export function State({is}) {
  const [sign, kind] = SIGNS[is] ?? ['?', 'warn'];
  return html`<span class=${'state ' + kind}><span aria-hidden="true">${sign}</span> ${is}</span>`;
}

// The same choices are not written again: beside values that move there may be hundreds.
export function Select({label, value, options, onChange}) {
  const change = useRef(onChange);
  change.current = onChange;
  return useMemo(() => html`<label class="field">${label}
  <select value=${value} onChange=${(event) => change.current(event.target.value)}>${options.map((o) => {
    const [key, text] = Array.isArray(o) ? o : [o, o];
    return html`<option value=${key} selected=${key === value}>${text}</option>`;
  })}</select></label>`, [label, value, JSON.stringify(options)]);
}
