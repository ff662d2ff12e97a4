// Library: find a factor, see how it is defined and how it did; write one and see it as it is typed.
import {html} from './vendor/htm-preact-3.1.1.js';
import {get, post, useAsk} from './api.js';
import {Bars} from './bars.js';
import {Figure} from './figure.js';
import {Editor} from './formula.js';
import {Histogram} from './market.js';
import {Asked, Empty, Figures, Panel, Select, Table} from './parts.js';
import {choose} from './route.js';
import {count, number, percent, several, signed, signedPercent} from './words.js';

const NEAREST = 12, NOT_ABLE = 'It cannot be computed of this model\'s data.';

export default function Library({model, choices}) {
  const asked = useAsk(model ? get(`/factors/definitions?model_id=${encodeURIComponent(model)}`) : null);
  return html`<h2>Library</h2><${Asked} of=${asked} what="Reading the definitions; the first time the library is compiled" empty="There is no model yet.">${(library) => html`<div class="grid">
    <${Find} library=${library} choices=${choices} at=${asked.at} />
    <div><${One} library=${library} choices=${choices} model=${model} /></div>
    <${Editor} library=${library} model=${model} choices=${choices} /></div>`}<//>`;
}

function Find({library, choices, at}) {
  const words = (choices.search ?? '').toLowerCase().split(/\s+/).filter(Boolean);
  const found = library.definitions.filter((d) => (!choices.category || d.category === choices.category) && (!choices.source || d.source === choices.source)
    && words.every((word) => `${d.id} ${d.name} ${d.formula} ${d.citation}`.toLowerCase().includes(word)));
  const sources = [...new Set(library.definitions.map((d) => d.source))].sort();
  return html`<${Panel} title="Factors" age=${at}><div class="row"><label class="field">Search <input type="search" value=${choices.search ?? ''} onInput=${(event) => choose({search: event.target.value})} /></label>
      <${Select} label="Category" value=${choices.category ?? ''} onChange=${(category) => choose({category}, true)} options=${[['', 'all'], ...Object.entries(library.categories).map(([name, n]) => [name, `${name} (${n})`])]} />
      <${Select} label="Source" value=${choices.source ?? ''} onChange=${(source) => choose({source}, true)} options=${[['', 'all'], ...sources]} /></div>
    <p class="dim">${found.length} of ${library.definitions.length}; ${library.computable} can be computed of this model's data${found.some((d) => library.missing?.[d.id]) ? '; ▲ cannot' : ''}.</p>
    ${found.length === 0 ? html`<${Empty}>No factor has these words.<//>` : html`<${Table} caption="Factors" limit=${200} rows=${found.map((d) => ({key: d.id, ...d}))} picked=${(d) => d.id === choices.factor} pick=${(d) => choose({factor: d.id}, true)}
      columns=${[{name: 'Factor', of: (d) => library.missing?.[d.id] ? html`<span class="warn" title=${library.missing[d.id]}>▲</span> ${d.id}` : d.id}, {name: 'Name', of: (d) => d.name}, {name: 'Category', of: (d) => d.category}]} />`}<//>`;
}

function One({library, choices, model}) {
  const d = library.definitions.find((row) => row.id === choices.factor);
  const id = d?.id, missing = library.missing?.[id], able = id && !missing;
  const values = useAsk(able ? post('/factors/cross-section', {model_id: model, factors: [id]}) : null);
  const sheet = useAsk(able ? post('/factor-analytics/calculate', {model_id: model, factor: id}) : null, {wait_ms: 100});
  const neighbours = useAsk(able ? post('/factors/neighbours', {model_id: model, factor: id, most: NEAREST}) : null, {wait_ms: 300});
  if (!choices.factor) return html`<${Panel} title="One factor"><${Empty}>Choose a factor to see how it is defined and how it did.<//><//>`;
  if (!d) return html`<${Panel} title="One factor"><${Empty}>The library has no factor ${choices.factor}.<//><//>`;
  return html`<${Panel} title=${d.id}><p><b>${d.name}</b></p><pre>${d.formula}</pre>
      <p class="dim">${d.citation || d.source}${d.erratum ? `; erratum: ${d.erratum}` : ''}</p>
      <${Figures} rows=${[['Category', d.category], ['Look-back', several(d.warmup, 'row')], ['Needs', d.inputs.join(', ')], ['Conventions', d.conventions?.name ?? d.conventions]]} />
      ${missing && html`<p class="warn">▲ It cannot be computed of this model's data: it ${missing}.</p>`}<//><br />
    <${Figure} title="Distribution" of=${values} table=${values.value && {columns: ['symbol', id], rows: values.value.calculation_result.symbols.map((s, at) => [s, values.value.calculation_result.factor_values[id].raw[at]])}}>
      <${Asked} of=${values} empty=${NOT_ABLE}>${(answer) => html`<${Histogram} values=${answer.calculation_result.factor_values[id].raw.filter((x) => x !== null)} label=${`Distribution of ${id}`} />`}<//><//><br />
    <${Sheet} asked=${sheet} id=${id} /><br />
    <${Neighbours} of=${neighbours} library=${library} id=${id} />`;
}

// Most of the library ranks the names somehow alike: the nearest of all, whatever their category.
function Neighbours({of, library, id}) {
  const r = of.value?.calculation_result, categories = Object.fromEntries(library.definitions.map((d) => [d.id, d.category]));
  const rows = Object.entries(r?.factor_values ?? {}).map(([name, value]) => ({name, value, title: `${name}: ${signed(value, 2)}, ${categories[name] ?? 'registered'}`, pick: () => choose({factor: name}, true)}));
  return html`<${Figure} title="Nearest factors" of=${of} table=${r && {columns: ['factor', 'category', 'rank correlation'], rows: rows.map((row) => [row.name, categories[row.name], row.value])}}
    note=${r && `Mean daily rank correlation with ${id} over ${several(r.window_days, 'day')} to ${r.date}, among ${count(r.compared)} factors of every category; below 0 a factor ranks the names the other way round.${r.not_comparable ? ` ${r.not_comparable} have too few names in common with it, or are the same for all names.` : ''}`}>
    <${Asked} of=${of} what="Comparing it with all factors; the first time for a version this takes some seconds" empty=${NOT_ABLE}>${() => rows.length ? html`<${Bars} label="Nearest factors" say=${(x) => signed(x, 2)} rows=${rows} />` : html`<${Empty}>No factor can be compared with it.<//>`}<//><//>`;
}

// The tear sheet: IC by horizon, its decay, what each fifth of the names made, turnover.
export function Sheet({asked, id}) {
  const v = asked.value?.calculation_result?.factor_values;
  return html`<${Figure} title="How it did" of=${asked} table=${v && {columns: ['days ahead', 'mean IC'], rows: v.decay.map((row) => [row.days_ahead, row.mean_ic])}} note=${v && `${v.first_date} to ${v.last_date}, ${several(v.n_dates, 'day')}.`}>
    <${Asked} of=${asked} what="Judging it by the returns that followed" empty=${NOT_ABLE}>${() => html`<${Table} caption="Information coefficients" rows=${v.horizons} columns=${[{name: 'Days', n: true, of: (h) => h.days}, {name: 'Mean IC', n: true, of: (h) => signed(h.ic.mean, 4)},
        {name: 'IC ratio', n: true, of: (h) => signed(h.ic.ratio, 3)}, {name: 't', n: true, of: (h) => signed(h.ic.t_statistic, 2)}, {name: 'Top less bottom over them', n: true, of: (h) => signedPercent(h.spread.mean, 3)}]} />
      <h4>Decay of the IC</h4><${Bars} label=${`Decay of the IC of ${id}`} say=${(x) => signed(x, 4)} rows=${v.decay.map((row) => ({name: `${several(row.days_ahead, 'day')} ahead`, value: row.mean_ic}))} />
      <h4>Return by fifth over ${several(v.horizons[0].days, 'day')}</h4><${Bars} label="Return by fifth" say=${(x) => signedPercent(x, 3)} rows=${v.horizons[0].quantile_returns.map((value, at, all) => ({name: at === 0 ? '1 (lowest)' : at === all.length - 1 ? `${at + 1} (highest)` : `${at + 1}`, value}))} />
      <p class="dim">Turnover over ${v.turnover.map((row) => `${several(row.days, 'day')}: ${percent(row.top, 0)} of the top (rank autocorrelation ${number(row.rank_autocorrelation, 2)})`).join('; ')}.</p>`}<//><//>`;
}
