/**
 * Which charts a run's JSON gives:
 *
 * - throughput: dense-equivalent TFLOPS of each kernel, point by point; where kernels are many, kernel by kernel.
 * - over-dense, over-matmul: the gain of each pattern, points in order of gain, and the geometric means.
 * - bandwidth: GB/s where rows are so few that reading W is the work, against what the device copies and reads.
 *
 * The suite `backends` gives one chart per backend: the gain of each pattern over tf.matMul, size by size.
 */
import type {BackendRow} from './backends.js';
import type {Report, Row} from './run.js';
import {geometricMean} from './summary.js';
import {drawChart, type Chart, type Series} from './svg_chart.js';

/** Up to so many rows, reading W is the work. */
const FEW_ROWS = 16;
/** Fewer points have no distribution. */
const ENOUGH_POINTS = 3;
/** Of Okabe and Ito, for every kind of sight; kernels beyond cannot be told apart by colour. */
const COLORS = ['#888888', '#000000', '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9'];

/** @returns SVG by file name. */
export function plotReport({adapter, device, rows}: Report): Record<string, string> {
  const where = adapter.device || adapter.description || `${adapter.vendor} ${adapter.architecture}`;
  const charts = [...new Set(rows.map(({suite}) => suite))].flatMap(suite => {
    const of = rows.filter(row => row.suite === suite);
    const many = of.filter(row => row.rows > FEW_ROWS);
    const few = of.filter(row => row.rows <= FEW_ROWS);
    const named = (what: string) => ({name: `${suite}-${what}`, title: `${suite}, ${where}`});
    return [
      ...byPoint(many, ({denseTflops}) => denseTflops, {
        ...named('throughput'), yTitle: 'throughput, dense-equivalent TFLOPS', levels: [], scale: 'log',
      }),
      ...byPoint(few, ({gigabytesPerSecond}) => gigabytesPerSecond, {
        ...named('bandwidth'), yTitle: 'x, stored W and y, GB/s', scale: 'linear', levels: [
          {text: 'copy', y: device.copyGigabytesPerSecond, color: '#aa0000'},
        ],
      }),
      ...byGain(of, 'dense', ({overDense}) => overDense, named('over-dense')),
      ...byGain(of, 'tf.matMul', ({overMatMul}) => overMatMul, named('over-matmul')),
    ];
  });
  return Object.fromEntries(charts.map(chart => [`${chart.name}.svg`, drawChart(chart)]));
}

/** @returns SVG by file name. */
export function plotBackends({where, rows}: {where: string; rows: BackendRow[]}): Record<string, string> {
  return Object.fromEntries([...new Set(rows.map(({backend}) => backend))].map(backend => {
    const of = rows.filter(row => row.backend === backend);
    const patterns = [...new Set(of.map(({pattern}) => pattern))];
    const sizes = [...new Set(of.map(sizeName))];
    const gain = (pattern: string, size: string) =>
      of.find(row => row.pattern === pattern && sizeName(row) === size)?.overMatMul ?? null;
    return [`backends-${backend}.svg`, drawChart({
      title: `${backend}: ${where.split(';')[0]}`, xTitle: 'rows × n × k', yTitle: 'times as fast as tf.matMul',
      labels: sizes, scale: 'log', levels: [{y: 1, text: 'tf.matMul', color: '#aa0000'}],
      series: patterns.map((pattern, i) => ({
        name: pattern, color: COLORS[i % COLORS.length], hollow: false, values: sizes.map(size => gain(pattern, size)),
      })),
    })];
  }));
}

const sizeName = ({rows, n, k}: BackendRow) => `${rows}×${n}×${k}`;

type NamedChart = Chart & {name: string};

const seriesName = ({kernel, dtype}: Row) => dtype === 'float16' ? `${kernel} float16` : kernel;
const pointName = ({rows, n, k}: Row) => `${rows}×${n}×${k}`;
const distinct = (rows: Row[], name: (row: Row) => string) => [...new Set(rows.map(name))];

/** Columns are points, colours kernels; where colours run out, columns are kernels, in a chart for each point. */
function byPoint(
    rows: Row[], value: (row: Row) => number, chart: Omit<NamedChart, 'xTitle' | 'labels' | 'series'>): NamedChart[] {
  const points = distinct(rows, pointName);
  const valueAt = (point: string, name: string) => {
    const row = rows.find(row => pointName(row) === point && seriesName(row) === name);
    return row ? value(row) : null;
  };
  if (points.length === 0) {
    return [];
  }
  if (distinct(rows, ({kernel}) => kernel).length <= COLORS.length) {
    const series = seriesOf(rows, name => points.map(point => valueAt(point, name)));
    return [{...chart, xTitle: 'rows × n × k', labels: points, series}];
  }
  const names = distinct(rows, seriesName);
  return points.map(point => ({
    ...chart, name: `${chart.name}-${point.replaceAll('×', 'x')}`, xTitle: 'kernel', labels: names,
    series: [{name: point, color: COLORS[2], hollow: false, values: names.map(name => valueAt(point, name))}],
  }));
}

function byGain(
    rows: Row[], over: string, gain: (row: Row) => number | null,
    {name, title}: Pick<NamedChart, 'name' | 'title'>): NamedChart[] {
  const series = seriesOf(rows, name => rows.filter(row => seriesName(row) === name)
    .map(gain).filter(value => value !== null).sort((a, b) => a - b))
    .filter(({name, values}) => name !== over && values.length >= ENOUGH_POINTS);
  const levels = series.map(({values, color}) => ({y: geometricMean(values)!, color}));
  return series.length === 0 ? [] : [{
    name, title, xTitle: 'points, from the least gain to the largest; lines are geometric means',
    yTitle: `times as fast as ${over === 'dense' ? 'our own dense kernel' : over}`, series,
    levels: levels.map(level => ({...level, text: level.y.toFixed(2)})), scale: 'linear',
  }];
}

/** One for each kernel and dtype: a kernel has its colour, float16 is hollow. */
function seriesOf(rows: Row[], values: (name: string) => Series['values']): Series[] {
  const kernels = distinct(rows, ({kernel}) => kernel);
  return [...new Map(rows.map(row => [seriesName(row), row])).entries()].map(([name, {kernel, dtype}]) => ({
    name, color: COLORS[kernels.indexOf(kernel) % COLORS.length], hollow: dtype === 'float16', values: values(name),
  }));
}
