// How figures are written: a missing one is a dash, never 0; what rounds to 0 has no sign.
const missing = (x) => x === null || x === undefined || Number.isNaN(x);
const fixed = (x, digits) => x.toFixed(digits).replace(/^-(0(?:\.0*)?)$/, '$1');
const plus = (text) => /[1-9]/.test(text) && !text.startsWith('-') ? `+${text}` : text;
// A figure made of one that may be missing is missing too: arithmetic would take it for 0.
export const made = (x, of) => missing(x) ? null : of(x);
export const percent = (x, digits = 2) => missing(x) ? '–' : `${fixed(100 * x, digits)} %`;
export const number = (x, digits = 3) => missing(x) ? '–' : fixed(x, digits);
export const signed = (x, digits = 3) => missing(x) ? '–' : plus(fixed(x, digits));
export const signedPercent = (x, digits = 2) => missing(x) ? '–' : `${plus(fixed(100 * x, digits))} %`;
// Of lines: a function of the module, as a plot keeps what it writes its figures with.
export const hundredths = (x) => signedPercent(x, 2);
export const count = (x) => missing(x) ? '–' : x.toLocaleString('en-GB');
export const ms = (x) => missing(x) ? '–' : x < 10 ? `${x.toFixed(2)} ms` : x < 10_000 ? `${x.toFixed(0)} ms` : `${(x / 1000).toFixed(1)} s`;

export function age(at, now = Date.now()) {
  if (missing(at)) return 'age unknown';
  const s = Math.max(0, (now - at) / 1000);
  if (s < 2) return 'now';
  if (s < 90) return `${s.toFixed(0)} s ago`;
  if (s < 5400) return `${(s / 60).toFixed(0)} min ago`;
  return s < 172_800 ? `${(s / 3600).toFixed(0)} h ago` : `${(s / 86_400).toFixed(0)} days ago`;
}

export const several = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
export const plain = (name) => String(name).replaceAll('_', ' ');
