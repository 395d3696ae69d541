/**
 * A chart of dots over a row of columns, as SVG. Written by hand: it is one kind of chart, and chart libraries want a
 * page to draw in.
 */

export interface Chart {
  title: string;
  xTitle: string;
  yTitle: string;
  /** One a column, below it; without, dots just follow each other. */
  labels?: string[];
  series: Series[];
  /** Horizontal lines with a word at their right end. */
  levels: {y: number; text: string; color: string}[];
  scale: 'linear' | 'log';
}

export interface Series {
  name: string;
  color: string;
  hollow: boolean;
  /** One a column; null where there is none. */
  values: (number | null)[];
}

/** Pixels. The legend stands at the right, where no dot can lie. */
const [TOP, HEIGHT, LEFT, LEGEND] = [48, 340, 64, 200];
const [LEAST_WIDTH, LABELLED_COLUMN, COLUMN] = [420, 14, 8];
/** In columns as wide as this, series stand side by side. */
const [WIDE_COLUMN, SIDE_STEP] = [40, 5];
const [LETTER, LINE] = [6.2, 13];

/** Steps of 1, 2 and 5 that enclose the values: all of them on a log axis, from 0 and some eight on a linear one. */
function ticksOf(values: number[], scale: Chart['scale']): number[] {
  const steps = Array.from({length: 16}, (_, i) => i - 6).flatMap(power => [1, 2, 5].map(digit => digit * 10 ** power));
  const [least, most] = [Math.min(...values), Math.max(...values)];
  if (scale === 'log') {
    return steps.filter((_, i) => steps[i + 1] > least && steps[i - 1] < most);
  }
  const step = steps.find(step => most / step <= 8) ?? 1;
  return Array.from({length: Math.ceil(most / step) + 1}, (_, i) => Number((i * step).toPrecision(6)));
}

const escape = (text: string) => text.replace(/[&<>]/g, char => `&#${char.charCodeAt(0)};`);

const textAt = (x: number, y: number, anchor: 'start' | 'middle' | 'end', said: string, more = '') =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" ${more}>${escape(said)}</text>`;

const upright = (x: number, y: number, anchor: 'middle' | 'end', said: string) =>
  textAt(0, 0, anchor, said, `transform="translate(${x.toFixed(1)} ${y.toFixed(1)}) rotate(-90)"`);

const line = (path: string, color: string, more = '') => `<path d="${path}" stroke="${color}" ${more}/>`;

const dot = (x: number, y: number, {color, hollow}: Series) =>
  `<circle cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="3.5" stroke="${color}" stroke-width="1.5" ` +
  `fill="${hollow ? 'white' : color}"/>`;

export function drawChart({title, xTitle, yTitle, labels, series, levels, scale}: Chart): string {
  const columns = Math.max(...series.map(({values}) => values.length));
  const width = Math.max(columns * (labels ? LABELLED_COLUMN : COLUMN), LEAST_WIDTH);
  const column = width / columns;
  const [right, bottom] = [LEFT + width, TOP + HEIGHT];
  const labelHeight = LETTER * Math.max(0, ...labels?.map(({length}) => length) ?? []);
  const xTitleY = bottom + labelHeight + 32;

  const shown = [...series.flatMap(({values}) => values), ...levels.map(({y}) => y)].filter(value => value !== null);
  const ticks = ticksOf(shown, scale);
  const along = scale === 'log' ? Math.log : (value: number) => value;
  const [from, to] = [along(ticks[0]), along(ticks[ticks.length - 1])];
  const yOf = (value: number) => bottom - (HEIGHT * (along(value) - from)) / (to - from);
  const xOf = (index: number) => LEFT + (index + 0.5) * column;
  const across = (y: number) => `M${LEFT} ${y.toFixed(1)}H${right}`;
  const aside = (index: number) => column < WIDE_COLUMN ? 0 : (index - (series.length - 1) / 2) * SIDE_STEP;

  // From below, the words beside levels that lie close together make room for each other.
  let wordY = Infinity;
  const words = [...levels].sort((a, b) => a.y - b.y).map(({text, y, color}) => {
    wordY = Math.min(yOf(y) + 4, wordY - LINE);
    return textAt(right + 4, wordY, 'start', text, `fill="${color}"`);
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${right + LEGEND}" height="${(xTitleY + 14).toFixed(0)}"`,
    'font-family="sans-serif" font-size="12" fill="#222222"><rect width="100%" height="100%" fill="white"/>',
    textAt(LEFT, 24, 'start', title, 'font-size="15"'),
    upright(16, TOP + HEIGHT / 2, 'middle', yTitle),
    textAt(LEFT + width / 2, xTitleY, 'middle', xTitle),
    ...ticks.flatMap(tick => [
      line(across(yOf(tick)), '#dddddd'), textAt(LEFT - 6, yOf(tick) + 4, 'end', String(tick)),
    ]),
    ...(labels ?? []).flatMap((label, i) => [
      line(`M${xOf(i).toFixed(1)} ${TOP}V${bottom}`, '#eeeeee'), upright(xOf(i) + 4, bottom + 8, 'end', label),
    ]),
    ...levels.map(({y, color}) => line(across(yOf(y)), color, 'stroke-dasharray="6 3"')),
    ...words,
    ...series.flatMap((each, i) => [
      ...each.values.map((value, at) => value === null ? '' : dot(xOf(at) + aside(i), yOf(value), each)),
      dot(right + 60, TOP + 8 + 18 * i, each), textAt(right + 72, TOP + 12 + 18 * i, 'start', each.name),
    ]),
    '</svg>',
  ].join('\n');
}
