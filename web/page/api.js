// The way to the engine: relative to where the page is, so that it works behind a proxy with a prefix.
import {useEffect, useLayoutEffect, useRef, useState} from './vendor/htm-preact-3.1.1.js';

const base = new URL('.', document.baseURI);
const TOKEN = 'factor-engine-token', WRITES = 'factor-engine-writes';
const SLOW_MS = 120_000, RETRY_S = 3;

export const address = (path) => new URL(path.replace(/^\//, ''), base);
export const token = () => sessionStorage.getItem(TOKEN) ?? '';
export const writes = () => sessionStorage.getItem(WRITES) === 'yes';

export function keep(secret, mayWrite) {
  if (secret) sessionStorage.setItem(TOKEN, secret);
  else sessionStorage.removeItem(TOKEN);
  sessionStorage.setItem(WRITES, mayWrite ? 'yes' : 'no');
  dispatchEvent(new Event('access'));
}

// What went wrong, as the engine says it (RFC 9457), or as the browser does when nobody answered.
export class Problem extends Error {
  constructor(told) {
    super(told.detail ?? told.title ?? 'the engine answered with an error');
    Object.assign(this, {status: told.status, code: told.code, field: told.field, rows: told.rows, away: told.away ?? false,
      // What passes by itself: nobody is there, a part is starting or warming up, a queue is full.
      again_s: told.away || told.retryable ? told.retry_after_s ?? RETRY_S : null});
  }
}

// What is no JSON did not come from the engine: a proxy that finds nobody behind it, which passes, or one that wants something.
const elsewhere = ({status, headers}) => ({status, code: 'proxy', away: [502, 503, 504].includes(status),
  detail: `HTTP ${status} from a proxy, not from the engine (${headers.get('content-type')?.split(';')[0] ?? 'no content'})`});

// Asks, and gives {value, took_ms, at}. A request is {method, path, body}.
export async function ask({method = 'GET', path, body}, signal) {
  const headers = token() ? {authorization: `Bearer ${token()}`} : {};
  if (body !== undefined) headers['content-type'] = 'application/json';
  const began = performance.now();
  const late = AbortSignal.timeout(SLOW_MS);
  let answer, text;
  try {
    answer = await fetch(address(path), {
      method, headers, body: body === undefined ? undefined : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, late]) : late,
    });
    text = await answer.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Problem({away: true, code: 'away', detail: `nobody answers at ${base.host}: ${error.message}`});
  }
  let value;
  try { value = JSON.parse(text); } catch { throw new Problem(elsewhere(answer)); }
  if (!answer.ok) throw new Problem({status: answer.status, ...value});
  return {value, took_ms: performance.now() - began, at: Date.now()};
}

// Asks while a view is shown, again when the request changes, and every so many seconds where wanted.
// Gives {state, value, error, at, took_ms, again}: `nothing` (not asked), `loading` (no answer yet), `ready`, `broken`.
// A value that is there stays while it is asked for again; `broken` beside a value means that the value is old.
export function useAsk(request, {every_s, wait_ms = 0} = {}) {
  const key = request ? JSON.stringify(request) : null;
  const [held, set] = useState({key: null});
  const [turn, setTurn] = useState(0);
  const before = useRef(null);
  // Before the paint, as an effect after it would ask a frame later.
  useLayoutEffect(() => {
    if (key === null) { set({key: null}); return undefined; }
    const away = new AbortController();
    let timer;
    let first = true;
    const go = async () => {
      // A tab that nobody sees asks again when it is seen: open pages cost the engine nothing then.
      if (!first && document.hidden) { document.addEventListener('visibilitychange', go, {once: true, signal: away.signal}); return; }
      first = false;
      try {
        const got = await ask(JSON.parse(key), away.signal);
        set({key, ...got});
      } catch (error) {
        if (away.signal.aborted) return;
        set((old) => ({...(old.key === key ? old : {}), key, error}));
        if (!every_s && error.again_s) timer = setTimeout(go, error.again_s * 1000);
      }
      if (every_s && !away.signal.aborted) timer = setTimeout(go, every_s * 1000);
    };
    if (wait_ms) timer = setTimeout(go, wait_ms);
    else go();
    return () => { away.abort(); clearTimeout(timer); };
  }, [key, turn, every_s]);
  useEffect(() => {
    const fresh = () => setTurn((number) => number + 1);
    addEventListener('access', fresh);
    return () => removeEventListener('access', fresh);
  }, []);
  const again = () => setTurn((number) => number + 1);
  if (key === null) return {state: 'nothing', request, again};
  if (held.key !== key) return {state: 'loading', request, again, before: before.current};
  if (held.value !== undefined) before.current = held.value;
  return {state: held.error ? 'broken' : 'ready', request, again, ...held};
}

export const post = (path, body) => ({method: 'POST', path, body});
export const get = (path) => ({method: 'GET', path});
