/**
 * tune(): measures which plan is fastest; choose.ts can only predict it. Predictions are good enough to leave out most
 * plans, so only the few predicted fastest are measured, and the plan that runs without tuning among them.
 */
import {getBackend} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {checkDevice, unlessLost} from '../../kernels/webgpu/device_loss.js';
import {isWebGPUBackend} from '../../kernels/webgpu/is_webgpu_backend.js';
import {describePlan, planName, type MatMulProblem, type Plan} from '../../kernels/webgpu/plan.js';
import {formatPattern} from '../format/pattern.js';
import {activeBackend} from '../tfjs/active_backend.js';
import {predictOnce, predictZeros, type PredictModel} from '../tfjs/predict_model.js';
import {chooserOf, observeProblems, type PlanChooser} from './choose.js';
import {predict} from './cost_model.js';
import {fastestPlan} from './measure/compare_plans.js';
import {measureProfile} from './measure/probes.js';
import {loadTuned, mergeRecords, productKey, storeTuned, type TuningRecord} from './plan_cache.js';
import {
  checkTuneArguments, toProblem, type CheckedOptions, type ProductShape, type SkippedProduct, type TunedProduct,
  type TuneOptions, type TuneProgress, type TuneReport,
} from './tune_options.js';
import {userMs} from './user_time.js';

/** Plans that tune() measures for each product. */
const CANDIDATES = 8;

/** The call before this one. Two at once would time each other's work. */
let previous: Promise<unknown> = Promise.resolve();

/**
 * Measures the fastest WebGPU plans for a model's N:M products on this GPU. From then on predict uses them, on later
 * visits too (option `cache`). Products tuned before are not measured again.
 *
 * ```ts
 * const {tuned} = await tune(model, {rows: [1, 32]});
 * await tune([{rows: 1, k: 4096, n: 11008, pattern: '8:32v32', dtype: 'float16'}]);
 * ```
 *
 * Takes about a second per product, and GPU memory for one product at a time. Tensors, backend and the states of
 * recurrent layers stay as they are. Calls wait for each other.
 * @param target a LayersModel, a GraphModel or another object with `predict`, which predicts zeros once to show its
 *     products; or the products themselves.
 * @returns for each product its plan, or why it was skipped. Plans do not depend on bias and activation, so products
 *     that differ in these alone are tuned once.
 * @throws Error naming the argument that is wrong, or if the active backend is not a WebGPU one, before any GPU work;
 *     or if the device is lost.
 */
export async function tune(
    target: PredictModel | readonly ProductShape[], options: TuneOptions = {}): Promise<TuneReport> {
  const checked = checkTuneArguments(target, options);
  const shapes = Array.isArray(target) ? (target as ProductShape[]).map(toProblem) : undefined;
  const webgpu = await activeBackend('tune');
  if (!isWebGPUBackend(webgpu)) {
    throw new Error(`tune: the active backend is '${getBackend()}', where there is nothing to tune; import ` +
      "'@tensorflow/tfjs-backend-webgpu' and await tf.setBackend('webgpu') first.");
  }
  const problems = shapes ?? productsOf(target as PredictModel, checked);
  return measurePlans('tune', webgpu, problems, {...checked, candidates: CANDIDATES});
}

export interface MeasureOptions {
  /** Plans measured for each product. */
  candidates: number;
  /** Time after which no measurement begins, in ms. */
  maxMs: number;
  /** Whether stored results are used and new ones stored. */
  cache: boolean;
  onProgress?: (progress: TuneProgress) => void;
}

/**
 * Measures and keeps the fastest plan of each product, in their order. Calls wait for each other.
 * @param problems products that differ in bias and activation alone are measured once.
 */
export function measurePlans(
    caller: string, webgpu: WebGPUBackend, problems: MatMulProblem[], options: MeasureOptions): Promise<TuneReport> {
  const unique = [...new Map(problems.map(problem => [`${problem.rows} ${productKey(problem)}`, problem])).values()];
  const call = previous.then(() =>
    unlessLost(caller, webgpu.device, () => measureAll({caller, webgpu, options}, unique)));
  previous = call.catch(() => undefined);
  return call;
}

interface Call {
  caller: string;
  webgpu: WebGPUBackend;
  options: MeasureOptions;
}

async function measureAll(call: Call, problems: MatMulProblem[]): Promise<TuneReport> {
  const {webgpu, options: {cache, maxMs, onProgress}} = call;
  const start = performance.now();
  const chooser = chooserOf(webgpu);
  if (cache) {
    await loadTuned(chooser);
  }
  const found: TuningRecord = {plans: {}};
  const report: TuneReport = {tuned: [], skipped: [], ms: 0};
  // Recorded now: measuring the device profile below changes the predictions, and the speedup is reported against the
  // plan that ran before.
  const untuned = problems.map(problem => chooser.ranked(problem)[0].plan);
  try {
    for (const [i, problem] of problems.entries()) {
      const result = await measureProduct(call, chooser, problem, untuned[i], start + maxMs, found)
        .catch((error: Error) => skip(call, problem, error));
      const skipped = 'reason' in result;
      if (skipped) {
        report.skipped.push(result);
      } else {
        report.tuned.push(result);
      }
      onProgress?.({
        done: i + 1, total: problems.length, problem: result,
        ...(skipped ? {} : {plan: result.plan, ms: result.ms}),
      });
    }
  } finally {
    // After an error too: what was measured until then holds.
    if (cache && Object.keys(found.plans).length > 0) {
      const {adapter, profile, isMeasured} = chooser;
      await storeTuned(adapter, {...found, ...(isMeasured && {profile})}).then(
        place => report.storedIn = place, (error: Error) => report.notStored = error.message);
    }
  }
  report.ms = performance.now() - start;
  return report;
}

/**
 * @param untuned the plan that runs without tuning.
 * @param deadline as of performance.now().
 * @param found gets what was measured.
 * @throws Error why the product is skipped.
 */
async function measureProduct(
    {webgpu, options: {candidates, maxMs}}: Call, chooser: PlanChooser, problem: MatMulProblem, untuned: Plan,
    deadline: number, found: TuningRecord): Promise<TunedProduct> {
  const known = chooser.tunedPlan(problem);
  if (known?.tuned.rows === problem.rows) {
    return describeTuned(chooser, problem, {...known.tuned, plan: known.plan, cached: true});
  }
  if (performance.now() >= deadline) {
    throw new Error(`the ${maxMs} ms for measuring were over before it was reached`);
  }
  if (!chooser.isMeasured) {
    chooser.learn({profile: await measureProfile(webgpu), plans: {}});
  }
  const others = chooser.ranked(problem).map(({plan}) => plan).filter(plan => planName(plan) !== planName(untuned));
  const fastest = await fastestPlan(
    webgpu, problem, [untuned, ...others.slice(0, candidates - 1)], deadline,
    (gpuMs, plan) => userMs(gpuMs, plan, problem.rows, chooser.profile));
  const {plan, ms, defaultMs} = fastest;
  const record = {plans: {[productKey(problem)]: [{rows: problem.rows, plan: planName(plan), ms, defaultMs}]}};
  chooser.learn(record);
  found.plans = mergeRecords(found, record).plans;
  return describeTuned(chooser, problem, {...fastest, cached: false});
}

/** @throws Error if the device is lost: no other product can be measured then. */
async function skip({caller, webgpu}: Call, problem: MatMulProblem, {message}: Error): Promise<SkippedProduct> {
  // The loss may be reported just after the error that it causes.
  await new Promise(resolve => setTimeout(resolve));
  checkDevice(caller, webgpu.device);
  return {...describe(problem), reason: message};
}

/** The products that a model's predict multiplies. */
function productsOf(model: PredictModel, {rows, inputs}: CheckedOptions): MatMulProblem[] {
  const problems = inputs ? observeProblems(() => predictOnce(model, inputs)) :
    rows.flatMap(batchSize => observeProblems(() => predictZeros('tune', model, batchSize)));
  if (problems.length === 0) {
    throw new Error('tune: the model multiplies by no N:M matrix, so there is nothing to tune; convert it first, ' +
      'with pruneLayersModel.');
  }
  return problems;
}

function describe({rows, shape: [k, n], pattern, dtype}: MatMulProblem) {
  return {rows, k, n, pattern: formatPattern(pattern), dtype};
}

function describeTuned(
    chooser: PlanChooser, problem: MatMulProblem,
    {plan, ms, defaultMs, cached}: {plan: Plan; ms: number; defaultMs: number; cached: boolean}): TunedProduct {
  return {
    ...describe(problem), plan: describePlan(plan), ms, defaultMs, speedup: defaultMs / ms, cached,
    predictedMs: predict(plan, problem, chooser.profile).ms,
  };
}
