// Operations: where each actor was wanted, placed and ran; queues, latencies by stage; bus traffic; jobs, letters, versions.
import {html, useRef, useState} from './vendor/htm-preact-3.1.1.js';
import {get, useAsk} from './api.js';
import {Figure} from './figure.js';
import {DeadLetters, Jobs, Versions} from './jobs.js';
import {Asked, Empty, Figures, State, Table} from './parts.js';
import {useSocket} from './socket.js';
import {count, ms, number, percent, plain} from './words.js';

const MESSAGES = 100, REFRESH_MS = 300, PACE_MS = 500;

export default function Operations({model, mayWrite}) {
  const health = useAsk(get('/health'), {every_s: 5}), routing = useAsk(get('/routing'), {every_s: 10});
  const measured = useAsk(get('/performance-metrics'), {every_s: 5}), bus = useAsk(get('/messagebus/status'), {every_s: 5});
  return html`<h2>Operations</h2><div class="grid">
    <${Figure} title="Where the actors run" words wide of=${health}><${Asked} of=${health}>${(h) => html`<${Table} caption="Where the actors run" rows=${h.actors} columns=${[
      {name: 'Actor', of: (a) => plain(a.actor ?? a.workload)}, {name: 'State', of: (a) => html`<${State} is=${a.state} />`}, {name: 'Wanted', of: (a) => a.wanted_device.map(plain).join(', ')},
      {name: 'Placed', of: (a) => `${a.placement.device.map(plain).join(', ')} on ${a.placement.node}`}, {name: 'Ran', of: (a) => Object.entries(a.devices_used ?? {}).map(([d, n]) => `${plain(d)} ${n}×`).join(', ') || 'not yet'},
      {name: 'Waiting', n: true, of: (a) => count(a.queue_length)}, {name: 'Restarts', n: true, of: (a) => count(a.restarts)}, {name: 'Process', n: true, of: (a) => a.pid ?? '–'}]} />`}<//><//>
    <${Figure} title="Routing" words wide of=${routing}><${Asked} of=${routing}>${(r) => r.routes.length ? html`<p class="dim">Table ${r.version}</p><${Table} caption="Routing" rows=${r.routes.flatMap((x) => x.copies ?? [x])} columns=${[{name: 'Actor', of: (x) => plain(x.actor ?? x.workload)}, {name: 'State', of: (x) => html`<${State} is=${x.state} />`},
      {name: 'Reads', of: (x) => x.direct_reads ? 'straight to the actor' : 'through the router'}, {name: 'Generation', n: true, of: (x) => x.generation}, {name: 'Why', long: true, of: (x) => x.reason}]} />` : html`<${Empty}>The table has no route.<//>`}<//><//>
    <${Latencies} measured=${measured} /><${Traffic} bus=${bus} /><${DeadLetters} mayWrite=${mayWrite} /><${Jobs} model=${model} mayWrite=${mayWrite} /><${Versions} model=${model} mayWrite=${mayWrite} /></div>`;
}

function Latencies({measured}) {
  const operations = Object.entries(measured.value?.operations ?? {}).sort((a, b) => b[1].calls - a[1].calls);
  const stages = [...new Set(operations.flatMap(([, of]) => Object.keys(of.stages_ms)))];
  return html`<${Figure} title="Latencies" words wide of=${measured} table=${{columns: ['operation', 'calls', ...stages.map((stage) => `${stage} p50 ms`)], rows: operations.map(([name, of]) => [name, of.calls, ...stages.map((stage) => of.stages_ms[stage]?.p50)])}}>
    <${Asked} of=${measured}>${(m) => html`<${Figures} rows=${[['Calls', count(m.calls)], ['A second', number(m.throughput_per_s, 1)], ['Succeeded', percent(m.success_rate, 1)], ['Websockets', count(m.websockets.subscribers)], ['Skipped events', count(m.websockets.missed)]]} />
      ${operations.length === 0 ? html`<${Empty}>Nothing has been asked yet.<//>` : html`<${Table} caption="Latencies by operation" rows=${operations} columns=${[{name: 'Operation', of: ([name]) => plain(name)}, {name: 'Calls', n: true, of: ([, o]) => count(o.calls)},
        {name: 'Errors', n: true, of: ([, o]) => count(Object.values(o.errors).reduce((sum, n) => sum + n, 0))}, ...stages.map((stage) => ({name: `${stage} p50 / p99`, n: true, of: ([, o]) => o.stages_ms[stage] ? `${ms(o.stages_ms[stage].p50)} / ${ms(o.stages_ms[stage].p99)}` : '–'}))]} />`}`}<//><//>`;
}

function Traffic({bus}) {
  const held = useRef({rows: [], missed: 0}), [picked, pick] = useState(null), [, draw] = useState(0), [on, follow] = useState(true);
  const line = useSocket(on ? `/ws/factors?pace_ms=${PACE_MS}` : null, (row) => {
    const h = held.current;
    if (row.missed) h.missed += row.missed;
    else if (row.subject) h.rows = [row, ...h.rows].slice(0, MESSAGES);
    if (!h.waiting) { h.waiting = true; setTimeout(() => { h.waiting = false; draw((n) => n + 1); }, REFRESH_MS); }
  });
  const {rows, missed} = held.current;
  return html`<${Figure} title="Message bus" words wide of=${bus}><${Asked} of=${bus}>${(b) => b.enabled === false ? html`<${Empty}>The bus is switched off.<//>` : html`<${Figures} rows=${[['State', b.connected ? 'connected' : b.reason ?? 'away'], ['Published', count(b.published)], ['Requests', count(b.requests)], ['In work', count(b.in_work)],
      ['Problems', count(b.problems)], ['Outbox waiting', count(b.outbox?.depth)], ['Undeliverable', count(b.outbox?.undeliverable)], ['Delivery p50', ms(b.delivery_ms?.p50)], ['p99', ms(b.delivery_ms?.p99)]]} />`}<//>
    <h4>Messages as they come</h4><p class="dim">${on ? line.state === 'open' ? 'listening' : line.state : 'stopped'}${missed ? `; ${missed} were skipped` : ''} <button class="small" onClick=${() => follow(!on)}>${on ? 'Stop' : 'Listen'}</button></p>
    ${rows.length === 0 ? html`<${Empty}>No message has come since this view was opened.<//>` : html`<${Table} caption="Messages" rows=${rows.map((row) => ({key: row.seq, ...row}))} pick=${pick} picked=${(row) => row.seq === picked?.seq} columns=${[{name: 'Number', n: true, of: (r) => r.seq}, {name: 'Subject', of: (r) => r.subject}, {name: 'Type', of: (r) => r.type}, {name: 'Priority', of: (r) => String(r.priority)}]} />`}
    ${picked && html`<pre data-message=${picked.seq}>${JSON.stringify(picked, null, 1).slice(0, 6000)}</pre>`}<//>`;
}
