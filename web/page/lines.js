// Lines over time, drawn by uPlot. Its colours are read from the page, so that dark and light are both right.
import {html, useEffect, useLayoutEffect, useRef} from './vendor/htm-preact-3.1.1.js';
import {useWidth} from './bars.js';
import {percent} from './words.js';

// Colours that the colour-blind can tell apart (Okabe and Ito), chosen to stand out on dark and on light; dashes tell the second half.
export const COLOURS = ['#0b78c8', '#d55e00', '#00936c', '#c2569a', '#b08900', '#7a6ff0', '#5a8f29', '#8a6d5b'];

// Dates are days of the market, by UTC; moments are told by the reader's own clock, as the axis has them.
const day = (at) => new Date(at * 1000).toISOString().slice(0, 10), moment = (at) => new Date(at * 1000).toLocaleTimeString();

// dates: ISO texts, or seconds; series: {name, values, points (dots instead of a line)}; say: of the module, not of a drawing,
// as the plot keeps it, and with it all that was there when it was made.
export function Lines({dates, series, label, say = percent, height = 260}) {
  const [box, width] = useWidth();
  const place = useRef(null), held = useRef({plot: null, names: null, ink: {}}), h = held.current;
  const x = dates.map((date) => typeof date === 'number' ? date : Date.parse(date) / 1000);
  const data = [x, ...series.map((row) => row.values)];
  const told = typeof dates[0] === 'number' ? moment : day;
  const names = JSON.stringify(series.map((row) => row.name));
  // One plot for as long as it is looked at, whose lines and width change: V8 keeps the first of an object's shape for good, so a
  // plot that was made anew for each choice would stay in memory with all it held.
  useEffect(() => {
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const redraw = () => { h.ink = inks(); h.plot?.redraw(false, true); };
    dark.addEventListener('change', redraw);
    return () => { dark.removeEventListener('change', redraw); h.plot?.destroy(); h.plot = null; };
  }, []);
  useEffect(() => {
    if (!width) return;
    if (h.plot) { h.plot.setSize({width, height}); return; }
    Object.assign(h, {names, ink: inks()});
    h.plot = new window.uPlot(options(series, width, height, say, told, h), data, place.current);
  }, [width, height]);
  // Within the frame that draws the rest: an effect after the paint would cost one of its own.
  useLayoutEffect(() => {
    if (!h.plot) return;
    h.plot.batch((plot) => {
      if (h.names !== names) {
        for (let at = plot.series.length - 1; at > 0; at -= 1) plot.delSeries(at);
        series.forEach((row, at) => plot.addSeries(line(row, at, say), at + 1));
        h.names = names;
      }
      plot.setData(data);
    });
  });
  return html`<div ref=${box}><div ref=${place} role="img" aria-label=${`${label}: ${series.map((row) => `${row.name} last ${say(last(row.values))}`).join(', ')}`}></div></div>`;
}

const last = (values) => values.findLast((value) => value !== null && value !== undefined);

const tellLast = (plot) => {
  if (plot.cursor.idx === null || plot.cursor.idx === undefined) plot.setLegend({idx: plot.data[0].length - 1}, false);
};

const inks = () => {
  const style = getComputedStyle(document.documentElement);
  return {ink: style.getPropertyValue('--dim').trim(), grid: style.getPropertyValue('--line').trim()};
};

const line = (row, at, say) => ({
  label: row.name, stroke: COLOURS[at % COLOURS.length], width: row.points ? 0 : 1.6, spanGaps: false,
  dash: at >= COLOURS.length ? [6, 4] : undefined,
  points: row.points ? {show: true, size: 4, fill: COLOURS[at % COLOURS.length]} : {show: false},
  value: (_, value) => value === null || value === undefined ? '–' : say(value),
});

// held: where the colours are looked up at each drawing, as dark and light may change.
function options(series, width, height, say, told, held) {
  const grid = () => held.ink.grid, axis = {stroke: () => held.ink.ink, grid: {stroke: grid, width: 1}, ticks: {stroke: grid, width: 1}};
  return {
    width, height, cursor: {drag: {x: true, y: false}},
    // The words below say the last values until a place is pointed at.
    hooks: {ready: [tellLast], setData: [tellLast], setCursor: [tellLast]},
    axes: [axis, {...axis, size: 68, values: (_, ticks) => ticks.map((tick) => say(tick, 1))}],
    series: [{value: (_, at) => at === null || at === undefined ? '–' : told(at)}, ...series.map((row, at) => line(row, at, say))],
  };
}
