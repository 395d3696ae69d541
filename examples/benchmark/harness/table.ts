/** The rows of a run as a table for people; the JSON beside it is for programs. */
import type {Row} from './run.js';

const COLUMNS: [title: string, width: number, text: (row: Row) => string][] = [
  ['rows×n×k', 18, ({rows, n, k}) => `${rows}×${n}×${k}`],
  ['kernel', 12, ({kernel}) => kernel],
  ['dtype', 9, ({dtype}) => dtype],
  ['ms', 10, ({ms}) => ms.toPrecision(4)],
  ['TFLOPS dense-eq.', 18, ({denseTflops}) => denseTflops.toFixed(1)],
  ['useful', 8, ({usefulTflops}) => usefulTflops.toFixed(1)],
  ['GB/s', 8, ({gigabytesPerSecond}) => gigabytesPerSecond.toFixed(0)],
  ['× tf.matMul', 13, ({overMatMul}) => overMatMul.toFixed(2)],
  ['× own dense', 13, ({overDense}) => overDense.toFixed(2)],
  ['error', 10, ({error}) => error.toExponential(1)],
];

export function tableHead(): string {
  return COLUMNS.map(([title, width]) => title.padStart(width)).join('');
}

export function tableRow(row: Row): string {
  return COLUMNS.map(([, width, text]) => text(row).padStart(width)).join('');
}
