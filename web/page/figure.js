// A picture with what belongs to it: download as PNG and as CSV, the request that made it, and the same as a table.
import {html, useRef, useState} from './vendor/htm-preact-3.1.1.js';
import {address, token} from './api.js';
import {Age, Table} from './parts.js';
import {ms} from './words.js';

// table: {columns: [names], rows: [[values]]}; of: what `useAsk` gave (nothing can be saved before it has an answer); words: it is a table, so there is no picture to save.
export function Figure({title, of, table, wide, note, words = false, children}) {
  const box = useRef(null);
  const [shown, show] = useState(null);
  const toggle = (what) => show(shown === what ? null : what);
  const file = title.toLowerCase().replaceAll(/[^a-z0-9]+/g, '-');
  return html`<figure class=${'panel' + (wide ? ' wide' : '')} role="region" aria-label=${title}>
    <header><h3>${title}</h3>${of?.at && html`<${Age} at=${of.at} />`}${of?.took_ms !== undefined && html`<span class="age">answered in ${ms(of.took_ms)}</span>`}
      <span class="tools">${!words && of?.at && html`<button class="small" onClick=${() => savePicture(box.current, file)}>PNG</button>`}
      ${table && of?.at && html`<button class="small" onClick=${() => save(new Blob([csv(table)], {type: 'text/csv'}), `${file}.csv`)}>CSV</button>
        <button class="small" aria-expanded=${String(shown === 'table')} onClick=${() => toggle('table')}>Table</button>`}
      ${of?.request && html`<button class="small" aria-expanded=${String(shown === 'request')} onClick=${() => toggle('request')}>Request</button>`}</span></header>
    <div ref=${box}>${children}</div>
    ${note && html`<figcaption class="dim">${note}</figcaption>`}
    ${shown === 'table' && html`<${Table} caption=${title} rows=${table.rows} columns=${table.columns.map((name, at) => ({
      name, n: typeof table.rows[0]?.[at] === 'number', of: (row) => shortly(row[at])}))} />`}
    ${shown === 'request' && html`<${Request} of=${of.request} />`}</figure>`;
}

const shortly = (x) => typeof x !== 'number' ? x ?? '–' : Number.isInteger(x) ? String(x) : x.toPrecision(5);

function Request({of}) {
  return html`<p class="dim">With curl:</p><pre data-kind="curl">${curl(of)}</pre><p class="dim">In Python:</p><pre data-kind="python">${python(of)}</pre>`;
}

export function curl({method = 'GET', path, body}) {
  const parts = [`curl -s${method === 'GET' || (method === 'POST' && body) ? '' : ` -X ${method}`} '${address(path)}'`];
  if (token()) parts.push(`-H "authorization: Bearer $TOKEN"`);
  if (body !== undefined) parts.push(`-H 'content-type: application/json'`, `-d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`);
  return parts.join(' \\\n  ');
}

export function python({method = 'GET', path, body}) {
  const more = [body === undefined ? '' : `, json=${literal(body)}`, token() ? ', headers={"authorization": "Bearer " + os.environ["TOKEN"]}' : ''];
  return `${token() ? 'import os\n' : ''}import httpx\n\nanswer = httpx.${method.toLowerCase()}("${address(path)}"${more.join('')}, timeout=60)\nanswer.raise_for_status()\nprint(answer.json())`;
}

function literal(value) {
  if (value === null) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (Array.isArray(value)) return `[${value.map(literal).join(', ')}]`;
  if (typeof value === 'object') return `{${Object.entries(value).map(([key, of]) => `${JSON.stringify(key)}: ${literal(of)}`).join(', ')}}`;
  return JSON.stringify(value);
}

export function csv({columns, rows}) {
  const cell = (x) => x === null || x === undefined ? '' : /[",\n]/.test(String(x)) ? `"${String(x).replaceAll('"', '""')}"` : String(x);
  return [columns, ...rows].map((row) => row.map(cell).join(',')).join('\n') + '\n';
}

function save(blob, name) {
  const at = URL.createObjectURL(blob);
  const link = Object.assign(document.createElement('a'), {href: at, download: name});
  link.click();
  setTimeout(() => URL.revokeObjectURL(at), 10_000);
}

const KEPT = ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'font-size', 'font-family', 'font-weight'];

// Draws the box's pictures below each other on one canvas, with the page's own background.
async function savePicture(box, name) {
  const paper = getComputedStyle(document.body).backgroundColor;
  const parts = [];
  for (const node of box.querySelectorAll('svg, canvas')) {
    const {width, height} = node.getBoundingClientRect();
    if (width && height) parts.push({width, height, image: node.tagName === 'CANVAS' ? node : await drawn(node, width, height)});
  }
  if (!parts.length) return;
  const canvas = document.createElement('canvas'), scale = 2;
  canvas.width = scale * Math.max(...parts.map((part) => part.width));
  canvas.height = scale * parts.reduce((sum, part) => sum + part.height, 0);
  const pen = canvas.getContext('2d');
  pen.scale(scale, scale);
  pen.fillStyle = paper;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  let y = 0;
  for (const part of parts) {
    pen.drawImage(part.image, 0, y, part.width, part.height);
    y += part.height;
  }
  canvas.toBlob((blob) => save(blob, `${name}.png`));
}

// An image of an SVG: what the style sheet says of its parts is written into a copy, which stands alone.
async function drawn(svg, width, height) {
  const copy = svg.cloneNode(true);
  const from = svg.querySelectorAll('*'), to = copy.querySelectorAll('*');
  from.forEach((node, at) => {
    const style = getComputedStyle(node);
    for (const name of KEPT) to[at].setAttribute(name, style.getPropertyValue(name));
  });
  copy.setAttribute('width', width);
  copy.setAttribute('height', height);
  const at = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], {type: 'image/svg+xml'}));
  const image = new Image();
  image.src = at;
  await image.decode();
  URL.revokeObjectURL(at);
  return image;
}
