// Where the reader is: the view and its choices, held in the address behind `#`, so that a link shows the same.
import {useEffect, useState} from './vendor/htm-preact-3.1.1.js';

export function read(hash = location.hash) {
  const [view, query = ''] = hash.replace(/^#\/?/, '').split('?');
  return {view: view || 'overview', choices: Object.fromEntries(new URLSearchParams(query))};
}

export function link(view, choices = {}) {
  const kept = Object.entries(choices).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const query = new URLSearchParams(kept).toString();
  return `#/${view}${query ? '?' + query : ''}`;
}

// Changes some choices of where the reader is; `push` makes it a step that "back" undoes.
export function choose(changes, push = false) {
  const {view, choices} = read();
  const to = link(view, {...choices, ...changes});
  if (to === location.hash) return;
  if (push) location.hash = to;
  else {
    history.replaceState(null, '', to);
    dispatchEvent(new HashChangeEvent('hashchange'));
  }
}

export function useRoute() {
  const [route, set] = useState(read());
  useEffect(() => {
    const changed = () => set(read());
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return route;
}
