// The formula editor: the error stands at its place, names are completed, and the picture follows what is typed.
import {html, useRef, useState} from './vendor/htm-preact-3.1.1.js';
import {post, useAsk} from './api.js';
import {Figure} from './figure.js';
import {Sheet} from './library.js';
import {Histogram} from './market.js';
import {Asked, Broken, Figures} from './parts.js';
import {choose} from './route.js';
import {count} from './words.js';

const START = 'rank(ts_mean(returns, 5))';

// The words that the library's own formulas are written with: what stands before a bracket is an operator, inputs are fields.
function vocabulary(library) {
  const words = new Set(library.definitions.flatMap((d) => d.inputs));
  for (const d of library.definitions) for (const [, word] of d.formula.matchAll(/([A-Za-z_]\w*)\s*\(/g)) words.add(`${word.toLowerCase()}(`);
  return [...words].sort();
}

export function Editor({library, model, choices}) {
  const [text, type] = useState(choices.formula ?? ''), [judged, judge] = useState(null), [at, move] = useState(0);
  const box = useRef(null), words = useRef(null);
  words.current ??= vocabulary(library);
  const asked = useAsk(text.trim() ? post('/factors/evaluate', {model_id: model, formula: text}) : null, {wait_ms: 250});
  const sheet = useAsk(judged ? post('/factor-analytics/calculate', {model_id: model, formula: judged}) : null);
  const begun = text.slice(0, at).match(/[A-Za-z_]\w*$/)?.[0].toLowerCase() ?? '';
  const offered = begun ? words.current.filter((word) => word.startsWith(begun) && word !== begun).slice(0, 8) : [];
  const put = (value, caret) => { type(value); move(caret); choose({formula: value}); };
  const complete = (word) => {
    put(text.slice(0, at - begun.length) + word + text.slice(at), at - begun.length + word.length);
    requestAnimationFrame(() => { box.current.focus(); box.current.setSelectionRange(at - begun.length + word.length, at - begun.length + word.length); });
  };
  const typed = (event) => put(event.target.value, event.target.selectionStart);
  const key = (event) => {
    if (event.key === 'Tab' && offered.length && !event.shiftKey) { event.preventDefault(); complete(offered[0]); }
  };
  const where = asked.error?.field === 'formula' ? asked.error.rows?.[0] : null;
  const values = asked.value?.calculation_result?.factor_values;
  return html`<${Figure} title="A formula of your own" wide of=${text.trim() ? asked : null} table=${values && {columns: ['symbol', 'value'], rows: Object.entries(values)}}
      note="The language is in docs/formula-language.md. Nothing is stored.">
      <label class="dim" for="formula">Formula, for instance <button type="button" class="small" onClick=${() => put(START, START.length)}>${START}</button></label>
      <textarea id="formula" rows="3" spellcheck="false" autocomplete="off" ref=${box} value=${text} onInput=${typed} onKeyDown=${key} onKeyUp=${(event) => move(event.target.selectionStart)} onClick=${(event) => move(event.target.selectionStart)}
        aria-invalid=${String(Boolean(where))} aria-describedby="formula-error"></textarea>
      <p class="note" aria-live="polite">${offered.map((word) => html`<button class="small" onClick=${() => complete(word)}>${word}</button> `)}${offered.length > 0 && 'Tab takes the first.'}</p>
      <div id="formula-error" aria-live="assertive">${asked.state === 'broken' && asked.error && html`${where && html`<${Place} text=${text} line=${where[0]} column=${where[1]} />`}<${Broken} error=${asked.error} />`}</div>
      ${asked.state !== 'broken' && html`<${Asked} of=${asked} what="Computing" empty="Type a formula; the picture follows.">${(answer) => html`<${Figures} rows=${[['Names', count(Object.keys(values).length)], ['Date', answer.calculation_result.date], ['Look-back', `${answer.calculation_result.warmup} rows`], ['Reads', answer.calculation_result.inputs.join(', ')]]} />
        <${Histogram} values=${Object.values(values).filter((x) => typeof x === 'number')} label="Distribution of the formula" /><p><button onClick=${() => judge(text)}>Judge it by the returns that followed</button></p>`}<//>`}<//>
    ${judged && html`<div class="panel wide"><p class="formula-line">${judged}</p><${Sheet} asked=${sheet} id="the formula" /></div>`}`;
}

// The line of the error with its place marked; lines and columns count from 1.
function Place({text, line, column}) {
  const of = text.split('\n')[line - 1] ?? '', at = column - 1;
  return html`<p class="formula-line" data-column=${column}>${of.slice(0, at)}<span class="at">${of[at] ?? '␣'}</span>${of.slice(at + 1)}</p>`;
}
