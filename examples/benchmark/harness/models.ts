/**
 * The suite `models`: predict of whole models, dense by tfjs against converted ones, as a user's page times it. The
 * kernels' suites (run.ts) count GPU time only; here JavaScript, submission and compilation count too.
 *
 * All models of a name are in memory at once, and each step goes through all of them before the next begins. So dense
 * and sparse alternate in every round, and a GPU clock that changes affects both.
 */
import type {LayersModel} from '@tensorflow/tfjs-layers';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import type {StorageDtype} from '../../../src/format/storage.js';
import {freeUnusedBuffers} from '../../../src/tfjs/recorder.js';
import {parseCount, parseCounts, parseNames, parsePatterns, parsePoints} from './arguments.js';
import {Contender} from './contender.js';
import {drawX} from './data.js';
import {buildModel, DENSE, type ModelKernel} from './model_data.js';
import {adapterOf, type Report} from './run.js';
import {OWN_PATTERNS} from './suites.js';
import {geometricMean} from './summary.js';

/** Dense layers in a row, and the numbers of rows that predict gets at once (batchSize). */
interface Network {
  name: string;
  /** Of the input, then of each layer's output. */
  widths: number[];
  rows: number[];
}

export interface ModelEntry extends ModelKernel {
  model: string;
  rows: number;
}

/** What is measured of a model at a number of rows. Times are medians, of one predict, in ms. */
export interface ModelRow extends ModelEntry {
  /** Dispatches of one predict. */
  programs: number;
  /** JavaScript time: from the call of predict to its return. */
  jsMs: number;
  /** Predict and read-back of one number. */
  latencyMs: number;
  /** 20 predicts and one read-back, divided by 20. */
  sustainedMs: number;
  /** Sum of the GPU times of the programs; null if the device has no usable timestamps. */
  gpuMs: number | null;
  /** First predict, all programs new to tfjs, Dawn and the driver; weights and x are on the GPU. */
  coldMs: number;
  /** warmUp with new programs, the first predict after it, and the next, after a pause as long as the warmUp. */
  warmUpMs: number;
  warmMs: number;
  nextMs: number;
  /** The same of the captured model; null if it was not captured. capturedMs is sustained. */
  capturedMs: number | null;
  capturedJsMs: number | null;
  capturedLatencyMs: number | null;
  /** Speed relative to the dense model at the same rows; null if one of both has no figure. */
  sustainedOverDense: number | null;
  latencyOverDense: number | null;
  /** Captured, over predict of the dense model and over the captured dense model. */
  capturedOverDense: number | null;
  capturedOverCapturedDense: number | null;
  /** Largest error of an output, relative to the largest output; null for the dense model. */
  error: number | null;
}

export interface ModelFailure extends ModelEntry {
  why: string;
}

/** Geometric means of ratios over all rows of a kernel. */
export interface ModelMean extends ModelKernel {
  /** Number of rows. */
  count: number;
  sustainedOverDense: number | null;
  latencyOverDense: number | null;
  capturedOverDense: number | null;
  capturedOverCapturedDense: number | null;
}

/** The JSON of a run. */
export interface ModelReport {
  adapter: Report['adapter'];
  /** Node or the browser, with its version. */
  where: string;
  date: string;
  seconds: number;
  rows: ModelRow[];
  failures: ModelFailure[];
  means: ModelMean[];
}

export interface ModelOptions {
  networks: Network[];
  patterns: string[];
  dtypes: StorageDtype[];
  /** Duration of a sustained measurement, in ms. */
  ms: number;
  /** Rounds in which models alternate; each takes its share of `ms`. */
  rounds: number;
}

/** Hears of a run while it goes on. The report is the same object each time, complete up to now. */
export interface ModelListener {
  started(report: ModelReport): void;
  measured(row: ModelRow, report: ModelReport): void;
  failed(failure: ModelFailure, report: ModelReport): void;
}

const repeatWidths = (blocks: number, widths: number[]) =>
  Array.from({length: blocks}, () => widths).flat();

const NETWORKS: Network[] = [
  {name: '8x4096', widths: [4096, ...repeatWidths(8, [4096])], rows: [1, 64, 512]},
  {name: '12x768', widths: [768, ...repeatWidths(12, [3072, 768])], rows: [1, 197]},
  {name: '6x384', widths: [384, ...repeatWidths(6, [1536, 384])], rows: [16, 128]},
  {name: 'mlp', widths: [784, 512, 512, 10], rows: [1, 128]},
];

const DTYPES: readonly StorageDtype[] = ['float32', 'float16'];
const MAX_ROWS = 2048;
const MAX_MS = 60_000;
const MAX_ROUNDS = 100;
/** Duration of a compute pass whose GPU time is measured, in ms; `ms` if that is shorter. */
const PASS_MS = 30;

/** The names of the options: of the command line in Node, of the query in a page. */
export const MODEL_OPTION_NAMES = ['models', 'rows', 'points', 'patterns', 'dtypes', 'ms', 'rounds'] as const;

/**
 * Reads the options from text. Those left out have defaults: all models, their own rows, three patterns, float32.
 * @throws Error that names the option, its value and what is accepted.
 */
export function parseModelOptions(
    given: Partial<Record<typeof MODEL_OPTION_NAMES[number], string>>): ModelOptions {
  const {models, rows, points, patterns, dtypes = 'float32', ms = '500', rounds = '3'} = given;
  const ownRows = rows === undefined ? undefined : parseCounts('rows', rows, 1, MAX_ROWS);
  const names = NETWORKS.map(({name}) => name);
  const chosen = models !== undefined ? parseNames('models', models, names) : points === undefined ? names : [];
  const named = NETWORKS.filter(({name}) => chosen.includes(name));
  return {
    networks: [
      ...named.map(network => ({...network, rows: ownRows ?? network.rows})),
      ...(points === undefined ? [] : parsePoints(points)).map(
        ({rows, n, k}) => ({name: `${k}→${n}`, widths: [k, n], rows: [rows]})),
    ],
    patterns: patterns === undefined ? OWN_PATTERNS : parsePatterns(patterns),
    dtypes: parseNames('dtypes', dtypes, DTYPES),
    ms: parseCount('ms', ms, 1, MAX_MS),
    rounds: parseCount('rounds', rounds, 1, MAX_ROUNDS),
  };
}

/** Measures all models, and goes on after what fails: GPU time is scarce. */
export async function measureModels(
    webgpu: WebGPUBackend, where: string, options: ModelOptions, listener: ModelListener): Promise<ModelReport> {
  const start = performance.now();
  const report: ModelReport = {
    adapter: adapterOf(webgpu), where, date: new Date().toISOString(), seconds: 0, rows: [], failures: [], means: [],
  };
  const kernels = [
    DENSE, ...options.dtypes.flatMap(dtype => options.patterns.map(kernel => ({kernel, dtype}))),
  ];
  const update = () => {
    report.seconds = (performance.now() - start) / 1000;
    report.means = meansOf(report.rows);
  };
  listener.started(report);
  await rehearse(webgpu, kernels);
  for (const {name, widths, rows} of options.networks) {
    const models = kernels.map(kernel => ({kernel, model: buildModel(webgpu, widths, kernel)}));
    try {
      for (const rowCount of rows) {
        const measured = await measureAt(webgpu, models, rowCount, options, ({kernel}, error) => {
          const failure = {model: name, rows: rowCount, ...kernel, why: (error as Error).message};
          report.failures.push(failure);
          update();
          listener.failed(failure, report);
        });
        for (const row of measured.map(each => rowOf({model: name, rows: rowCount}, each, measured))) {
          report.rows.push(row);
          update();
          listener.measured(row, report);
        }
        freeUnusedBuffers(webgpu);
      }
    } finally {
      models.forEach(({model}) => model.dispose());
      freeUnusedBuffers(webgpu);
    }
  }
  return report;
}

interface KernelModel {
  kernel: ModelKernel;
  model: LayersModel;
}

/** Predicts small models once, or the JavaScript engine would compile tfjs during the first measurement. */
async function rehearse(webgpu: WebGPUBackend, kernels: ModelKernel[]): Promise<void> {
  const x = drawX(webgpu, 1, 64);
  for (const kernel of kernels) {
    const model = buildModel(webgpu, [64, 64], kernel);
    await new Contender(webgpu, kernel, model, x).timeFirst().finally(() => model.dispose());
  }
  x.dispose();
}

/**
 * Measures models at a number of rows.
 * @param failed hears of a model that is wrong or does not run; the others go on.
 * @returns those that did not fail.
 */
export async function measureAt(
    webgpu: WebGPUBackend, models: KernelModel[], rows: number, {ms, rounds}: ModelOptions,
    failed: (contender: Contender, error: unknown) => void): Promise<Contender[]> {
  const x = drawX(webgpu, rows, models[0].model.inputs[0].shape[1]!);
  let contenders = models.map(({kernel, model}) => new Contender(webgpu, kernel, model, x));
  const each = async (step: (contender: Contender) => Promise<void>) => {
    for (const contender of contenders) {
      try {
        await step(contender);
      } catch (error) {
        contenders = contenders.filter(other => other !== contender);
        contender.dispose();
        failed(contender, error);
      }
    }
  };
  const inRounds = async (step: (contender: Contender) => Promise<void>) => {
    for (let round = 0; round < rounds; ++round) {
      await each(step);
    }
  };
  try {
    await inRounds(contender => contender.timeFirst());
    await each(contender => contender.compile());
    await each(contender => contender.check());
    await each(contender => contender.capture());
    await inRounds(contender => contender.timeJs());
    await inRounds(contender => contender.timeLatency());
    await inRounds(contender => contender.timeSustained(ms / rounds));
    await inRounds(contender => contender.timeGpu(Math.min(ms, PASS_MS)));
    return contenders;
  } finally {
    contenders.forEach(contender => contender.dispose());
    x.dispose();
  }
}

/** Returns a row. `all` are the contenders at the same point, the dense one among them if it did not fail. */
function rowOf(point: Pick<ModelEntry, 'model' | 'rows'>, contender: Contender, all: Contender[]): ModelRow {
  const {kernel, programs, error, plain, captured, cold, warmUp, warm, next, gpu} = contender;
  const dense = all.find(other => other.kernel === DENSE);
  const gpuMs = median(gpu);
  const over = (slow?: number[], fast?: number[]) => {
    const [a, b] = [median(slow), median(fast)];
    return a === null || b === null ? null : a / b;
  };
  return {
    ...point, ...kernel, programs,
    jsMs: median(plain.js)!,
    latencyMs: median(plain.latency)!,
    sustainedMs: median(plain.sustained)!,
    gpuMs: gpuMs !== null && gpuMs > 0 ? gpuMs : null,
    coldMs: median(cold)!,
    warmUpMs: median(warmUp)!,
    warmMs: median(warm)!,
    nextMs: median(next)!,
    capturedMs: median(captured.sustained),
    capturedJsMs: median(captured.js),
    capturedLatencyMs: median(captured.latency),
    sustainedOverDense: over(dense?.plain.sustained, plain.sustained),
    latencyOverDense: over(dense?.plain.latency, plain.latency),
    capturedOverDense: over(dense?.plain.sustained, captured.sustained),
    capturedOverCapturedDense: over(dense?.captured.sustained, captured.sustained),
    error,
  };
}

function median(samples: number[] = []): number | null {
  return samples.length === 0 ? null : [...samples].sort((a, b) => a - b)[Math.floor(samples.length / 2)];
}

function meansOf(rows: ModelRow[]): ModelMean[] {
  const groups = new Map<string, ModelRow[]>();
  for (const row of rows) {
    const key = `${row.kernel} ${row.dtype}`;
    groups.set(key, [...groups.get(key) ?? [], row]);
  }
  return [...groups.values()].map(group => ({
    kernel: group[0].kernel,
    dtype: group[0].dtype,
    count: group.length,
    sustainedOverDense: geometricMean(group.map(row => row.sustainedOverDense)),
    latencyOverDense: geometricMean(group.map(row => row.latencyOverDense)),
    capturedOverDense: geometricMean(group.map(row => row.capturedOverDense)),
    capturedOverCapturedDense: geometricMean(group.map(row => row.capturedOverCapturedDense)),
  }));
}
