// Where a book's risk comes from: in figures, by family, factor and name; and how well it was predicted.
import {html} from './vendor/htm-preact-3.1.1.js';
import {post, useAsk} from './api.js';
import {Bars, largest} from './bars.js';
import {Figure} from './figure.js';
import {Lines} from './lines.js';
import {Asked, Figures, Panel} from './parts.js';
import {choose} from './route.js';
import {hundredths, made, number, percent, signed, signedPercent} from './words.js';

const NAMES = 20;

// The engine's order of factors is market, sectors, styles; a style's name is in small letters.
export function familyOf(name) {
  if (name === 'market') return 'market';
  return /^[a-z0-9_]+$/.test(name) ? 'styles' : 'sectors';
}

function tails(v, active) {
  const rows = (of, names, about) => [of.value_at_risk, of.expected_shortfall].map((x, at) => [`${names[at]}, a day, 99 %`, percent(x), about]);
  const own = rows(v, ['Value at risk', 'Expected shortfall'], 'a loss, as a share of the book');
  return active ? [...own, ...rows(active, ['Active value at risk', 'Active expected shortfall'], 'of the difference from the benchmark, as a share of the book')] : own;
}

export function Risk({risk}) {
  return html`<${Panel} title="Risk" wide age=${risk.at}><${Asked} of=${risk} what="Computing the risk">${(answer) => {
    const r = answer.calculation_result, v = r.factor_values, a = v.active;
    return html`<${Figures} rows=${[['Volatility a year', percent(v.total_risk_annual)], ['From factors', percent(made(v.percent_specific, (x) => 1 - x), 1), 'share of the variance'],
      ['Specific', percent(v.percent_specific, 1), 'share of the variance'], ...tails(v, a), ...(a ? [['Active risk a year', percent(a.active_risk_annual), 'volatility of the difference from the benchmark'], ['Beta', number(a.beta, 2), 'to the benchmark']] : []),
      ['Covered', percent(r.coverage, 1), 'share of the book that the model covers'], ['Date', r.date], ['Model version', r.model_version], ['Confidence', number(r.confidence_score, 2)]]} />
      ${r.uncovered?.length > 0 && html`<p class="warn">▲ Not covered by the model and left out: ${r.uncovered.slice(0, 12).join(', ')}${r.uncovered.length > 12 ? ', …' : ''}</p>`}`;
  }}<//><//>`;
}

// Family, then factor, then the names behind a factor's exposure. The address says how deep.
export function Sources({risk, body, drill}) {
  const values = risk.value?.calculation_result?.factor_values ?? {};
  const active = values.active, shares = active?.percent_factor ?? values.percent_factor ?? {}, specific = (active ?? values).percent_specific;
  const families = {};
  for (const [name, share] of Object.entries(shares)) families[familyOf(name)] = (families[familyOf(name)] ?? 0) + share;
  const factor = drill && drill in shares ? drill : null;
  const rows = drill && !factor ? Object.entries(shares).filter(([name]) => familyOf(name) === drill)
      .map(([name, value]) => ({name, value, pick: () => choose({drill: name}, true)}))
    : [...Object.entries(families).map(([name, value]) => ({name, value, pick: () => choose({drill: name === 'market' ? 'market' : name}, true)})),
      {name: 'specific', value: specific}, {name: 'all', value: 1, total: true}];
  const of = active ? 'active risk' : 'risk';
  return html`<${Figure} title=${`Sources of ${of}`} of=${risk} table=${{columns: ['source', 'share of variance'], rows: [...Object.entries(shares), ['specific', specific]]}}
      note="Shares of the variance; they sum to 100 %. A negative one takes risk away.">
      ${drill && html`<p><button class="small" onClick=${() => choose({drill: factor && factor !== 'market' ? familyOf(factor) : undefined}, true)}>‹ back</button> ${drill}</p>`}
      <${Asked} of=${risk}>${() => factor ? html`<${Behind} body=${body} factor=${factor} share=${shares[factor]} />`
        : html`<${Bars} rows=${drill ? largest(rows, 60) : rows} waterfall=${!drill} label=${`Sources of ${of}`} say=${(x) => signedPercent(x, 1)} />`}<//><//>
    <${ByName} risk=${risk} />`;
}

function ByName({risk}) {
  const shares = risk.value?.calculation_result?.factor_values?.percent_by_symbol ?? {};
  const rows = Object.entries(shares).map(([name, value]) => ({name, value}));
  const shown = largest(rows, NAMES), rest = rows.length - shown.length;
  const kept = shown.reduce((sum, row) => sum + row.value, 0), all = rows.reduce((sum, row) => sum + row.value, 0);
  return html`<${Figure} title="Risk by name" of=${risk} table=${{columns: ['symbol', 'share of variance'], rows: Object.entries(shares)}} note=${`Shares of the variance of the book itself.${rest > 0 ? ` The ${rest} others together: ${percent(all - kept, 1)}.` : ''}`}>
    <${Asked} of=${risk}>${() => html`<${Bars} rows=${shown} label="Risk by name" say=${(x) => signedPercent(x, 2)} />`}<//><//>`;
}

// The names behind one exposure: weight times the name's own exposure. It needs the weights, which a pasted book has.
function Behind({body, factor, share}) {
  const weights = body.portfolio_weights;
  const asked = useAsk(weights ? post('/factor-features/calculate', {model_id: body.model_id, symbols: Object.keys(weights)}) : null);
  const head = html`<p>${factor}: ${signedPercent(share, 1)} of the variance.</p>`;
  if (!weights) return [head, html`<p class="dim">The names behind it are shown for pasted weights; a book by name keeps its weights in the engine.</p>`];
  return [head, html`<${Asked} of=${asked}>${(answer) => {
    const rows = Object.entries(answer.calculation_result.factor_values).map(([name, own]) => ({name, value: own[factor] === null ? null : weights[name] * own[factor],
      title: `${name}: weight ${percent(weights[name])} times exposure ${number(own[factor])}`}));
    return [html`<p class="dim">Weight times own exposure; they sum to the book's exposure.</p>`, html`<${Bars} rows=${largest(rows, 40)} label=${`Names behind ${factor}`} say=${signed} />`];
  }}<//>`];
}

export function History({body}) {
  const {portfolio_id, portfolio_weights, benchmark, model_id} = body;
  const asked = useAsk(post('/portfolio-risk/history', {portfolio_id, portfolio_weights, benchmark, model_id}), {wait_ms: 400});
  const h = asked.value?.calculation_result?.factor_values;
  const table = h && {columns: ['date', 'predicted volatility, a day', 'realised next day'], rows: h.dates.map((date, at) => [date, h.total_risk[at], h.realised_next_day[at]])};
  return html`<${Figure} title="Predicted against realised" of=${asked} table=${table} wide
    note=${`Dots: what the book made on the next day${benchmark ? ' beyond the benchmark' : ''}. Lines: two predicted deviations${benchmark ? ' of that difference' : ''} up and down; about one day in twenty should lie outside.`}>
    <${Asked} of=${asked} what="Predicting each day of the year again">${() => html`<${Figures} rows=${[['Bias', number(h.bias, 3), '1 is right; above 1 the risk was predicted too low'],
        ['QLIKE', number(h.qlike, 3), 'loss of the variance forecast; lower is better'], ['Days beyond VaR', `${h.value_at_risk_exceedances} of ${h.dates.length - 1}`],
        ['Share beyond', percent(h.value_at_risk_exceeded_share), '1 % is right']]} />
      <${Lines} label="Predicted and realised" dates=${h.dates} say=${hundredths} series=${[{name: 'realised next day', values: h.realised_next_day, points: true},
        {name: '+2 deviations', values: h.total_risk.map((x) => made(x, () => 2 * x))}, {name: '−2 deviations', values: h.total_risk.map((x) => made(x, () => -2 * x))}]} />`}<//><//>`;
}

