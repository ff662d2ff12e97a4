// Book: what a book is exposed to, where its risk comes from, whether it was predicted, what it made, and what would hurt it.
import {html, useState} from './vendor/htm-preact-3.1.1.js';
import {post, useAsk} from './api.js';
import {Attribution} from './attribution.js';
import {Bars} from './bars.js';
import {BookInput, bookOf, keep} from './book_input.js';
import {History, Risk, Sources, familyOf} from './book_risk.js';
import {Figure} from './figure.js';
import {Asked, Broken, Empty, Panel} from './parts.js';
import {Stress} from './stress.js';
import {Trades} from './trades.js';
import {signed} from './words.js';

export default function Book({choices, model, mayWrite}) {
  const book = bookOf(choices);
  const body = book && model ? {...book, model_id: model} : null;
  const risk = useAsk(body && post('/portfolio-risk/calculate', body));
  return html`<h2>Book</h2><${BookInput} choices=${choices} mayWrite=${mayWrite} />
    ${body && risk.error && risk.value === undefined ? html`<${Refused} risk=${risk} body=${body} />` : !body ? html`<${Empty}>${model ? 'No book is chosen. Pick one by name, paste weights, or drop a CSV.' : 'There is no model to look at a book with.'}<//>`
      : html`<div class="grid"><${Risk} risk=${risk} /><${Exposures} body=${body} /><div class="stack"><${Sources} risk=${risk} body=${body} drill=${choices.drill ?? ''} /></div>
        <${History} body=${body} /><${Stress} body=${body} risk=${risk} /><${Attribution} body=${body} choices=${choices} /><${Trades} body=${body} risk=${risk} /></div>`}`;
}

// A book that has no risk has no other figure either: the reason is told once, and what helps.
function Refused({risk, body}) {
  const {error} = risk, weights = body.portfolio_weights, unknown = new Set(error.code === 'unknown_symbol' && weights ? error.rows : []);
  const left = Object.entries(weights ?? {}).filter(([symbol]) => !unknown.has(symbol));
  return html`<${Panel} title="Risk" wide><${Broken} error=${error} again=${risk.again} />
    ${unknown.size > 0 && left.length > 0 && html`<p>Are these names not of this market? <button onClick=${() => keep(Object.fromEntries(left))}>Leave ${unknown.size > 1 ? `${unknown.size} names` : [...unknown][0]} out, and look at the other ${left.length}</button>
      <span class="dim"> The weights stay as they are.</span></p>`}<//>`;
}

function Exposures({body}) {
  const [all, show] = useState(false);
  const asked = useAsk(post('/factor-exposures/calculate', body));
  const result = asked.value?.calculation_result ?? {}, mine = result.factor_exposures ?? {}, theirs = result.benchmark_exposures;
  const names = Object.keys(mine).filter((name) => all || familyOf(name, Object.keys(mine)) === 'styles');
  const rows = names.map((name) => ({name, value: mine[name], mark: theirs?.[name]}));
  return html`<${Figure} title="Exposures" of=${asked} table=${{columns: ['factor', 'book', 'benchmark'], rows: Object.keys(mine).map((name) => [name, mine[name], theirs?.[name]])}}
    note=${`${theirs ? 'Bars: the book. Strokes: the benchmark.' : 'Choose a benchmark to see its exposures beside them.'} Styles are in deviations across the names${'size' in mine ? '; size is high for small names' : ''}.`}>
    <${Asked} of=${asked}>${() => html`<p><label><input type="checkbox" checked=${all} onChange=${() => show(!all)} /> market and sectors too</label></p>
      <${Bars} rows=${rows} label="Exposures of the book" say=${signed} markName="benchmark" />`}<//><//>`;
}
