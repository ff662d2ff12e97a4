// Overview: the models, what is live, and the health of every part, each with the age of its figure.
import {html} from './vendor/htm-preact-3.1.1.js';
import {get, useAsk} from './api.js';
import {Age, Asked, Empty, Figures, Panel, State, Table} from './parts.js';
import {link} from './route.js';
import {count, ms, percent, plain} from './words.js';

const JOBS_S = 15;

export function Overview({model, settled}) {
  const health = useAsk(get('/health'), {every_s: 5});
  const bus = useAsk(get('/messagebus/status'), {every_s: 5});
  const live = useAsk(model ? get(`/running-day?model_id=${encodeURIComponent(model)}`) : null, {every_s: 5});
  const jobs = useAsk(settled ? get('/jobs') : null, {every_s: JOBS_S});
  return html`<h2>Overview</h2><div class="grid">
    <${Panel} title="Engine" wide age=${health.at}><${Asked} of=${health}>${(h) => html`<${Engine} health=${h} />`}<//><//>
    <${Panel} title="Models" wide age=${health.at}><${Asked} of=${health}>${(h) => html`<${Models} health=${h} />`}<//><//>
    <${Panel} title="Actors" wide age=${health.at}><${Asked} of=${health}>${(h) => html`<${Actors} rows=${h.actors} />`}<//><//>
    <${Panel} title="Message bus" age=${bus.at}><${Asked} of=${bus}>${(b) => html`<${Bus} bus=${b} />`}<//><//>
    <${Panel} title="Running day" age=${live.at}><${Asked} of=${settled ? live : {state: 'loading'}} empty="There is no model, so no day can run.">${(day) => html`<${Day} day=${day} />`}<//><//>
    <${Panel} title="Store" age=${health.at}><${Asked} of=${health}>${(h) => html`<${Store} health=${h} />`}<//><//>
    <${Panel} title="Jobs" age=${jobs.at}><${Asked} of=${settled ? jobs : {state: 'loading'}}>${(j) => html`<${Jobs} jobs=${j.jobs} model=${model} />`}<//><//>
  </div>`;
}

function Engine({health}) {
  return html`<p><${State} is=${health.status} /> ${health.default_model ? `default model ${health.default_model}` : 'no default model'}</p>
    ${health.degraded.length ? html`<${Table} caption="What is degraded" rows=${health.degraded} columns=${[
      {name: 'Part', of: (r) => r.component}, {name: 'State', of: (r) => html`<${State} is=${r.state} />`},
      {name: 'Why', long: true, of: (r) => r.reason}, {name: 'Since', of: (r) => html`<${Age} at=${1000 * r.since} what="" />`}]} />`
      : html`<p class="dim">No part reports trouble.</p>`}`;
}

function Models({health}) {
  if (!health.models.length) return html`<${Empty}>There is no model yet. <code>POST /factor-model/create</code> or <code>make run DATA=market.parquet</code> makes one.<//>`;
  return html`<${Table} caption="Models" rows=${health.models} columns=${[
    {name: 'Model', of: (m) => html`<a href=${link('market', {model: m.model_id})}>${m.model_id}</a>`},
    {name: 'Version', n: true, of: (m) => m.model_version}, {name: 'Names', n: true, of: (m) => count(m.n_assets)},
    {name: 'Dates', n: true, of: (m) => count(m.n_dates)}, {name: 'First', whole: true, of: (m) => m.first_date}, {name: 'Last', whole: true, of: (m) => m.last_date},
    {name: 'Factors', n: true, of: (m) => m.factors.length}, {name: 'Made', of: (m) => html`<${Age} at=${Date.parse(m.created_at)} what="" />`},
    {name: 'Warnings', long: true, of: (m) => m.warnings.join('; ') || 'none'}]} />`;
}

function Actors({rows}) {
  return html`<${Table} caption="Actors" rows=${rows} columns=${[
    {name: 'Actor', of: (a) => plain(a.actor ?? a.workload)}, {name: 'State', of: (a) => html`<${State} is=${a.state} />`},
    {name: 'Runs on', of: (a) => a.device ?? '–'}, {name: 'Calls', n: true, of: (a) => count(a.calls)},
    {name: 'Errors', n: true, of: (a) => count(a.errors)}, {name: 'p50', n: true, of: (a) => a.calls ? ms(a.p50_ms) : '–'},
    {name: 'p99', n: true, of: (a) => a.calls ? ms(a.p99_ms) : '–'}, {name: 'Waiting', n: true, of: (a) => count(a.queue_length)},
    {name: 'Restarts', n: true, of: (a) => count(a.restarts)}]} />`;
}

function Bus({bus}) {
  if (bus.enabled === false) return html`<${Empty}>The message bus is switched off (<code>MESSAGEBUS_ENABLED</code>).<//>`;
  return html`<p><${State} is=${bus.connected ? 'READY' : 'DEGRADED'} /> ${bus.connected ? 'connected' : bus.reason ?? 'not connected'}</p>
    <${Figures} rows=${[['Published', count(bus.published)], ['Acknowledged', count(bus.acknowledged)], ['Requests', count(bus.requests)],
      ['Delivery p50', ms(bus.delivery_ms?.p50)], ['Delivery p99', ms(bus.delivery_ms?.p99)]]} />`;
}

function Day({day}) {
  if (!day.date) return html`<${Empty}>No day runs: ${day.state}${day.reason ? `, ${day.reason}` : ''}. The last one committed is ${day.committed}.<//>`;
  return html`<${Figures} rows=${[['Day', day.date], ['State', day.state], ['Names seen', `${day.seen} of ${day.active}`],
    ['Share seen', percent(day.active ? day.seen / day.active : null, 0)], ['Rows', count(day.rows)], ['Watches', count(day.watches.length)]]} />
    <p><a href=${link('live', {model: day.model_id})}>Look at it move</a></p>`;
}

function Store({health}) {
  const writers = health.actors.filter((actor) => actor.workload === 'factor_model_creation'), notes = writers.map((writer) => writer.notes ?? {});
  const sum = (name) => notes.some((told) => name in told) ? notes.reduce((total, told) => total + (told[name] ?? 0), 0) : undefined;
  const bad = health.degraded.filter((row) => row.component.startsWith('model:') || ['outbox', 'disk', 'store'].some((part) => row.component.includes(part)));
  return html`<p><${State} is=${bad.length ? 'DEGRADED' : writers.length ? 'READY' : 'STARTING'} /> ${bad.length ? bad.map((row) => row.reason).join('; ') : ''}</p>
    <${Figures} rows=${[['Models', count(health.models.length)], ['Commits since start', count(sum('commits'))],
      ['Versions retired', count(sum('versions_retired'))], ['Versions kept each', count(health.limits.keep_versions)]]} />`;
}

function Jobs({jobs, model}) {
  if (!jobs.length) return html`<${Empty}>No job was submitted since Ray was started.<//>`;
  const of = (...states) => jobs.filter((job) => states.includes(job.state)), bad = of('failed', 'lost'), running = of('running');
  return html`<p class=${`state ${bad.length ? 'warn' : 'good'}`}>${bad.length ? `▲ failed: ${bad.map((job) => job.job_id).join(', ')}` : '● none failed'}</p>
    <${Figures} rows=${[['Running', count(running.length)], ['Waiting', count(of('pending').length)], ['Done', count(of('succeeded').length)], ['Failed', count(bad.length)],
      ...running.map((job) => [job.job_id, job.percent === null ? 'begun' : percent(job.percent / 100, 0)])]} />
    <p><a href=${link('operations', {model})}>How far they are</a></p>`;
}
