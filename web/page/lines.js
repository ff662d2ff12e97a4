// Lines over time, drawn by uPlot. Its colours are read from the page, so that dark and light are both right.
import {html, useEffect, useLayoutEffect, useRef} from './vendor/htm-preact-3.1.1.js';
import {useWidth} from './bars.js';
import {percent} from './words.js';

// Colours that the colour-blind can tell apart (Okabe and Ito), chosen to stand out on dark and on light; dashes tell the second half.
export const COLOURS = ['#0b78c8', '#d55e00', '#00936c', '#c2569a', '#b08900', '#7a6ff0', '#5a8f29', '#8a6d5b'];

// dates: ISO texts, or seconds; series: {name, values, points (dots instead of a line)}.
export function Lines({dates, series, label, say = percent, height = 260}) {
  const [box, width] = useWidth();
  const plot = useRef(null), place = useRef(null), made = useRef(null);
  const x = dates.map((date) => typeof date === 'number' ? date : Date.parse(date) / 1000);
  const data = [x, ...series.map((row) => row.values)];
  // Dates are days of the market, by UTC; moments are told by the reader's own clock, as the axis has them.
  const told = typeof dates[0] === 'number' ? (at) => new Date(at * 1000).toLocaleTimeString() : (at) => new Date(at * 1000).toISOString().slice(0, 10);
  const names = JSON.stringify(series.map((row) => row.name));
  useEffect(() => {
    if (!width) return undefined;
    plot.current = new window.uPlot(options(series, width, height, say, told), data, place.current);
    made.current = names;
    const dark = matchMedia('(prefers-color-scheme: dark)');
    const redraw = () => {
      plot.current?.destroy();
      plot.current = new window.uPlot(options(series, width, height, say, told), data, place.current);
    };
    dark.addEventListener('change', redraw);
    return () => { dark.removeEventListener('change', redraw); plot.current?.destroy(); plot.current = null; };
  }, [width, names]);
  // Within the frame that draws the rest: an effect after the paint would cost one of its own.
  useLayoutEffect(() => { if (made.current === names) plot.current?.setData(data); });
  return html`<div ref=${box}><div ref=${place} role="img" aria-label=${`${label}: ${series.map((row) => `${row.name} last ${say(last(row.values))}`).join(', ')}`}></div></div>`;
}

const last = (values) => values.findLast((value) => value !== null && value !== undefined);

const tellLast = (plot) => {
  if (plot.cursor.idx === null || plot.cursor.idx === undefined) plot.setLegend({idx: plot.data[0].length - 1}, false);
};

function options(series, width, height, say, told) {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue('--dim').trim(), grid = style.getPropertyValue('--line').trim();
  const axis = {stroke: ink, grid: {stroke: grid, width: 1}, ticks: {stroke: grid, width: 1}};
  return {
    width, height, cursor: {drag: {x: true, y: false}},
    // The words below say the last values until a place is pointed at.
    hooks: {ready: [tellLast], setData: [tellLast], setCursor: [tellLast]},
    axes: [axis, {...axis, size: 68, values: (_, ticks) => ticks.map((tick) => say(tick, 1))}],
    series: [{value: (_, at) => at === null || at === undefined ? '–' : told(at)}, ...series.map((row, at) => ({
      label: row.name, stroke: COLOURS[at % COLOURS.length], width: row.points ? 0 : 1.6, spanGaps: false,
      dash: at >= COLOURS.length ? [6, 4] : undefined,
      points: row.points ? {show: true, size: 4, fill: COLOURS[at % COLOURS.length]} : {show: false},
      value: (_, value) => value === null || value === undefined ? '–' : say(value),
    }))],
  };
}
