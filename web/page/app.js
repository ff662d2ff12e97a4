// The shell: navigation, the model that all views are about, access, and the view that the address names.
import {html, render, useEffect, useErrorBoundary, useRef, useState} from './vendor/htm-preact-3.1.1.js';
import {get, keep, token, useAsk, writes} from './api.js';
import {Overview} from './overview.js';
import {Broken, Loading, Select, State} from './parts.js';
import {choose, link, useRoute} from './route.js';

// The rest of the views are fetched when they are first looked at, so that the first view is small.
const VIEWS = {
  overview: ['Overview', async () => Overview],
  book: ['Book', async () => (await import('./book.js')).default],
  market: ['Market', async () => (await import('./market.js')).default],
  library: ['Library', async () => (await import('./library.js')).default],
  live: ['Live', async () => (await import('./live.js')).default],
  operations: ['Operations', async () => (await import('./operations.js')).default],
};

function Page() {
  const {view, choices} = useRoute();
  const status = useAsk(get('/api/v1/factor-engine/status'), {every_s: 10});
  const models = status.value?.models?.map((row) => row.model_id) ?? [];
  const model = choices.model ?? status.value?.default_model ?? models[0];
  const mayWrite = ['write', 'admin'].includes(status.value?.caller?.scope) && (token() !== '' || writes());
  useKeys();
  useEffect(() => { document.title = `${VIEWS[view]?.[0] ?? view} · Factor Engine`; }, [view]);
  const shown = choices.model && !models.includes(choices.model) ? [choices.model, ...models] : models;
  const gone = status.state === 'ready' && choices.model && !models.includes(choices.model);
  return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); document.getElementById('main').focus(); }}>To the content</a>
    <header class="top"><h1>Factor Engine</h1>
      <nav aria-label="Views">${Object.entries(VIEWS).map(([name, [title]], at) =>
        html`<a href=${link(name, {model: choices.model})} aria-current=${name === view ? 'page' : undefined} title=${`key ${at + 1}`}>${title}</a>`)}
        <a href="docs">API</a></nav>
      ${shown.length > 0 && html`<${Select} label="Model" value=${model} options=${shown} onChange=${(chosen) => choose({model: chosen}, true)} />`}
      ${status.value && !status.error ? html`<a href=${link('overview', {model: choices.model})}><${State} is=${status.value.status} /></a>` : html`<${State} is=${status.error ? 'FAULTED' : 'STARTING'} />`}
      <${Access} caller=${status.value?.caller} mayWrite=${mayWrite} /></header>
    <main id="main" tabindex="-1">
      ${status.error && html`<${Broken} error=${status.error} again=${status.again} />`}
      ${gone && html`<div class="broken" role="alert"><b>Model ${choices.model} is not there (any more).</b> What is shown of it is from before.
        <button class="small" onClick=${() => choose({model: undefined}, true)}>Show the default model</button></div>`}
      <${View} key=${view} name=${view} choices=${choices} model=${model} mayWrite=${mayWrite} settled=${status.state !== 'loading'} /></main>`;
}

function View({name, settled, ...rest}) {
  const [shown, set] = useState(null);
  const [turn, next] = useState(0);
  const [error, reset] = useErrorBoundary();
  // A view that could not be fetched, as the engine was away, is fetched again.
  const again = () => { reset(); set(null); next(turn + 1); };
  useEffect(() => {
    let here = true;
    VIEWS[name]?.[1]().then((found) => here && set(() => found), (fault) => here && set({fault}));
    return () => { here = false; };
  }, [name, turn]);
  if (!VIEWS[name]) return html`<${Broken} error=${{message: `There is no view called ${name}`}} />`;
  if (error || shown?.fault) return html`<${Broken} error=${error ?? shown.fault} again=${again} />`;
  // The overview asks for the health of everything at once; the other views are about a model, which the status names.
  if (!shown || (!settled && name !== 'overview')) return html`<${Loading} what="Opening" />`;
  return html`<${shown} settled=${settled} ...${rest} />`;
}

// 1 to 9 go to a view, as long as nothing is being typed.
function useKeys() {
  useEffect(() => {
    const pressed = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA|SELECT/.test(event.target.tagName) || document.querySelector('dialog[open]')) return;
      const name = Object.keys(VIEWS)[Number(event.key) - 1];
      if (name) location.hash = link(name, {model: new URLSearchParams(location.hash.split('?')[1]).get('model')});
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  }, []);
}

function Access({caller, mayWrite}) {
  const box = useRef(null), secret = useRef(null), change = useRef(null);
  const close = (event) => {
    event.preventDefault();
    keep(secret.current.value.trim(), change.current.checked);
    box.current.close();
  };
  return html`<button class="small" onClick=${() => box.current.showModal()}>Access: ${mayWrite ? 'may change' : 'read only'}</button>
    <dialog ref=${box} aria-label="Access"><form onSubmit=${close}><h2>Access</h2>
      <p class="dim">The engine knows you as ${caller ? html`<b>${caller.name}</b>, scope <b>${caller.scope}</b>` : 'nobody yet'}.
        A token stays in this tab only, and goes with each request.</p>
      <p><label class="field">Token <input type="password" ref=${secret} value=${token()} autocomplete="off" size="40" /></label></p>
      <p><label><input type="checkbox" ref=${change} checked=${writes()} /> Let this page change things where the engine lets anybody (no token)</label></p>
      <button class="main" type="submit">Keep</button> <button type="button" onClick=${() => box.current.close()}>Cancel</button></form></dialog>`;
}

const root = document.getElementById('page');
root.textContent = '';
render(html`<${Page} />`, root);
