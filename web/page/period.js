// Periods that end on a model's last date.
export const PERIODS = [['1', 'one year'], ['3', 'three years'], ['99', 'all']];

// The first date that is so many years before the last one, and not before the model's own.
export function since(years, about) {
  const from = `${String(Math.max(Number(about.last_date.slice(0, 4)) - Number(years), 0)).padStart(4, '0')}${about.last_date.slice(4)}`;
  return from < about.first_date ? about.first_date : from;
}
