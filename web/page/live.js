// Live: the values of a watch as they move. At most ten times a second a picture is drawn, and so many points are kept.
import {html, useEffect, useRef, useState} from './vendor/htm-preact-3.1.1.js';
import {ask, get, useAsk} from './api.js';
import {Bars, largest} from './bars.js';
import {Figure} from './figure.js';
import {Lines} from './lines.js';
import {Age, Asked, Broken, Empty, Figures, Panel, Select, Table} from './parts.js';
import {choose} from './route.js';
import {useSocket} from './socket.js';
import {count, ms, percent, signed, signedPercent} from './words.js';

const POINTS = 600, DRAW_MS = 100, MOVERS = 10, OWN = 'page';

export default function Live({model, choices, mayWrite}) {
  const watches = useAsk(get('/watches'), {every_s: 10});
  const day = useAsk(model ? get(`/running-day?model_id=${encodeURIComponent(model)}`) : null, {every_s: 5});
  const mine = (watches.value?.watches ?? []).filter((row) => row.model_id === model);
  const chosen = choices.watch ?? mine[0]?.watch_id;
  const row = (watches.value?.watches ?? []).find((one) => one.watch_id === chosen);
  return html`<h2>Live</h2><div class="grid">
    <${Panel} title="Watches" age=${watches.at}><${Asked} of=${watches}>${(answer) => html`${mine.length === 0 ? html`<${Empty}>Model ${model} has no watch. <code>PUT /watches/NAME</code> makes one${mayWrite ? ', as the button below does' : ''}.<//>`
      : html`<${Select} label="Watch" value=${chosen} options=${mine.map((one) => one.watch_id)} onChange=${(watch) => choose({watch}, true)} />`}
      <p class="dim">${answer.count} of at most ${answer.limit} watches are kept.</p>${mayWrite && html`<${Make} model=${model} done=${watches.again} />`}`}<//><//>
    <${Panel} title="Running day" age=${day.at}><${Asked} of=${day} empty="There is no model.">${(d) => d.date ? html`<${Figures} rows=${[['Day', d.date], ['State', d.state], ['Names seen', `${d.seen} of ${d.active}`], ['Rows', count(d.rows)]]} />${Object.keys(d.rejected).length > 0 && html`<p class="warn">▲ Rejected: ${Object.entries(d.rejected).map(([kind, n]) => `${kind} ${n}`).join(', ')}</p>`}`
      : html`<${Empty}>No day runs (${d.state}); the last committed is ${d.committed}. <code>make run LIVE=1</code> plays a market.<//>`}<//><//>
    ${chosen && html`<${Watched} key=${chosen} id=${chosen} about=${row} rate=${row?.watch?.rate_ms} />`}</div>`;
}

function Make({model, done}) {
  const [error, fail] = useState(null);
  const make = async () => {
    try {
      await ask({method: 'PUT', path: `/watches/${OWN}-${model.replaceAll('.', '-')}`, body: {model_id: model, factor_returns: true, styles: ['*'], portfolios: ['market', 'equal'], rate_ms: 250, idle_s: 3600}});
      done();
      choose({watch: `${OWN}-${model.replaceAll('.', '-')}`}, true);
    } catch (fault) { fail(fault); }
  };
  return html`<button onClick=${make}>Watch factor returns, styles and the market</button>${error && html`<${Broken} error=${error} />`}`;
}

// The newest value, and the last `POINTS` of the factor returns, drawn at most each `DRAW_MS`.
function useValues(id) {
  const kept = useRef({times: [], factors: {}, first: null, waiting: false, trouble: null});
  const [, draw] = useState(0);
  useEffect(() => () => { kept.current.gone = true; }, []);
  const take = (value) => {
    const k = kept.current;
    if (value.state) k.trouble = value.reason;
    else {
      k.trouble = null;
      k.value = value;
      k.at = Date.now();
      k.times.push(k.at / 1000);
      for (const [name, made] of Object.entries(value.factor_returns ?? {})) {
        k.factors[name] ??= Array(k.times.length - 1).fill(null);
        k.factors[name].push(made);
      }
      if (k.times.length > POINTS) { k.times.shift(); for (const values of Object.values(k.factors)) values.shift(); }
    }
    if (k.waiting || document.hidden) return;
    k.waiting = true;
    setTimeout(() => { k.waiting = false; if (!k.gone) draw((number) => number + 1); }, DRAW_MS);
  };
  const line = useSocket(`/ws/factors?watch=${encodeURIComponent(id)}`, take);
  return [line, kept.current];
}

function Watched({id, about}) {
  const [line, {value, at, times, factors, trouble}] = useValues(id);
  const request = get(`/watches/${id}`);
  const of = {request, at};
  const head = html`<${Panel} title="Connection" wide><p class="state ${line.state === 'open' ? 'good' : 'warn'}" data-state=${line.state}>${line.state === 'open' ? '● connected' : line.state === 'lost' ? `▲ the connection was lost${line.reason ? ` (${line.reason})` : ''}; it is tried again` : '◐ connecting'} <${Age} at=${line.at} what="" /></p>
    ${(trouble || value?.withheld) && html`<p class="warn">▲ ${trouble ?? `Returns are withheld: ${value.withheld}`}</p>`}${value ? html`<${Figures} rows=${[['Market time', value.market_time?.slice(11, 19) ?? '–'], ['Share seen', percent(value.seen, 1)], ['Message', count(value.sequence)], ['Computed in', ms(value.compute_ms)], ['Market return', signedPercent(value.market_return, 3)], ['Value', html`<${Age} at=${at} what="" />`]]} />${value.replay && html`<p class="dim">The ticks are replayed, not of a market.</p>`}` : html`<p class="dim">${about?.state && about.state !== 'live' ? `The watch is ${about.state}: ${about.reason ?? ''}` : 'No value has come yet: the market has not moved since.'}</p>`}<//>`;
  if (!value) return head;
  const books = Object.entries(value.portfolios ?? {}).filter(([, book]) => book);
  const shown = largest(Object.entries(value.factor_returns ?? {}).map(([name, made]) => ({name, value: made})), 6).map((row) => row.name).sort();
  const lines = ['market', ...shown.filter((name) => name !== 'market')].filter((name) => factors[name]).slice(0, 6);
  return html`${head}
    ${value.factor_returns && html`<${Figure} title="Factor returns so far" of=${of} table=${{columns: ['factor', 'return'], rows: Object.entries(value.factor_returns)}} note="Provisional: of the day that runs."><${Bars} label="Factor returns so far" say=${(x) => signedPercent(x, 3)} rows=${largest(Object.entries(value.factor_returns).map(([name, made]) => ({name, value: made})), 24)} /><//>
      <${Figure} title="As they moved" of=${of} note=${`The last ${times.length} values, since this view was opened.`}>${times.length > 1 ? html`<${Lines} label="Factor returns as they moved" dates=${times} series=${lines.map((name) => ({name, values: factors[name]}))} say=${(x) => signedPercent(x, 2)} />` : html`<${Empty}>One value has come; a line needs two.<//>`}<//>`}
    ${books.map(([name, book]) => html`<${Figure} title=${`Book ${name} so far`} of=${of} table=${{columns: ['factor', 'contribution'], rows: Object.entries(book.return_by_factor ?? {})}}><p>Return so far <b class=${book.return >= 0 ? 'up' : 'down'}>${signedPercent(book.return, 3)}</b></p><${Bars} waterfall label=${`Return of ${name} by factor`} say=${(x) => signedPercent(x, 3)} rows=${[...largest(Object.entries(book.return_by_factor ?? {}).map(([factor, made]) => ({name: factor, value: made})), 12)]} /><//>`)}
    <${Movers} value=${value} of=${of} />`;
}

function Movers({value, of}) {
  const [by, set] = useState('specific_return');
  const kinds = Object.keys(value.values ?? {});
  if (!kinds.length || !value.symbols) return null;
  const kind = kinds.includes(by) ? by : kinds[0], say = kind.endsWith('return') ? (x) => signedPercent(x, 2) : (x) => signed(x, 3);
  const rows = value.symbols.map((symbol, at) => ({symbol, value: value.values[kind][at]})).filter((row) => row.value !== null && row.value !== undefined).sort((a, b) => b.value - a.value);
  const ends = rows.length > 2 * MOVERS ? [...rows.slice(0, MOVERS), ...rows.slice(-MOVERS)] : rows;
  return html`<${Figure} title="Top movers" words of=${of} table=${{columns: ['symbol', kind], rows: rows.map((row) => [row.symbol, row.value])}} note=${`The highest and lowest of ${rows.length} names.`}><div class="row"><${Select} label="By" value=${kind} options=${kinds} onChange=${set} /></div>
    <${Table} caption="Top movers" rows=${ends.map((row) => ({key: row.symbol, ...row}))} columns=${[{name: 'Name', of: (r) => r.symbol}, {name: kind.replaceAll('_', ' '), n: true, of: (r) => html`<span class=${r.value >= 0 ? 'up' : 'down'}>${say(r.value)}</span>`}]} /><//>`;
}
