// Live: the values of a watch as they move. Every value is kept, up to so many points. Figures are drawn at most three times a
// second, which is as fast as they can be read, and lines once; nothing is drawn that nobody sees.
import {html, useEffect, useRef, useState} from './vendor/htm-preact-3.1.1.js';
import {ask, get, useAsk} from './api.js';
import {Bars, largest, largestInPlace} from './bars.js';
import {Figure} from './figure.js';
import {Lines} from './lines.js';
import {Age, Asked, Broken, Empty, Figures, InSight, Panel, Select, Table} from './parts.js';
import {choose} from './route.js';
import {useSocket} from './socket.js';
import {count, hundredths, ms, percent, several, signed, signedPercent} from './words.js';

const POINTS = 600, DRAW_MS = 330, LINES_MS = 1000, CHOOSE_MS = 15_000, LINES = 6, FACTORS = 40, OF_BOOK = 12, MOVERS = 10, OWN = 'page';

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
  const kept = useRef({times: [], factors: {}, drawn: -Infinity, waiting: false, fresh: false, trouble: null});
  const [, draw] = useState(0);
  // What has come is drawn with the browser's next frame, no sooner than `DRAW_MS` after the last; in a tab that nobody sees
  // nothing is, and what came in the meantime when it is seen again.
  const soon = () => {
    const k = kept.current;
    if (k.waiting || !k.fresh || document.hidden) return;
    k.waiting = true;
    // The clock itself, not the frame's time: that is when the frame was due, up to a frame before.
    setTimeout(() => requestAnimationFrame(() => {
      k.waiting = false;
      if (k.gone || document.hidden) return;
      Object.assign(k, {fresh: false, drawn: performance.now()});
      draw((number) => number + 1);
    }), Math.ceil(k.drawn + DRAW_MS - performance.now()));
  };
  useEffect(() => {
    document.addEventListener('visibilitychange', soon);
    return () => { kept.current.gone = true; document.removeEventListener('visibilitychange', soon); };
  }, []);
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
      // A factor that this value says nothing of (withheld, or not of the watch any more) has a gap here.
      for (const values of Object.values(k.factors)) while (values.length < k.times.length) values.push(null);
      if (k.times.length > POINTS) { k.times.shift(); for (const values of Object.values(k.factors)) values.shift(); }
    }
    k.fresh = true;
    soon();
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
  return html`${head}<${Values} value=${value} of=${of} at=${at} times=${times} factors=${factors} />`;
}

const rowsOf = (byFactor) => Object.entries(byFactor ?? {}).map(([name, value]) => ({name, value}));

// The market and the factors that moved most; chosen anew at most each `CHOOSE_MS`, so that the lines can be followed.
function useMoving(rows, at) {
  const held = useRef({at: 0, names: []}), h = held.current;
  if (at - h.at > CHOOSE_MS || !h.names.length) {
    const largestOnes = largest(rows.filter((row) => row.name !== 'market'), LINES - 1).map((row) => row.name);
    Object.assign(h, {at, names: ['market', ...rows.map((row) => row.name).filter((name) => largestOnes.includes(name))]});
  }
  return h.names;
}

// Rows keep their places while their values move.
function Values({value, of, at, times, factors}) {
  const books = Object.entries(value.portfolios ?? {}).filter(([, book]) => book);
  const rows = rowsOf(value.factor_returns), lines = useMoving(rows, at).filter((name) => factors[name]);
  return html`${value.factor_returns && html`<${InSight}>${() => html`<${Figure} title="Factor returns so far" of=${of} table=${{columns: ['factor', 'return'], rows: Object.entries(value.factor_returns)}} note="Provisional: of the day that runs."><${Bars} label="Factor returns so far" say=${(x) => signedPercent(x, 3)} rows=${largestInPlace(rows, FACTORS)} /><//>`}<//>
      <${InSight} every_ms=${LINES_MS}>${() => html`<${Figure} title="As they moved" of=${of} note=${`The last ${several(times.length, 'value')}, since this view was opened.`}>${times.length > 1 ? html`<${Lines} label="Factor returns as they moved" dates=${times} series=${lines.map((name) => ({name, values: [...factors[name]]}))} say=${hundredths} />` : html`<${Empty}>One value has come; a line needs two.<//>`}<//>`}<//>`}
    ${books.map(([name, book]) => html`<${InSight} key=${name}>${() => html`<${OfBook} name=${name} book=${book} of=${of} />`}<//>`)}
    <${InSight}>${() => html`<${Movers} value=${value} of=${of} />`}<//>`;
}

function OfBook({name, book, of}) {
  const told = book.return_by_factor !== null && book.return_by_factor !== undefined;
  return html`<${Figure} title=${`Book ${name} so far`} of=${of} table=${told && {columns: ['factor', 'contribution'], rows: [...Object.entries(book.return_by_factor), ['specific', book.specific_return], ['not explained', book.unexplained_return], ['return', book.return]]}}
      note="Provisional: of the day that runs. Specific: what no factor explains; not explained: names that the model does not know.">
    <${Figures} rows=${[['Return so far', html`<span class=${book.return >= 0 ? 'up' : 'down'}>${signedPercent(book.return, 3)}</span>`], ['Predicted risk, a day', percent(book.risk, 3), `with the exposures of the last close ${percent(book.risk_before, 3)}`],
      ['Not seen yet', percent(book.unseen_weight, 1), 'weight of names without a price today'], ...(book.unknown_weight ? [['Unknown to the model', percent(book.unknown_weight, 1)]] : [])]} />
    ${told ? html`<${Bars} waterfall label=${`Return of ${name} by factor`} say=${(x) => signedPercent(x, 3)} rows=${bookRows(book)} />` : html`<${Empty}>The factors' returns are withheld, so the return is not split.<//>`}<//>`;
}

// The largest contributions where the axis has them, what else made the return, and the return itself.
function bookRows(book) {
  const all = rowsOf(book.return_by_factor), rows = largestInPlace(all, OF_BOOK), sum = (some) => some.reduce((total, row) => total + (row.value ?? 0), 0);
  return [...rows, ...(all.length > rows.length ? [{name: 'other factors', value: sum(all) - sum(rows)}] : []), {name: 'specific', value: book.specific_return},
    ...(book.unexplained_return ? [{name: 'not explained', value: book.unexplained_return}] : []), {name: 'return', value: book.return, total: true}];
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
