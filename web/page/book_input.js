// Which book is looked at: one by name, or weights that were pasted or dropped. The address holds it where it is short.
import {html, useEffect, useState} from './vendor/htm-preact-3.1.1.js';
import {get, useAsk, ask} from './api.js';
import {Broken, Select} from './parts.js';
import {choose} from './route.js';
import {percent} from './words.js';

const KEPT = 'factor-engine-book', IN_ADDRESS = 3000;

// Reads lines of a symbol and a weight, with commas, semicolons, tabs or spaces between; percents, and a heading, are understood.
// Gives {weights, faults: [{line, text, why}]}.
export function parse(text) {
  const weights = {}, faults = [];
  text.split(/\r?\n/).forEach((raw, at) => {
    const line = raw.trim();
    if (!line || line.startsWith('#')) return;
    const cells = line.split(/[,;\t]|\s+/).map((cell) => cell.trim().replace(/^"|"$/g, '')).filter((cell) => cell !== '');
    const [symbol, figure] = cells;
    const percents = figure?.endsWith('%') || cells[2] === '%';
    const value = Number(figure?.replace(/%$/, '') || NaN) / (percents ? 100 : 1);
    const fault = (why) => faults.push({line: at + 1, text: line.slice(0, 60), why});
    if (!Number.isFinite(value)) {
      if (Object.keys(weights).length || faults.length || !/^(symbol|ticker|name|id)$/i.test(symbol)) fault('the second cell is no number');
    } else if (symbol in weights) fault(`${symbol} was there before`);
    else weights[symbol] = value;
  });
  return {weights, faults};
}

export const written = (weights) => Object.entries(weights).map(([symbol, weight]) => `${symbol},${weight}`).join('\n');

// What the address names as the book: the fields of a request, or null where nothing is chosen.
export function bookOf(choices) {
  const benchmark = choices.benchmark ? {benchmark: choices.benchmark} : {};
  if (choices.weights || choices.book === 'pasted') {
    const {weights} = parse((choices.weights ?? sessionStorage.getItem(KEPT) ?? '').replaceAll(';', '\n'));
    return Object.keys(weights).length ? {portfolio_weights: weights, ...benchmark} : null;
  }
  return choices.book ? {portfolio_id: choices.book, ...benchmark} : null;
}

// Makes weights the book that is looked at, where there are any.
export function keep(weights) {
  const short = Object.entries(weights).map(([symbol, weight]) => `${symbol},${weight}`).join(';');
  if (!short) return;
  sessionStorage.setItem(KEPT, written(weights));
  // The number tells one long book from the next: the address has to change for the view to follow.
  choose(short.length < IN_ADDRESS ? {weights: short, book: undefined, pasted: undefined} : {weights: undefined, book: 'pasted', pasted: Date.now()}, true);
}

export function BookInput({choices, mayWrite}) {
  const stored = useAsk(get('/portfolios'));
  const known = ['market', 'equal', ...(stored.value?.portfolios ?? []).map((row) => row.portfolio_id)];
  const pasted = choices.weights || choices.book === 'pasted';
  const [typing, type] = useState(pasted ? written(bookOf(choices)?.portfolio_weights ?? {}) : '');
  const [over, hover] = useState(false);
  const {weights, faults} = parse(typing);
  // The box follows the address: back, a link, names left out.
  useEffect(() => {
    const held = pasted ? bookOf(choices)?.portfolio_weights : null;
    if (held && JSON.stringify(held) !== JSON.stringify(weights)) type(written(held));
  }, [choices.weights, choices.book, choices.pasted]);
  const use = (text) => keep(parse(text).weights);
  const drop = async (event) => {
    event.preventDefault();
    hover(false);
    const file = event.dataTransfer?.files?.[0] ?? event.target.files?.[0];
    if (file) { const text = await file.text(); type(text); use(text); }
  };
  const sum = Object.values(weights).reduce((total, weight) => total + weight, 0);
  return html`<div class="row"><${Select} label="Book" value=${pasted ? 'pasted' : choices.book ?? ''} onChange=${(book) => choose({book, weights: undefined, pasted: undefined}, true)}
      options=${[['', 'choose one …'], ...known, ...(pasted || sessionStorage.getItem(KEPT) ? [['pasted', 'pasted weights']] : [])]} />
    <${Select} label="Benchmark" value=${choices.benchmark ?? ''} onChange=${(benchmark) => choose({benchmark}, true)} options=${[['', 'none'], ...known]} /></div>
    ${stored.error && html`<${Broken} error=${stored.error} again=${stored.again} />`}
    <details open=${pasted ? true : undefined}><summary>Paste weights, or drop a CSV</summary>
    <div class=${'drop' + (over ? ' over' : '')} onDragOver=${(event) => { event.preventDefault(); hover(true); }} onDragLeave=${() => hover(false)} onDrop=${drop}>
      <label class="dim" for="weights">One name a line: <code>symbol,weight</code>. A weight is a share of the book (0.05, or 5 %).</label>
      <textarea id="weights" rows="6" value=${typing} onInput=${(event) => type(event.target.value)} spellcheck="false"></textarea>
      ${faults.length > 0 && html`<div class="broken" role="alert"><b>${faults.length} lines are not read:</b> ${faults.slice(0, 5).map((f) => `line ${f.line} “${f.text}”: ${f.why}`).join('; ')}</div>`}
      <p class="row"><button class="main" disabled=${!Object.keys(weights).length} onClick=${() => use(typing)}>Use ${Object.keys(weights).length} names</button>
        <span class="dim">sum ${percent(sum)}</span><label class="field">CSV file <input type="file" accept=".csv,.txt,text/csv" onChange=${drop} /></label>
        ${mayWrite && html`<${Keep} weights=${weights} done=${stored.again} />`}</p></div></details>`;
}

function Keep({weights, done}) {
  const [name, type] = useState(''), [error, fail] = useState(null);
  useEffect(() => fail(null), [name]);
  const put = async () => {
    try {
      await ask({method: 'PUT', path: `/portfolios/${encodeURIComponent(name)}`, body: {holdings: {always: weights}}});
      done();
      choose({book: name, weights: undefined, pasted: undefined}, true);
    } catch (fault) { fail(fault); }
  };
  return html`<label class="field">Store as <input value=${name} onInput=${(event) => type(event.target.value)} /></label>
    <button disabled=${!name || !Object.keys(weights).length} onClick=${put}>Store</button>${error && html`<${Broken} error=${error} />`}`;
}
