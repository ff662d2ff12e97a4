// Stress: a slider for each factor that matters; the answer follows as it moves.
import {html, useState} from './vendor/htm-preact-3.1.1.js';
import {post, useAsk} from './api.js';
import {Bars, largest} from './bars.js';
import {Figure} from './figure.js';
import {Asked} from './parts.js';
import {choose, read} from './route.js';
import {signedPercent} from './words.js';

const NEUTRAL = 'Move a slider: the market by up to 25 %, a style by up to 10 %.';

const shocksOf = (text) => Object.fromEntries((text ?? '').split(',').filter(Boolean).map((part) => part.split(':')).map(([name, value]) => [name, Number(value)]));

export function Stress({body, risk}) {
  const [shocks, set] = useState(shocksOf(read().choices.shock)), [propagate, follow] = useState(true);
  const exposures = Object.keys(risk.value?.calculation_result?.factor_values?.exposures ?? {});
  const factors = exposures.filter((name) => name === 'market' || /^[a-z0-9_]+$/.test(name));
  const moved = Object.fromEntries(Object.entries(shocks).filter(([, value]) => value));
  const any = Object.keys(moved).length > 0;
  const asked = useAsk(any ? post('/risk/stress', {...body, shocks: {sliders: moved}, propagate}) : null);
  const answer = (asked.value ?? asked.before)?.calculation_result?.factor_values?.sliders;
  const move = (name, value) => {
    const now = {...shocks, [name]: value};
    set(now);
    choose({shock: Object.entries(now).filter(([, v]) => v).map(([n, v]) => `${n}:${v}`).join(',')});
  };
  const rows = answer ? [...largest(Object.entries(answer.by_factor).map(([name, value]) => ({name, value})), 14), {name: 'return', value: answer.return, total: true}] : [];
  return html`<${Figure} title="Stress" wide of=${any ? asked : null} table=${answer && {columns: ['factor', 'shock', 'contribution'], rows: Object.keys(answer.by_factor).map((name) => [name, answer.factor_returns[name], answer.by_factor[name]])}}
    note=${`${propagate ? 'The other factors move as the covariance expects.' : 'The other factors stay where they are.'}${body.benchmark ? ' With a benchmark the returns are those of the difference from it.' : ''}`}>
    <div class="grid"><div><div class="sliders">${factors.map((name) => html`<label for=${`shock-${name}`}>${name.replaceAll('_', ' ')}</label>
        <input id=${`shock-${name}`} type="range" min=${name === 'market' ? -0.25 : -0.1} max=${name === 'market' ? 0.25 : 0.1} step="0.005" value=${shocks[name] ?? 0} onInput=${(event) => move(name, Number(event.target.value))} />
        <output for=${`shock-${name}`}>${signedPercent(shocks[name] ?? 0, 1)}</output>`)}</div>
      <p><label><input type="checkbox" checked=${propagate} onChange=${() => follow(!propagate)} /> others follow</label> <button class="small" disabled=${!any} onClick=${() => { set({}); choose({shock: ''}); }}>All to 0</button></p></div>
      <div>${any && answer && asked.state !== 'broken' ? html`<p>${body.benchmark ? 'Against the benchmark the book' : 'The book'} makes <b class=${answer.return >= 0 ? 'up' : 'down'}>${signedPercent(answer.return)}</b>.</p><${Bars} rows=${rows} waterfall label="Under stress" />`
        : html`<${Asked} of=${asked} empty=${NEUTRAL}>${() => null}<//>`}</div></div><//>`;
}
