// Attribution: what a period's return was made of, as a waterfall, and quarter by quarter.
import {html, useEffect, useState} from './vendor/htm-preact-3.1.1.js';
import {ask, get, post, useAsk} from './api.js';
import {Bars, largest} from './bars.js';
import {Figure} from './figure.js';
import {Lines} from './lines.js';
import {Asked, Broken, Loading, Select} from './parts.js';
import {PERIODS, since} from './period.js';
import {choose} from './route.js';
import {hundredths, several} from './words.js';

const QUARTERS = 8;

export function Attribution({body, choices}) {
  const [by, set] = useState('family'), over = choices.over ?? '1';
  const {portfolio_id, portfolio_weights, benchmark, model_id} = body;
  const book = {portfolio_id, portfolio_weights, benchmark, model_id};
  const about = useAsk(get(`/factor-models/${encodeURIComponent(model_id)}/status`)).value;
  const asked = useAsk(about && post('/portfolio-attribution/calculate', {...book, start_date: since(over, about)}), {wait_ms: 700});
  const v = asked.value?.calculation_result?.factor_values;
  const all = v && {family: v.by_family, factor: v.factor_contributions, sector: v.by_sector, name: v.by_symbol};
  const total = v && (v.active_return ?? v.portfolio_return);
  const parts = v ? largest(Object.entries(all[by] ?? {}).map(([name, value]) => ({name, value})), 24) : [];
  if (v && by === 'factor') parts.push({name: 'specific', value: v.specific_contribution});
  const left = parts.reduce((sum, row) => sum - row.value, total ?? 0);
  const rows = [...parts, ...(Math.abs(left) > 5e-6 ? [{name: 'the rest', value: left}] : []), {name: (v?.active_return ?? null) === null ? 'return' : 'active return', value: total, total: true}];
  const r = asked.value?.calculation_result;
  return html`<${Figure} title="Attribution" of=${asked} wide table=${v && {columns: [by, 'contribution'], rows: [...Object.entries(all[by] ?? {}), ['total', total]]}}
      note=${r && `${r.start_date} to ${r.end_date}, ${several(r.n_days, 'day')}; linked by ${r.linking}.`}>
      <div class="row"><${Select} label="Over" value=${over} onChange=${(chosen) => choose({over: chosen}, true)} options=${PERIODS} /></div>
      <${Asked} of=${asked} what="Attributing the period">${() => html`<div class="row"><${Select} label="By" value=${by} onChange=${set} options=${Object.keys(all).filter((key) => all[key])} /></div>
        <${Bars} rows=${rows} waterfall label="Attribution" />`}<//><//>
    ${r && html`<${OverTime} book=${book} from=${about.first_date} to=${r.end_date} />`}`;
}

function quarters(from, to) {
  const out = [];
  const [year, month] = to.split('-').map(Number);
  for (let back = QUARTERS - 1; back >= 0; back -= 1) {
    const first = new Date(Date.UTC(year, 3 * Math.floor((month - 1) / 3) - 3 * back, 1)), last = new Date(Date.UTC(first.getUTCFullYear(), first.getUTCMonth() + 3, 0));
    const iso = (date) => date.toISOString().slice(0, 10);
    if (iso(first) >= from) out.push({start_date: iso(first), end_date: iso(last) < to ? iso(last) : to});
  }
  return out;
}

// One request per quarter, one after the other, when the reader asks for it.
function OverTime({book, from, to}) {
  const [wanted, want] = useState(false), [held, hold] = useState({rows: []});
  const key = JSON.stringify(book);
  useEffect(() => {
    hold({rows: []});
    if (!wanted) return undefined;
    const away = new AbortController();
    (async () => {
      const rows = [];
      for (const period of quarters(from, to)) {
        const {value} = await ask(post('/portfolio-attribution/calculate', {...JSON.parse(key), ...period}), away.signal);
        rows.push({period, values: value.calculation_result.factor_values});
        hold({rows: [...rows]});
      }
      hold({rows, done: true, at: Date.now()});
    })().catch((error) => away.signal.aborted || hold({rows: [], error}));
    return () => away.abort();
  }, [wanted, key, from, to]);
  const request = post('/portfolio-attribution/calculate', {...book, ...(held.rows.at(-1)?.period ?? {})});
  const families = [...new Set(held.rows.flatMap((row) => Object.keys(row.values.by_family ?? {})))];
  const series = families.map((name) => ({name, values: sums(held.rows.map((row) => row.values.by_family[name] ?? 0))}));
  return html`<${Figure} title="Attribution over time" wide of=${{request, at: held.at}} note="Contributions by family, added up over calendar quarters; the quarters are not linked with each other."
      table=${{columns: ['quarter until', ...families], rows: held.rows.map((row) => [row.period.end_date, ...families.map((name) => row.values.by_family[name])])}}>
    ${!wanted ? html`<p><button onClick=${() => want(true)}>Show the last ${QUARTERS} quarters</button></p>` : held.error ? html`<${Broken} error=${held.error} />`
      : held.rows.length < 2 ? html`<${Loading} what="Attributing each quarter" />` : html`<${Lines} label="Attribution over time" dates=${held.rows.map((row) => row.period.end_date)} series=${series} say=${hundredths} />`}<//>`;
}

const sums = (values) => { let total = 0; return values.map((value) => (total += value)); };
