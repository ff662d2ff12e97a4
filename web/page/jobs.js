// Jobs with how far they are and a way to end them; dead letters, to read and to send again; versions of a model, and back to one.
import {html, useState} from './vendor/htm-preact-3.1.1.js';
import {ask, get, post, useAsk} from './api.js';
import {Age, Asked, Broken, Empty, Figures, Loading, Panel, Table} from './parts.js';
import {count, made, number, plain} from './words.js';

const LIVE = ['pending', 'running'], EVERY_S = 2, SLOW_S = 15;
const SIGNS = {running: '◐', pending: '◐', succeeded: '●', failed: '✖', stopped: '■', lost: '✖'};
const left = (s) => s === null || s === undefined ? '–' : s < 90 ? `${s.toFixed(0)} s` : `${(s / 60).toFixed(0)} min`;

// Does what a button says, and holds what went wrong.
function useDoing(after) {
  const [error, fail] = useState(null), [busy, work] = useState(null);
  const go = async (what, request) => {
    work(what);
    try { await ask(request); fail(null); after(); } catch (fault) { fail(fault); } finally { work(null); }
  };
  return {error, busy, go};
}

export function Jobs({model, mayWrite}) {
  const [every, slow] = useState(EVERY_S), asked = useAsk(get('/jobs'), {every_s: every}), {error, busy, go} = useDoing(asked.again);
  const [picked, pick] = useState(null), jobs = asked.value?.jobs ?? [], one = jobs.find((job) => job.job_id === picked);
  const wanted = asked.value && !jobs.some((job) => LIVE.includes(job.state)) ? SLOW_S : EVERY_S;
  if (wanted !== every) slow(wanted);
  return html`<${Panel} title="Jobs" wide age=${asked.at}>
    <${Asked} of=${asked}>${() => jobs.length === 0 ? html`<${Empty}>No job was submitted since Ray was started.<//>` : html`<${Table} caption="Jobs" rows=${jobs.map((job) => ({key: job.job_id, ...job}))} pick=${(job) => pick(job.job_id)} picked=${(job) => job.job_id === picked} columns=${[
      {name: 'Job', of: (j) => j.job_id}, {name: 'State', of: (j) => `${SIGNS[j.state] ?? ''} ${j.state}`},
      {name: 'Done', of: (j) => (j.percent ?? null) === null ? '–' : html`<progress max="100" value=${j.percent} aria-label=${`${j.job_id} done`}></progress> ${j.percent.toFixed(0)} %`},
      {name: 'Stage', of: (j) => j.stage ?? '–'}, {name: 'Left', n: true, of: (j) => left(j.eta_s)}, {name: 'Rows', n: true, of: (j) => count(j.rows)}, {name: 'Rows/s', n: true, of: (j) => count(j.rows_per_s)},
      {name: 'Started', of: (j) => j.started_at ? html`<${Age} at=${1000 * j.started_at} what="" />` : '–'},
      ...mayWrite ? [{name: '', of: (j) => LIVE.includes(j.state) && html`<button class="small" aria-label=${`End ${j.job_id}`} disabled=${busy !== null} onClick=${(event) => { event.stopPropagation(); go(j.job_id, {method: 'DELETE', path: `/jobs/${encodeURIComponent(j.job_id)}`}); }}>End</button>`}] : []]} />`}<//>
    ${one && html`<${Job} job=${one} />`}
    ${mayWrite && model && html`<p><button class="small" disabled=${busy !== null} onClick=${() => go('new', post('/jobs/recompute', {model_id: model}))}>Recompute ${model}</button></p>`}
    ${error && html`<${Broken} error=${error} />`}<//>`;
}

function Job({job}) {
  const log = useAsk(get(`/jobs/${encodeURIComponent(job.job_id)}/logs?lines=40`), {every_s: LIVE.includes(job.state) ? EVERY_S : undefined});
  const rows = Object.entries(job.table ?? {}).sort((a, b) => b[1].seconds - a[1].seconds);
  return html`<h4>${job.job_id}</h4>${job.message && html`<p>${job.message}</p>`}
    ${rows.length > 0 && html`<${Table} caption=${`Results of ${job.job_id}`} rows=${rows} columns=${[{name: 'What', of: ([name]) => name}, {name: 'Seconds', n: true, of: ([, r]) => number(r.seconds, 2)}, {name: 'Rows', n: true, of: ([, r]) => count(r.rows)}, {name: 'Nulls', n: true, of: ([, r]) => count(r.nulls)}, {name: 'MB', n: true, of: ([, r]) => number(made(r.bytes, (x) => x / 1e6), 1)}]} />`}
    <${Asked} of=${log}>${(l) => html`<pre data-log=${job.job_id}>${l.lines.join('\n') || 'It has printed nothing.'}</pre>`}<//>`;
}

export function DeadLetters({mayWrite}) {
  const asked = useAsk(get('/messagebus/dead-letters?limit=100'), {every_s: SLOW_S}), {error, busy, go} = useDoing(asked.again), [picked, pick] = useState(null);
  const one = useAsk(picked === null ? null : get(`/messagebus/dead-letters/${picked}`));
  return html`<${Panel} title="Dead letters" wide age=${asked.at}>
    <${Asked} of=${asked}>${(d) => d.dead_letters.length === 0 ? html`<${Empty}>Every durable message could be computed.<//>` : html`<${Figures} rows=${[['Kept', count(d.count)]]} /><${Table} caption="Dead letters" rows=${d.dead_letters.map((row) => ({key: row.id, ...row}))} pick=${(row) => pick(row.id)} picked=${(row) => row.id === picked} columns=${[
      {name: 'Number', n: true, of: (r) => r.id}, {name: 'Subject', of: (r) => r.subject}, {name: 'Why', long: true, of: (r) => `${plain(r.code)}: ${r.detail}`}, {name: 'Tried', n: true, of: (r) => r.deliveries}, {name: 'Came', of: (r) => r.came ? html`<${Age} at=${Date.parse(r.came)} what="" />` : '–'},
      ...mayWrite ? [{name: '', of: (r) => html`<button class="small" aria-label=${`Send ${r.id} again`} disabled=${busy !== null} onClick=${(event) => { event.stopPropagation(); go(r.id, post(`/messagebus/dead-letters/${r.id}/resend`, {})); }}>Send again</button>`}] : []]} />`}<//>
    ${picked !== null && html`<${Asked} of=${one} what="Reading the letter">${(l) => html`<pre data-letter=${l.id}>${(l.body ?? l.body_base64 ?? '').slice(0, 6000)}</pre>`}<//>`}
    ${error && html`<${Broken} error=${error} />`}<//>`;
}

export function Versions({model, mayWrite}) {
  const path = model ? encodeURIComponent(model) : null;
  const asked = useAsk(path && get(`/factor-models/${path}/status`), {every_s: 10}), kept = useAsk(path && get(`/factor-models/${path}/versions`), {every_s: 10});
  const {error, busy, go} = useDoing(() => { sure(null); asked.again(); kept.again(); }), [meant, sure] = useState(null);
  const back = (version) => go(version, post(`/factor-model/${path}/restore`, {version}));
  return html`<${Panel} title=${`Model ${model ?? ''}`} wide age=${asked.at}><${Asked} of=${asked} empty="There is no model.">${(m) => html`<${Figures} rows=${[['Version', m.model_version], ['Made by', plain(m.operation)], ['Made', html`<${Age} at=${Date.parse(m.created_at)} what="" />`], ['Names', count(m.n_assets)], ['Dates', count(m.n_dates)], ['Last date', m.last_date]]} />
      <details><summary>What was done to it, and its settings</summary><pre>${JSON.stringify({recipe: m.recipe, settings: m.settings}, null, 1)}</pre></details>`}<//>
    ${path && html`<h4>Versions that are kept</h4><${Asked} of=${kept}>${(k) => html`<${Table} caption="Versions" rows=${k.versions.map((v) => ({key: v.version, ...v}))} columns=${[{name: 'Version', n: true, of: (v) => v.version}, {name: 'Made by', of: (v) => plain(v.operation)}, {name: 'Made', of: (v) => html`<${Age} at=${Date.parse(v.created_at)} what="" />`},
      {name: 'Dates', n: true, of: (v) => count(v.n_dates)}, {name: 'Last date', whole: true, of: (v) => v.last_date ?? '–'}, {name: 'What changed', long: true, of: (v) => v.changed.join('; ') || 'nothing that is told'},
      ...mayWrite ? [{name: '', of: (v) => !v.newest && v.n_dates > 0 && html`<button class="small" aria-label=${`Back to ${v.version}`} onClick=${() => sure(v.version)}>Back to this …</button>`}] : []]} />`}<//>`}
    ${meant !== null && meant !== 'delete' && html`<p class="warn">Make a new version of ${model} that is what version ${meant} was? <button disabled=${busy !== null} onClick=${() => back(meant)}>Back to ${meant}</button> <button onClick=${() => sure(null)}>No</button></p>`}
    ${mayWrite && model && (meant === 'delete' ? html`<p class="warn">Delete ${model} with all its versions? <button onClick=${() => go('delete', {method: 'DELETE', path: `/factor-model/${path}`})}>Delete ${model}</button> <button onClick=${() => sure(null)}>No</button></p>` : html`<p><button class="small" onClick=${() => sure('delete')}>Delete this model …</button></p>`)}
    ${busy !== null && html`<${Loading} what="Doing it" />`}${error && html`<${Broken} error=${error} />`}<//>`;
}
