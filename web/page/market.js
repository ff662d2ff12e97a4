// Market: what the factors made, how much they move and together with what, one style across the names, the data's quality.
import {html, useState} from './vendor/htm-preact-3.1.1.js';
import {get, post, useAsk} from './api.js';
import {Bars, largest, useWidth} from './bars.js';
import {Figure} from './figure.js';
import {Heat} from './heat.js';
import {Lines} from './lines.js';
import {Asked, Empty, Select, Table} from './parts.js';
import {PERIODS, since} from './period.js';
import {choose} from './route.js';
import {count, percent, signed, signedPercent} from './words.js';

const FIRST = ['market', 'beta', 'momentum', 'size', 'value'];

export default function Market({model, choices}) {
  const status = useAsk(model ? get(`/factor-models/${encodeURIComponent(model)}/status`) : null);
  if (!model) return html`<h2>Market</h2><${Empty}>There is no model yet.<//>`;
  return html`<h2>Market</h2><${Asked} of=${status}>${(about) => html`<div class="grid"><${Returns} about=${about} choices=${choices} />
    <${Volatilities} model=${model} choices=${choices} /><${Style} about=${about} choices=${choices} /><${Quality} model=${model} /></div>`}<//>`;
}

function Returns({about, choices}) {
  const years = choices.years ?? '1', start = since(years, about);
  const picked = (choices.factors ?? FIRST.filter((name) => about.factors.includes(name)).join(',')).split(',').filter(Boolean);
  const asked = useAsk(post('/factor-returns/estimate', {model_id: about.model_id, start_date: start}));
  const performance = useAsk(post('/analytics/performance', {model_id: about.model_id, start_date: start}), {wait_ms: 100});
  const history = asked.value?.calculation_result?.history;
  const flip = (name) => choose({factors: (picked.includes(name) ? picked.filter((kept) => kept !== name) : [...picked, name]).join(',')});
  const dates = history?.data.map((row) => row[0]) ?? [];
  const wealth = picked.map((name) => ({name, values: grown(history?.data.map((row) => row[history.columns.indexOf(name)]) ?? [])}));
  const under = wealth.map(({name, values}) => ({name, values: drawdown(values)}));
  const table = history && {columns: history.columns, rows: history.data};
  return html`<${Figure} title="Factor returns" wide of=${asked} table=${table} note="Cumulative returns, compounded. Drag over the picture to look closer, double click to see all.">
      <div class="row"><${Select} label="Over" value=${years} options=${PERIODS} onChange=${(chosen) => choose({years: chosen}, true)} />
        <details><summary>${picked.length} of ${about.factors.length} factors</summary>${about.factors.map((name) => html`<label><input type="checkbox" checked=${picked.includes(name)} onChange=${() => flip(name)} /> ${name} </label>`)}</details></div>
      <${Asked} of=${asked}>${() => picked.length ? html`<${Lines} label="Cumulative factor returns" dates=${dates} series=${wealth} say=${signedPercent} />` : html`<${Empty}>No factor is chosen.<//>`}<//><//>
    <${Figure} title="Drawdown" wide of=${asked} table=${history && {columns: ['date', ...picked], rows: dates.map((date, at) => [date, ...under.map((row) => row.values[at])])}} note="How far each factor is below its own highest point of the period.">
      <${Asked} of=${asked}>${() => picked.length > 0 && html`<${Lines} label="Drawdown" dates=${dates} series=${under} say=${signedPercent} height=${180} />`}<//><//>
    <${Figure} title="How the factors did" words wide of=${performance}><${Asked} of=${performance}>${(answer) => html`<${Table} caption="How the factors did"
      rows=${Object.entries(answer.calculation_result.factor_values).map(([name, of]) => ({name, ...of}))} columns=${[{name: 'Factor', of: (r) => r.name},
        {name: 'Return a year', n: true, of: (r) => signedPercent(r.annual_return)}, {name: 'Volatility a year', n: true, of: (r) => percent(r.annual_volatility)},
        {name: 'Information ratio', n: true, of: (r) => r.information_ratio === null ? '–' : signed(r.information_ratio, 2)}, {name: 't', n: true, of: (r) => r.t_statistic === null ? '–' : signed(r.t_statistic, 2)},
        {name: 'Greatest drawdown', n: true, of: (r) => percent(r.max_drawdown)}, {name: 'Days up', n: true, of: (r) => percent(r.share_positive, 0)}]} />`}<//><//>`;
}

function grown(returns) {
  let wealth = 1;
  return returns.map((made) => made === null ? null : (wealth *= 1 + made) - 1);
}

function drawdown(values) {
  let high = 1;
  return values.map((value) => value === null ? null : (1 + value) / (high = Math.max(high, 1 + value)) - 1);
}

function Volatilities({model, choices}) {
  const method = choices.method ?? 'model';
  const asked = useAsk(post('/covariance/compute', {model_id: model, method}), {wait_ms: 100});
  const v = asked.value?.calculation_result?.factor_values;
  const deviation = v?.covariance.map((row, at) => Math.sqrt(row[at]));
  const alive = v ? v.factors.map((_, at) => at).filter((at) => deviation[at] > 0) : [];
  const names = alive.map((at) => v.factors[at]);
  const matrix = alive.map((y) => alive.map((x) => v.covariance[y][x] / deviation[y] / deviation[x]));
  const pick = html`<${Select} label="Covariance" value=${method} onChange=${(chosen) => choose({method: chosen}, true)} options=${[['model', 'of the model'], 'ewma', 'sample', 'ledoit_wolf', 'oas']} />`;
  return html`<${Figure} title="Factor volatilities" of=${asked} table=${v && {columns: ['factor', 'volatility a year'], rows: Object.entries(v.volatility_annual)}} note="Predicted, a year.">
      <div class="row">${pick}</div><${Asked} of=${asked}>${() => html`<${Bars} label="Factor volatilities" say=${percent} rows=${largest(Object.entries(v.volatility_annual).map(([name, value]) => ({name, value})), 60)} />`}<//><//>
    <${Figure} title="Factor correlations" of=${asked} table=${v && {columns: ['factor', ...names], rows: matrix.map((row, at) => [names[at], ...row])}}>
      <${Asked} of=${asked}>${() => html`<${Heat} names=${names} matrix=${matrix} label="Correlations of ${names.length} factors" />`}<//><//>`;
}

function Style({about, choices}) {
  const style = about.styles.includes(choices.style) ? choices.style : about.styles[0];
  const asked = useAsk(style ? post('/style-factors/calculate', {model_id: about.model_id}) : null, {wait_ms: 200});
  const scores = asked.value?.calculation_result?.factor_values?.[style] ?? {};
  const rows = Object.entries(scores).filter(([, value]) => value !== null).sort((a, b) => b[1] - a[1]).map(([name, value]) => ({name, value}));
  const ends = rows.length > 24 ? [...rows.slice(0, 12), ...rows.slice(-12)] : rows;
  return html`<${Figure} title="A style across the names" of=${asked} table=${{columns: ['symbol', style], rows: rows.map((row) => [row.name, row.value])}} note="The highest and the lowest scores of the last date; all are in the CSV.">
    <div class="row"><${Select} label="Style" value=${style} options=${about.styles} onChange=${(chosen) => choose({style: chosen}, true)} /></div>
    <${Asked} of=${asked}>${() => html`<${Histogram} values=${rows.map((row) => row.value)} label=${`Distribution of ${style}`} /><${Bars} rows=${ends} say=${(x) => signed(x, 2)} label=${`Scores of ${style}`} />`}<//><//>`;
}

// How many values lie where: at most 24 bars that stand beside each other.
export const Histogram = ({values, label}) => values.length ? html`<${Bins} values=${values} label=${label} />` : html`<${Empty}>It has no values.<//>`;

function Bins({values, label}) {
  const [hover, say] = useState(null), [box, wide] = useWidth();
  const low = Math.min(...values), high = Math.max(...values), n = high > low ? 24 : 1, step = (high - low) / n || 1;
  const bins = Array(n).fill(0);
  for (const value of values) bins[Math.min(Math.floor((value - low) / step), n - 1)] += 1;
  const most = Math.max(...bins), tall = 90;
  return html`<div ref=${box}>${wide > 0 && html`<svg class="bars" width=${wide} height=${tall + 18} role="img" aria-label=${`${label}: ${values.length} values from ${low.toPrecision(3)} to ${high.toPrecision(3)}`}>
      ${bins.map((held, at) => html`<rect class="plus" x=${at * wide / n} y=${tall - tall * held / most} width=${wide / n - 2} height=${tall * held / most} onMouseEnter=${() => say(`${held} between ${(low + at * step).toPrecision(3)} and ${(low + (at + 1) * step).toPrecision(3)}`)} />`)}
      <line class="zero" x1="0" x2=${wide} y1=${tall} y2=${tall} /><text x="0" y=${tall + 15}>${low.toPrecision(3)}</text><text x=${wide} y=${tall + 15} text-anchor="end">${high.toPrecision(3)}</text></svg>`}</div>
    <p class="note">${hover ?? `${count(values.length)} values`}</p>`;
}

const SIGN = {error: '✖', warning: '▲', info: 'ℹ'};

function Quality({model}) {
  const asked = useAsk(get(`/factor-models/${encodeURIComponent(model)}/quality`), {wait_ms: 200});
  return html`<${Figure} title="Quality of the data" words wide of=${asked}><${Asked} of=${asked}>${(report) => report.findings.length === 0 ? html`<${Empty}>Nothing was found in ${report.first_date} to ${report.last_date}.<//>`
    : html`<${Table} caption="What was found in the data" rows=${report.findings} columns=${[{name: '', of: (f) => html`<span class=${`state ${f.severity === 'error' ? 'bad' : f.severity === 'warning' ? 'warn' : ''}`}>${SIGN[f.severity] ?? '?'} ${f.severity}</span>`},
      {name: 'What', long: true, of: (f) => f.line}, {name: 'Rows', n: true, of: (f) => count(f.n_rows)}, {name: 'What it does', long: true, of: (f) => f.effect}, {name: 'What helps', long: true, of: (f) => f.remedy}]} />`}<//><//>`;
}
