/** The rows of the suite `models` as a table for people; the JSON beside it is for programs. */
import type {ModelFailure, ModelMean, ModelReport, ModelRow} from './models.js';
import {amount, duration, head, line, times, type Columns} from './table.js';

const msOrNone = (ms: number | null) => ms === null ? '–' : duration(ms, 3);

export const MODEL_COLUMNS: Columns<ModelRow> = [
  ['model', 12, ({model}) => model],
  ['rows', 6, ({rows}) => String(rows)],
  ['kernel', 9, ({kernel}) => kernel],
  ['dtype', 9, ({dtype}) => dtype],
  ['programs', 10, ({programs}) => String(programs)],
  ['JS ms', 9, ({jsMs}) => duration(jsMs, 3)],
  ['latency', 9, ({latencyMs}) => duration(latencyMs, 3)],
  ['sustained', 11, ({sustainedMs}) => duration(sustainedMs, 3)],
  ['GPU', 9, ({gpuMs}) => msOrNone(gpuMs)],
  ['captured', 10, ({capturedMs}) => msOrNone(capturedMs)],
  ['cold', 7, ({coldMs}) => amount(coldMs)],
  ['warmUp', 8, ({warmUpMs}) => amount(warmUpMs)],
  ['after', 7, ({warmMs}) => amount(warmMs)],
  ['next', 7, ({nextMs}) => amount(nextMs)],
  ['sustained ×', 13, ({sustainedOverDense}) => times(sustainedOverDense)],
  ['latency ×', 11, ({latencyOverDense}) => times(latencyOverDense)],
  ['captured ×', 12, ({capturedOverDense}) => times(capturedOverDense)],
  ['× captured', 12, ({capturedOverCapturedDense}) => times(capturedOverCapturedDense)],
  ['error', 9, ({error}) => error?.toExponential(1) ?? '–'],
];

const MODEL_MEAN_COLUMNS: Columns<ModelMean> = [
  ['kernel', 9, ({kernel}) => kernel],
  ['dtype', 9, ({dtype}) => dtype],
  ['of', 4, ({count}) => String(count)],
  ['sustained ×', 13, ({sustainedOverDense}) => times(sustainedOverDense)],
  ['latency ×', 11, ({latencyOverDense}) => times(latencyOverDense)],
  ['captured ×', 12, ({capturedOverDense}) => times(capturedOverDense)],
  ['× captured', 12, ({capturedOverCapturedDense}) => times(capturedOverCapturedDense)],
];

export function modelFailureText({model, rows, kernel, dtype, why}: ModelFailure): string {
  return `FAILED ${model}, ${rows} rows, ${kernel} ${dtype}: ${why}`;
}

/** Writes what follows the rows: geometric means, and failures once more. */
export function modelSummaryText({means, rows, failures, seconds}: ModelReport): string {
  return [
    'geometric means', head(MODEL_MEAN_COLUMNS), ...means.map(mean => line(MODEL_MEAN_COLUMNS, mean)), '',
    ...failures.map(modelFailureText),
    `${rows.length} measured, ${failures.length} failed; ${seconds.toFixed(0)} s`,
  ].join('\n');
}
