// Trades to a target: the least trades that bring a book to no exposure (or the benchmark's) of one style.
import {html, useState} from './vendor/htm-preact-3.1.1.js';
import {post, useAsk} from './api.js';
import {Figure} from './figure.js';
import {Asked, Figures, Select, Table} from './parts.js';
import {count, percent, signedPercent} from './words.js';

const BOOK_VALUE = 1_000_000;

export function Trades({body, risk}) {
  const [style, choose] = useState(''), [value, set] = useState(BOOK_VALUE);
  const exposures = Object.keys(risk.value?.calculation_result?.factor_values?.exposures ?? {}).filter((name) => name !== 'market' && /^[a-z0-9_]+$/.test(name));
  const {portfolio_id, portfolio_weights, benchmark, model_id} = body;
  const asked = useAsk(style && value > 0 ? post('/portfolio/rebalance', {model_id, portfolio_id, portfolio_weights, benchmark, book_value: value, exposures: {[style]: [0, 0]}, position: [null, null], net: [null, null]}) : null, {wait_ms: 200});
  const answer = asked.value?.calculation_result?.factor_values;
  const rows = Object.entries(answer?.trades ?? {}).map(([symbol, trade]) => ({symbol, ...trade})).sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  return html`<${Figure} title="Trades to a target" words wide of=${style ? asked : null} table=${answer && {columns: ['symbol', 'weight', 'shares', 'value'], rows: rows.map((row) => [row.symbol, row.weight, row.shares, row.value])}}
    note="The least trades that bring the chosen exposure to zero (with a benchmark: to the benchmark's), without other limits.">
    <div class="row"><${Select} label="Bring to zero" value=${style} onChange=${choose} options=${[['', 'choose a style …'], ...exposures]} />
      <label class="field">Book's value <input type="number" min="1" value=${value} onChange=${(event) => set(Number(event.target.value))} /></label></div>
    <${Asked} of=${asked} empty="Choose a style to see what to trade." what="Looking for the least trades">${() => html`<${Figures} rows=${[['Turnover', percent(answer.turnover)], [benchmark ? 'Active risk a year after' : 'Risk a year after', percent(answer.risk_annual)], ['Trades', count(rows.length)]]} />
      <${Table} caption="Trades" rows=${rows} limit=${100} columns=${[{name: 'Symbol', of: (r) => r.symbol}, {name: 'Weight', n: true, of: (r) => signedPercent(r.weight)},
        {name: 'Shares', n: true, of: (r) => count(r.shares)}, {name: 'Value', n: true, of: (r) => count(Math.round(r.value))}]} />`}<//><//>`;
}
