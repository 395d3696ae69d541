/**
 * Runs suites: at each point tf.matMul, our own dense kernel (the same program family with nothing to skip), then every
 * variant; each checked before it is timed, all in one run, so that ratios hold whatever else the machine does.
 *
 * What fails is noted and the rest goes on, and listeners get each row at once: GPU time is scarce.
 */
import {dispose, matMul, type Tensor, type Tensor2D} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import type {NMSparseMatrix} from '../../../src/format/nm_sparse_matrix.js';
import {parsePattern, type NMPattern} from '../../../src/format/pattern.js';
import {nmSparseMatMul} from '../../../src/index.js';
import {largestError, sampleOutputs} from './check.js';
import {drawMatrix, drawX, type MatrixSpec} from './data.js';
import type {DeviceFigures} from './device.js';
import {FULL_EFFORT, LEAST_EFFORT, Stopwatch, type Effort, type Timing} from './measure.js';
import {freeUnusedBuffers} from './recording.js';
import {SUITES, type Point, type Suite, type Variant} from './suites.js';
import {meansOf, type Mean} from './summary.js';

/** One product of a suite. */
export interface Entry extends Point {
  suite: string;
  /** 'tf.matMul', 'dense' (our own) or a variant's label. */
  kernel: string;
  dtype: string;
}

export interface Row extends Entry, Timing {
  /** 2·rows·n·k / time. */
  denseTflops: number;
  /** 2·rows·n·w / time, w the kept rows. */
  usefulTflops: number;
  /** Bytes that must move (x, W as stored, y) / time. */
  gigabytesPerSecond: number;
  /** Times faster than tf.matMul and than our own dense kernel at the same point; null if that has no figure. */
  overMatMul: number | null;
  overDense: number | null;
  /** Largest error of the sampled outputs. */
  error: number;
}

export interface Failure extends Entry {
  why: string;
}

/** The JSON of a run. */
export interface Report {
  adapter: Record<'vendor' | 'architecture' | 'device' | 'description', string>;
  date: string;
  seconds: number;
  device: DeviceFigures;
  /** Products to measure; rows and failures are fewer where the run was cut short. */
  total: number;
  rows: Row[];
  failures: Failure[];
  means: Mean[];
}

export interface Options {
  suites: string[];
  /** Points ('1x4096x4096') and variants to keep to; tf.matMul and dense always run, for the ratios. */
  only?: string[];
  /** Every count-th point, from the index-th on. */
  shard?: {index: number; count: number};
  /** Starts nothing after so many seconds. */
  limitSeconds?: number;
}

/** Hears of a run while it goes on. The report is the same object each time, complete up to now. */
export interface Listener {
  started(report: Report): void;
  measured(row: Row, report: Report): void;
  failed(failure: Failure, report: Report): void;
}

/** A product to measure. */
interface Candidate {
  kernel: string;
  pattern: NMPattern;
  dtype: NMSparseMatrix['dtype'];
  multiply(x: Tensor2D, matrix: NMSparseMatrix): Tensor;
}

const DENSE = {pattern: parsePattern('32:32v32'), dtype: 'float32'} as const;
const BASELINES: Candidate[] = [
  {kernel: 'tf.matMul', ...DENSE, multiply: (x, {values}) => matMul(x, values)},
  {kernel: 'dense', ...DENSE, multiply: nmSparseMatMul},
];

/** Sampled errors above this are bugs, not rounding. */
const MAX_ERROR = 2e-6;
const MAX_SETS = 256;
/** The layer before leaves x in the cache, unless it is larger than this share of it. */
const LARGE_SHARE = 1 / 16;

export async function runBenchmark(webgpu: WebGPUBackend, options: Options, listener: Listener): Promise<Report> {
  const start = performance.now();
  const suites = chooseSuites(options);
  const effort = suites.every(({isTrial}) => isTrial) ? LEAST_EFFORT : FULL_EFFORT;
  const stopwatch = await Stopwatch.create(webgpu, effort);
  const report: Report = {
    adapter: adapterOf(webgpu),
    date: new Date().toISOString(),
    seconds: 0,
    device: await stopwatch.measureDevice(),
    total: suites.reduce((sum, {points, variants}) => sum + points.length * (BASELINES.length + variants.length), 0),
    rows: [],
    failures: [],
    means: [],
  };
  const update = () => {
    report.seconds = (performance.now() - start) / 1000;
    report.means = meansOf(report.rows);
  };
  update();
  listener.started(report);
  for (const {name, points, variants} of suites) {
    for (const point of points) {
      const here: Row[] = [];
      for (const candidate of [...BASELINES, ...variants.map(candidateOf)]) {
        if (report.seconds > (options.limitSeconds ?? Infinity)) {
          return report;
        }
        const entry: Entry = {suite: name, ...point, kernel: candidate.kernel, dtype: candidate.dtype};
        try {
          const measured = await measureCandidate(webgpu, stopwatch, effort, point, candidate);
          const row = rowOf(entry, candidate, measured, here);
          here.push(row);
          report.rows.push(row);
          update();
          listener.measured(row, report);
        } catch (error) {
          const failure = {...entry, why: (error as Error).message};
          report.failures.push(failure);
          update();
          listener.failed(failure, report);
        }
      }
      freeUnusedBuffers(webgpu);
    }
  }
  return report;
}

type NamedSuite = Suite & {name: string};

/** What of the suites named is wanted. */
function chooseSuites({suites, only = [], shard = {index: 0, count: 1}}: Options): NamedSuite[] {
  const isPoint = (item: string) => /^\d+[x×]\d+[x×]\d+$/.test(item);
  const points = only.filter(isPoint).map(item => item.replaceAll('×', 'x'));
  const labels = only.filter(item => !isPoint(item));
  return suites.map(name => {
    if (!(name in SUITES)) {
      throw new Error(`there is no suite '${name}'; the suites are ${Object.keys(SUITES).join(', ')}.`);
    }
    const suite = SUITES[name];
    return {
      ...suite,
      name,
      points: suite.points
        .filter(({rows, n, k}) => points.length === 0 || points.includes(`${rows}x${n}x${k}`))
        .filter((_, i) => i % shard.count === shard.index),
      variants: suite.variants.filter(({label}) => labels.length === 0 || labels.includes(label)),
    };
  });
}

function candidateOf({label, pattern, dtype}: Variant): Candidate {
  return {kernel: label, pattern, dtype, multiply: nmSparseMatMul};
}

interface Measured {
  timing: Timing;
  error: number;
  matrix: Pick<NMSparseMatrix, 'keptRows' | 'bytes'>;
}

/** Draws the inputs, checks the product, times it. */
async function measureCandidate(
    webgpu: WebGPUBackend, stopwatch: Stopwatch, {cacheBytes}: Effort, {rows, n, k}: Point,
    {pattern, dtype, multiply}: Candidate): Promise<Measured> {
  const spec: MatrixSpec = {shape: [k, n], pattern, dtype};
  const setsOf = (bytes: number) => Math.max(1, Math.min(MAX_SETS, Math.ceil(cacheBytes / bytes)));
  const xBytes = 4 * rows * k;
  const first = drawMatrix(webgpu, spec);
  const matrices = [first, ...Array.from({length: setsOf(first.bytes) - 1}, () => drawMatrix(webgpu, spec))];
  const xs = Array.from(
    {length: xBytes > cacheBytes * LARGE_SHARE ? setsOf(xBytes) : 1}, () => drawX(webgpu, rows, k));
  const product = (i: number) => multiply(xs[i % xs.length], matrices[i % matrices.length]);
  try {
    const y = product(0);
    const samples = await sampleOutputs(webgpu, y);
    y.dispose();
    stopwatch.keepWarm();
    const error = largestError(samples, spec);
    if (!(error <= MAX_ERROR)) {
      throw new Error(`wrong: the relative error of an output is ${error}`);
    }
    const timing = await stopwatch.measure(product, Math.max(xs.length, matrices.length));
    return {timing, error, matrix: {keptRows: first.keptRows, bytes: first.bytes}};
  } finally {
    dispose(xs);
    matrices.forEach(matrix => matrix.dispose());
  }
}

function rowOf(entry: Entry, candidate: Candidate, {timing, error, matrix}: Measured, here: Row[]): Row {
  const {rows, n, k} = entry;
  const {ms} = timing;
  const over = (kernel: string) => {
    const baseline = kernel === candidate.kernel ? timing : here.find(row => row.kernel === kernel);
    return baseline ? baseline.ms / ms : null;
  };
  return {
    ...entry, ...timing, error,
    denseTflops: (2 * rows * n * k) / ms / 1e9,
    usefulTflops: (2 * rows * n * matrix.keptRows) / ms / 1e9,
    gigabytesPerSecond: (4 * rows * (k + n) + matrix.bytes) / ms / 1e6,
    overMatMul: over('tf.matMul'),
    overDense: over('dense'),
  };
}

/** A GPUAdapterInfo has getters only, which JSON does not see. */
function adapterOf({device}: WebGPUBackend): Report['adapter'] {
  const {adapterInfo: {vendor, architecture, device: model, description}} =
    device as GPUDevice & {adapterInfo: GPUAdapterInfo};
  return {vendor, architecture, device: model, description};
}
