/**
 * Runs suites: at each point tf.matMul, our own dense kernel (the same program family with nothing to skip), then every
 * variant; each checked before it is timed, all in one run, so that ratios hold whatever else the machine does.
 *
 * What fails is noted and the rest goes on, and listeners get each row at once: GPU time is scarce.
 */
import {matMul} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {type Plan, planName} from '../../../kernels/webgpu/plan.js';
import {parsePattern} from '../../../src/format/pattern.js';
import {chooserOf} from '../../../src/tuning/choose.js';
import {compileInParallel} from '../../../src/tfjs/compile.js';
import {freeUnusedBuffers} from '../../../src/tfjs/recorder.js';
import {limitsOf} from './attainable.js';
import {drawMatrix, drawX, type MatrixSpec} from './data.js';
import type {DeviceFigures} from './device.js';
import {FULL_EFFORT, LEAST_EFFORT, Stopwatch, type Timing} from './measure.js';
import {
  measureProduct, multiplyAsUsersDo, multiplyWith, problemOf, racePlans, type Multiply,
} from './product.js';
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
  /** The least time the device could take for the kept weights, over the time: 0 … 1. */
  attainable: number;
  /** The programs that ran and what bounds them, by the cost model; null for tf.matMul. */
  plan: string | null;
  bound: string | null;
  predictedMs: number | null;
  /** Where rivals were measured: the chosen plan's time over the best one's, and which that was. */
  choiceOverBest: number | null;
  bestPlan: string | null;
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
  /** Names of suites; empty if `own` is given. */
  suites: string[];
  /** Products of one's own, in place of suites; their rows name the suite 'own'. */
  own?: Suite;
  /** Points ('1x4096x4096') and variants to keep to; tf.matMul and dense always run, for the ratios. */
  only?: string[];
  /** Every count-th point, from the index-th on. */
  shard?: {index: number; count: number};
  /** How many other plans to measure beside the one the package chooses, the likeliest first. */
  rivals?: number;
  /** Starts nothing after so many seconds. */
  limitSeconds?: number;
}

/** Hears of a run while it goes on. The report is the same object each time, complete up to now. */
export interface Listener {
  started(report: Report): void;
  measured(row: Row, report: Report): void;
  failed(failure: Failure, report: Report): void;
}

/** A variant, or one of the two that every pattern is compared with. */
interface Candidate extends Variant {
  isTfjs?: boolean;
}

const DENSE = {pattern: parsePattern('32:32v32'), dtype: 'float32'} as const;
const BASELINES: Candidate[] = [{label: 'tf.matMul', ...DENSE, isTfjs: true}, {label: 'dense', ...DENSE}];

export async function runBenchmark(webgpu: WebGPUBackend, options: Options, listener: Listener): Promise<Report> {
  const start = performance.now();
  const suites = chooseSuites(options);
  const stopwatch = await Stopwatch.create(
    webgpu, suites.every(({isTrial}) => isTrial) ? LEAST_EFFORT : FULL_EFFORT);
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
      const candidates = [...BASELINES, ...variants];
      update();
      if (report.seconds > (options.limitSeconds ?? Infinity)) {
        return report;
      }
      // What fails here fails again when its row is measured, and is noted then.
      await compileAll(webgpu, point, candidates).catch(() => undefined);
      for (const candidate of candidates) {
        update();
        if (report.seconds > (options.limitSeconds ?? Infinity)) {
          return report;
        }
        const entry: Entry = {suite: name, ...point, kernel: candidate.label, dtype: candidate.dtype};
        try {
          const row = await measureRow(stopwatch, entry, candidate, report.device, here, options.rivals ?? 0);
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

/** Compiles the programs of a point in parallel. */
async function compileAll(webgpu: WebGPUBackend, {rows, n, k}: Point, candidates: Candidate[]): Promise<void> {
  const x = drawX(webgpu, rows, k);
  const products = candidates.map(candidate => {
    const {pattern, dtype} = candidate;
    const spec: MatrixSpec = {shape: [k, n], pattern, dtype};
    return {multiply: multiplyBy(webgpu, candidate, rows, spec), matrix: drawMatrix(webgpu, spec)};
  });
  try {
    await compileInParallel(webgpu, () => products.forEach(({multiply, matrix}) => multiply(x, matrix).dispose()));
  } finally {
    x.dispose();
    products.forEach(({matrix}) => matrix.dispose());
  }
}

function multiplyBy(webgpu: WebGPUBackend, {isTfjs, plan}: Candidate, rows: number, spec: MatrixSpec): Multiply {
  return isTfjs ? (x, {values}) => matMul(x, values) :
    plan ? multiplyWith(webgpu, plan(problemOf(rows, spec))) : multiplyAsUsersDo;
}

type NamedSuite = Suite & {name: string};

/** What of the suites named is wanted. */
function chooseSuites(
    {suites: named, own, only = [], shard = {index: 0, count: 1}, rivals = 0, limitSeconds = Infinity}: Options):
    NamedSuite[] {
  if (own && named.length > 0) {
    throw new Error(`the suites are ${named.join(', ')}, but products of one's own are given too; give one of both.`);
  }
  const known: Record<string, Suite> = own ? {own} : SUITES;
  const suites = own ? Object.keys(known) : named;
  if (!(limitSeconds > 0)) {
    throw new Error(`limitSeconds is ${limitSeconds}; give a number above 0.`);
  }
  if (!Number.isInteger(rivals) || rivals < 0) {
    throw new Error(`rivals is ${rivals}; give a whole number, 0 for none.`);
  }
  const isPoint = (item: string) => /^\d+[x×]\d+[x×]\d+$/.test(item);
  const points = only.filter(isPoint).map(item => item.replaceAll('×', 'x'));
  const labels = only.filter(item => !isPoint(item));
  for (const name of suites) {
    if (!Object.hasOwn(known, name)) {
      throw new Error(`there is no suite '${name}'; the suites are ${Object.keys(known).join(', ')}.`);
    }
  }
  const all = suites.map(name => known[name]).flatMap(suite => [
    ...suite.points.map(({rows, n, k}) => `${rows}x${n}x${k}`), ...suite.variants.map(({label}) => label),
  ]);
  const unknown = [...points, ...labels].find(item => !all.includes(item));
  if (unknown !== undefined) {
    throw new Error(`only: '${unknown}' is no point and no variant of ${suites.join(', ')}; these are ` +
      `${[...new Set(all)].slice(-12).join(', ')} and the like.`);
  }
  return suites.map(name => {
    const suite = known[name];
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

/** @param here the rows of the same point. */
async function measureRow(
    stopwatch: Stopwatch, entry: Entry, candidate: Candidate, device: DeviceFigures, here: Row[], rivals: number):
    Promise<Row> {
  const {webgpu} = stopwatch;
  const {label, pattern, dtype, plan, isTfjs} = candidate;
  const {rows, n, k} = entry;
  const spec: MatrixSpec = {shape: [k, n], pattern, dtype};
  const limits = limitsOf(webgpu, problemOf(rows, spec), device, plan?.(problemOf(rows, spec)));
  const {timing, error, keptRows, weightBytes} = await measureProduct(
    stopwatch, rows, spec, multiplyBy(webgpu, candidate, rows, spec));
  const {ms} = timing;
  const over = (kernel: string) => {
    const baseline = kernel === label ? timing : here.find(row => row.kernel === kernel);
    return baseline ? baseline.ms / ms : null;
  };
  const race = isTfjs || plan || rivals === 0 ? {choiceOverBest: null, bestPlan: null} :
    await bestOf(stopwatch, rows, spec, limits.plan, rivals);
  return {
    ...entry, ...timing, error,
    denseTflops: (2 * rows * n * k) / ms / 1e9,
    usefulTflops: (2 * rows * n * keptRows) / ms / 1e9,
    gigabytesPerSecond: (4 * rows * (k + n) + weightBytes) / ms / 1e6,
    overMatMul: over('tf.matMul'),
    overDense: over('dense'),
    attainable: limits.leastMs / ms,
    plan: isTfjs ? null : planName(limits.plan),
    bound: isTfjs ? null : limits.bound,
    predictedMs: isTfjs ? null : limits.predictedMs,
    ...race,
  };
}

/** The plan that was chosen against those that the model ranks next. */
async function bestOf(stopwatch: Stopwatch, rows: number, spec: MatrixSpec, chosen: Plan, rivals: number):
    Promise<Pick<Row, 'choiceOverBest' | 'bestPlan'>> {
  const others = chooserOf(stopwatch.webgpu).ranked(problemOf(rows, spec))
      .map(({plan}) => plan).filter(plan => planName(plan) !== planName(chosen)).slice(0, rivals);
  const plans = [chosen, ...others];
  const times = await racePlans(stopwatch, rows, spec, plans, (plan, why) => console.warn(`${planName(plan)}: ${why}`));
  const best = Math.min(...times.filter(ms => ms !== null));
  return times[0] === null ? {choiceOverBest: null, bestPlan: null} :
    {choiceOverBest: times[0] / best, bestPlan: planName(plans[times.indexOf(best)])};
}

/** A GPUAdapterInfo has getters only, which JSON does not see. */
export function adapterOf({device}: WebGPUBackend): Report['adapter'] {
  const {adapterInfo: {vendor, architecture, device: model, description}} =
    device as GPUDevice & {adapterInfo: GPUAdapterInfo};
  return {vendor, architecture, device: model, description};
}
