// The words that a formula may be written with, from the language's own table: what may stand at a place, and how a call is written.

// table: what `GET /factors/language` gave; library: the definitions, whose formulas stand in for their names.
// Gives [{word, put, kind, says, lacking, whole}] in the order of their names; `put` is what is written for the word, `whole` is
// a formula with names of its own, which can stand only alone.
export function vocabulary(table, library) {
  const operators = table.operators.flatMap((one) => [one.name, ...one.aliases].map((word) => ({
    word, put: `${word}(`, kind: 'operator', says: word === one.name ? signature(one) : `${signature(one)}; ${word} is another word for ${one.name}`})));
  const names = table.names.map((one) => ({word: one.name, put: one.name, kind: one.kind, lacking: one.available === false,
    says: one.stands_for ? `stands for ${one.stands_for}` : one.kind}));
  // Under other conventions than the paper's, which the editor asks under, a formula gives other values.
  const factors = library.definitions.filter((d) => !d.conventions || d.conventions.name === 'paper').map((d) => ({
    word: d.id, ...(d.formula.includes(';') ? {put: d.formula, whole: true} : {put: `(${d.formula})`}), kind: 'factor', says: `its formula: ${d.formula}`, lacking: Boolean(library.missing?.[d.id])}));
  return [...names, ...operators, ...factors].sort((a, b) => a.word < b.word ? -1 : a.word > b.word ? 1 : 0);
}

const signature = (one) => `${one.name}(${[...one.parameters.map((p) => `${p.name}${p.variadic ? ', ...' : ''}${p.default === null ? '' : ` = ${p.default}`}`), ...one.settings.map((s) => `${s} = ...`)].join(', ')})`;

// What the letters before the place may become: words that begin so first, then words that have them inside.
export function offers(words, begun, alone, most = 8) {
  if (!begun) return [];
  const low = begun.toLowerCase(), other = words.filter((one) => (alone || !one.whole) && (one.word !== low || one.kind === 'factor'));
  const order = (a, b) => Number(a.lacking ?? false) - Number(b.lacking ?? false) || KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind);
  const first = other.filter((one) => one.word.startsWith(low)), inside = low.length < 3 ? [] : other.filter((one) => one.word.indexOf(low) > 0);
  return [...first.sort(order), ...inside.sort(order)].slice(0, most);
}

const KINDS = ['field', 'group', 'operator', 'derived', 'shared', 'constant', 'factor'];

// The call that the place stands in: its operator, and which argument it is.
export function around(table, text) {
  let depth = 0, commas = 0;
  for (let at = text.length - 1; at >= 0; at -= 1) {
    if (text[at] === ')') depth += 1;
    else if (text[at] === ',' && depth === 0) commas += 1;
    else if (text[at] === '(') {
      if (depth > 0) { depth -= 1; continue; }
      const word = text.slice(0, at).match(/([A-Za-z_]\w*)\s*$/)?.[1].toLowerCase();
      const one = word && table.operators.find((row) => row.name === word || row.aliases.includes(word));
      if (!one) { commas = 0; continue; }
      const parameter = one.parameters[Math.min(commas, one.parameters.length - 1)];
      return {says: signature(one), parameter: parameter && `${parameter.name}: ${meaning(parameter)}`};
    }
  }
  return null;
}

function meaning(parameter) {
  if (parameter.kind === 'integer') return `a whole number, ${parameter.least} or more${/^d/.test(parameter.name) ? ', in rows' : ''}`;
  return {panel: 'a value for each name', bool: 'a condition', group: 'a group, such as sector', number: 'a number'}[parameter.kind] ?? parameter.kind;
}
