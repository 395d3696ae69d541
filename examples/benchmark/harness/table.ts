/** The rows of a run as tables for people; the JSON beside it is for programs. */
import type {DeviceFigures} from './device.js';
import type {Entry, Failure, Report, Row} from './run.js';
import {slowerThanMatMul, type Mean} from './summary.js';

/** `width` counts characters. */
export type Columns<T> = [title: string, width: number, text: (row: T) => string][];

/** Phones and data centres are a thousandfold apart. */
export const amount = (value: number) => value.toFixed(value < 10 ? 2 : value < 1000 ? 1 : 0);
export const duration = (ms: number, digits: number) => ms < 1000 ? ms.toPrecision(digits) : ms.toFixed(0);
export const times = (ratio: number | null) => ratio?.toFixed(2) ?? '–';

export const ROW_COLUMNS: Columns<Row> = [
  ['rows×n×k', 18, pointText],
  ['kernel', 12, ({kernel}) => kernel],
  ['dtype', 9, ({dtype}) => dtype],
  ['ms', 10, ({ms}) => duration(ms, 4)],
  ['least – most', 19, ({msMin, msMax}) => `${duration(msMin, 3)} – ${duration(msMax, 3)}`],
  ['TFLOPS dense-eq.', 18, ({denseTflops}) => amount(denseTflops)],
  ['useful', 8, ({usefulTflops}) => amount(usefulTflops)],
  ['GB/s', 8, ({gigabytesPerSecond}) => amount(gigabytesPerSecond)],
  ['× tf.matMul', 13, ({overMatMul}) => times(overMatMul)],
  ['× own dense', 13, ({overDense}) => times(overDense)],
  ['bound', 18, ({bound}) => bound ?? '–'],
  ['predicted', 11, ({predictedMs}) => predictedMs === null ? '–' : duration(predictedMs, 3)],
  ['choice', 8, ({choiceOverBest}) => times(choiceOverBest)],
  ['attainable', 12, ({attainable}) => `${(100 * attainable).toFixed(0)} %`],
  ['error', 10, ({error}) => error.toExponential(1)],
  ['', 0, ({layer}) => layer ? `  ${layer}` : ''],
];

export const MEAN_COLUMNS: Columns<Mean> = [
  ['suite', 10, ({suite}) => suite],
  ['kernel', 12, ({kernel}) => kernel],
  ['dtype', 9, ({dtype}) => dtype],
  ['points', 8, ({points}) => String(points)],
  ['× tf.matMul', 13, ({overMatMul}) => times(overMatMul)],
  ['× own dense', 13, ({overDense}) => times(overDense)],
  ['choice', 8, ({choiceOverBest}) => times(choiceOverBest)],
  ['at worst', 10, ({worstChoice}) => times(worstChoice)],
];

export function head<T>(columns: Columns<T>): string {
  return columns.map(([title, width]) => title.padStart(width)).join('');
}

export function line<T>(columns: Columns<T>, row: T): string {
  return columns.map(([, width, text]) => text(row).padStart(width)).join('');
}

function pointText({rows, n, k}: Entry): string {
  return `${rows}×${n}×${k}`;
}

export function deviceText(figures: DeviceFigures): string {
  const {fmaScalarTflops, fmaVec4Tflops, copyGigabytesPerSecond, dispatchMicroseconds, copies} = figures;
  return `FMA ${amount(fmaScalarTflops)} TFLOPS (scalar), ${amount(fmaVec4Tflops)} (vec4); ` +
    `copy ${amount(copyGigabytesPerSecond)} GB/s; a dispatch ${amount(dispatchMicroseconds)} µs` +
    copies.map(({megabytes, microseconds}) => `; ${megabytes} MB copied in ${amount(microseconds)} µs`).join('');
}

export function failureText({suite, kernel, dtype, why, ...entry}: Failure): string {
  return `FAILED ${suite} ${pointText({suite, kernel, dtype, ...entry})} ${kernel} ${dtype}: ${why}`;
}

/** How far the cost model's predictions are from what was measured. */
function modelText(rows: Row[]): string {
  const errors = rows.filter(({predictedMs}) => predictedMs !== null)
      .map(({ms, predictedMs}) => Math.abs(Math.log(predictedMs! / ms))).sort((a, b) => a - b);
  const percent = (share: number) =>
    `${(100 * Math.expm1(errors[Math.floor(share * (errors.length - 1))])).toFixed(0)} %`;
  return errors.length === 0 ? 'no predictions' : `the model is off by ${percent(0.5)} (median), ${percent(0.9)} ` +
    `(9 of 10 within), ${percent(1)} (at most)`;
}

/** What to look at first once a run is over. */
export function summaryText({means, rows, failures, total, seconds}: Report): string {
  const slower = slowerThanMatMul(rows);
  return [
    'geometric means', head(MEAN_COLUMNS), ...means.map(mean => line(MEAN_COLUMNS, mean)), '',
    slower.length === 0 ? 'nothing is slower than tf.matMul' : 'slower than tf.matMul:',
    ...slower.map(row => line(ROW_COLUMNS, row)),
    ...failures.map(failureText),
    modelText(rows),
    `${rows.length} measured, ${failures.length} failed, of ${total}; ${seconds.toFixed(0)} s`,
  ].join('\n');
}
