// The formula editor: the error stands at its place, names are completed, and the picture follows what is typed.
import {html, useMemo, useRef, useState} from './vendor/htm-preact-3.1.1.js';
import {get, post, useAsk} from './api.js';
import {Figure} from './figure.js';
import {Sheet} from './library.js';
import {Histogram} from './market.js';
import {Asked, Broken, Figures} from './parts.js';
import {choose} from './route.js';
import {around, offers, vocabulary} from './vocabulary.js';
import {count, several} from './words.js';

const START = 'rank(ts_mean(returns, 5))';

export function Editor({library, model, choices}) {
  const [text, type] = useState(choices.formula ?? ''), [judged, judge] = useState(null), [at, move] = useState((choices.formula ?? '').length);
  const box = useRef(null), [hidden, hide] = useState(false);
  const table = useAsk(get(`/factors/language?model_id=${encodeURIComponent(model)}`)).value;
  const words = useMemo(() => table ? vocabulary(table, library) : [], [table, library]);
  const asked = useAsk(text.trim() ? post('/factors/evaluate', {model_id: model, formula: text}) : null, {wait_ms: 250});
  const sheet = useAsk(judged ? post('/factor-analytics/calculate', {model_id: model, formula: judged}) : null);
  const begun = text.slice(0, at).match(/[A-Za-z_]\w*$/)?.[0] ?? '';
  const offered = hidden ? [] : offers(words, begun, text.trim() === begun), call = table && around(table, text.slice(0, at));
  const put = (value, caret) => { type(value); move(caret); hide(false); choose({formula: value}); };
  const complete = (one) => {
    const after = one.put.endsWith('(') && text[at] === '(' ? text.slice(at + 1) : text.slice(at), caret = at - begun.length + one.put.length;
    put(text.slice(0, at - begun.length) + one.put + after, caret);
    requestAnimationFrame(() => { box.current.focus(); box.current.setSelectionRange(caret, caret); });
  };
  const typed = (event) => put(event.target.value, event.target.selectionStart);
  // Escape puts the words away, so that Tab leaves the box as it does everywhere.
  const key = (event) => {
    if (event.key === 'Tab' && offered.length && !event.shiftKey) { event.preventDefault(); complete(offered[0]); }
    if (event.key === 'Escape' && offered.length) hide(true);
  };
  const where = asked.error?.field === 'formula' ? asked.error.rows?.[0] : null;
  const values = asked.value?.calculation_result?.factor_values;
  return html`<${Figure} title="A formula of your own" wide of=${text.trim() ? asked : null} table=${values && {columns: ['symbol', 'value'], rows: Object.entries(values)}}
      note="Fields, operators and factors are completed as you type; docs/formula-language.md explains them. Nothing is stored.">
      <label class="dim" for="formula">Formula, for instance <button type="button" class="small" onClick=${() => put(START, START.length)}>${START}</button></label>
      <textarea id="formula" rows="3" spellcheck="false" autocomplete="off" ref=${box} value=${text} onInput=${typed} onKeyDown=${key} onKeyUp=${(event) => move(event.target.selectionStart)} onClick=${(event) => move(event.target.selectionStart)}
        aria-invalid=${String(Boolean(where))} aria-describedby="formula-error"></textarea>
      ${call && html`<p class="dim formula-line" data-call>${call.says}${call.parameter && html`  · here <b>${call.parameter}</b>`}</p>`}
      <p class="note offers" aria-live="polite">${offered.map((one) => html`<button class="small" title=${one.says} onClick=${() => complete(one)}>${one.word} <span class="dim">${one.kind}${one.lacking ? ', not in this data' : ''}</span></button> `)}
        ${offered.length > 0 && html`<span>Tab takes the first (${offered[0].says}), Escape puts them away.</span>`}</p>
      <div id="formula-error" aria-live="assertive">${asked.state === 'broken' && asked.error && html`${where && html`<${Place} text=${text} line=${where[0]} column=${where[1]} />`}<${Broken} error=${asked.error} />`}</div>
      ${asked.state !== 'broken' && html`<${Asked} of=${asked} what="Computing" empty="Type a formula; the picture follows.">${(answer) => html`<${Figures} rows=${[['Names', count(Object.keys(values).length)], ['Date', answer.calculation_result.date], ['Look-back', several(answer.calculation_result.warmup, 'row')], ['Reads', answer.calculation_result.inputs.join(', ')]]} />
        <${Histogram} values=${Object.values(values).filter((x) => typeof x === 'number')} label="Distribution of the formula" /><p><button onClick=${() => judge(text)}>Judge it by the returns that followed</button></p>`}<//>`}<//>
    ${judged && html`<div class="panel wide"><p class="formula-line">${judged}</p><${Sheet} asked=${sheet} id="the formula" /></div>`}`;
}

// The line of the error with its place marked; lines and columns count from 1.
function Place({text, line, column}) {
  const of = text.split('\n')[line - 1] ?? '', at = column - 1;
  return html`<p class="formula-line" data-column=${column}>${of.slice(0, at)}<span class="at">${of[at] ?? '␣'}</span>${of.slice(at + 1)}</p>`;
}
