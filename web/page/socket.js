// A websocket that comes back by itself, and says how it is.
import {useEffect, useState} from './vendor/htm-preact-3.1.1.js';
import {address, token} from './api.js';

const FIRST_MS = 500, LONGEST_MS = 10_000;

// Gives {state, at}: `connecting`, `open`, `lost`; calls `take` with each message that is JSON.
export function useSocket(path, take) {
  const [held, set] = useState({state: 'connecting', at: Date.now()});
  const [turn, again] = useState(0);
  useEffect(() => {
    if (!path) return undefined;
    let socket, timer, wait = FIRST_MS, here = true;
    const open = () => {
      const to = address(path);
      to.protocol = to.protocol.replace('http', 'ws');
      socket = new WebSocket(to, token() ? ['factor-engine', `bearer.${token()}`] : []);
      socket.onopen = () => { wait = FIRST_MS; set({state: 'open', at: Date.now()}); };
      socket.onmessage = ({data}) => typeof data === 'string' && take(JSON.parse(data));
      socket.onclose = (event) => {
        if (!here) return;
        set((old) => ({state: 'lost', at: old.state === 'lost' ? old.at : Date.now(), reason: event.reason}));
        timer = setTimeout(open, wait);
        wait = Math.min(wait * 2, LONGEST_MS);
      };
    };
    open();
    return () => { here = false; clearTimeout(timer); socket.close(); };
  }, [path, turn]);
  useEffect(() => {
    const fresh = () => again((number) => number + 1);
    addEventListener('access', fresh);
    return () => removeEventListener('access', fresh);
  }, []);
  return held;
}
