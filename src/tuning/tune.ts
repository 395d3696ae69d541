/**
 * tune(): measures which plan is fastest, where choose.ts can only predict it. Only the few plans predicted fastest are
 * measured, and the one that would run untuned among them: predictions are good enough to leave out the rest.
 */
import {getBackend} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {checkDevice, unlessLost} from '../../kernels/webgpu/device_loss.js';
import {isWebGPUBackend} from '../../kernels/webgpu/is_webgpu_backend.js';
import {describePlan, planName, type MatMulProblem, type Plan} from '../../kernels/webgpu/plan.js';
import {formatPattern} from '../format/pattern.js';
import {activeBackend} from '../tfjs/active_backend.js';
import {chooserOf, observeProblems, type PlanChooser} from './choose.js';
import {predict} from './cost_model.js';
import {fastestPlan} from './measure/compare_plans.js';
import {measureProfile} from './measure/probes.js';
import {predictOnce, predictZeros, type PredictModel} from '../tfjs/predict_model.js';
import {
  checkTuneArguments, toProblem, type CheckedOptions, type ProductShape, type SkippedProduct, type TunedProduct,
  type TuneOptions, type TuneReport,
} from './tune_options.js';
import {mergeRecords, productKey, storeTuned, type TuningRecord} from './plan_cache.js';

/** The call before. Two at once would time each other's work. */
let previous: Promise<unknown> = Promise.resolve();

/**
 * Finds the fastest WebGPU programs for a model's N:M products on this GPU, by measuring. From then on predict uses
 * them, and on later visits too (see `cache`); what is known already is not measured again.
 *
 * const {tuned} = await tune(model, {rows: [1, 32]});
 * await tune([{rows: 1, k: 4096, n: 11008, pattern: '8:32v32', dtype: 'float16'}]);
 *
 * Takes about a second for each different product, and GPU memory for one at a time; the user's tensors and backend are
 * left alone, and so are the states of recurrent layers. Calls wait for each other.
 * @param target a LayersModel, a GraphModel or the like, which predicts zeros once to show what it multiplies; or the
 *     products themselves.
 * @returns for each product what was found, or why it was skipped. Bias and activation make no difference to a plan,
 *     so products that differ in these alone are tuned once.
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
  const problems = unique(shapes ?? productsOf(target as PredictModel, checked));
  const turn = previous.then(() =>
    unlessLost('tune', webgpu.device, () => tuneProducts(webgpu, problems, checked)));
  previous = turn.catch(() => undefined);
  return turn;
}

/** One call of tune. */
interface Session {
  webgpu: WebGPUBackend;
  chooser: PlanChooser;
  options: CheckedOptions;
  /** performance.now() after which no measurement is begun. */
  deadline: number;
  /** What was measured so far. */
  found: TuningRecord['plans'];
}

async function tuneProducts(
    webgpu: WebGPUBackend, problems: MatMulProblem[], options: CheckedOptions): Promise<TuneReport> {
  const {cache, maxMs, onProgress} = options;
  const start = performance.now();
  const chooser = chooserOf(webgpu);
  if (cache !== false) {
    await chooser.load(cache);
  }
  const session: Session = {webgpu, chooser, options, deadline: start + maxMs, found: {}};
  const report: TuneReport = {tuned: [], skipped: [], ms: 0};
  // Record the untuned plans now: measuring the device profile below improves the predictions, and the speedup must be
  // reported against what ran before.
  const defaults = problems.map(problem => chooser.ranked(problem)[0].plan);
  try {
    for (const [i, problem] of problems.entries()) {
      const result = await tuneProduct(session, problem, defaults[i])
        .catch((error: Error) => skip(webgpu, problem, error));
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
    // Also after an error: what was measured holds.
    if (cache !== false && Object.keys(session.found).length > 0) {
      const {adapter, profile, isMeasured} = chooser;
      await storeTuned(cache, adapter, {plans: session.found, ...(isMeasured && {profile})}).then(
        place => report.storedIn = place, (error: Error) => report.notStored = error.message);
    }
  }
  report.ms = performance.now() - start;
  return report;
}

/** @throws Error why the product is skipped. */
async function tuneProduct(session: Session, problem: MatMulProblem, untuned: Plan): Promise<TunedProduct> {
  const {webgpu, chooser, options: {again, maxCandidates, maxMs}, deadline} = session;
  const known = chooser.tunedPlan(problem);
  if (!again && known?.tuned.rows === problem.rows) {
    return describeTuned(chooser, problem, {...known.tuned, plan: known.plan, cached: true});
  }
  if (performance.now() >= deadline) {
    throw new Error(`maxMs (${maxMs}) was over before it was reached`);
  }
  if (!chooser.isMeasured) {
    chooser.learn({profile: await measureProfile(webgpu), plans: {}});
  }
  const fastest = await fastestPlan(webgpu, problem, contenders(chooser, problem, untuned, maxCandidates), deadline);
  const {plan, ms, defaultMs} = fastest;
  const record = {plans: {[productKey(problem)]: [{rows: problem.rows, plan: planName(plan), ms, defaultMs}]}};
  chooser.learn(record);
  session.found = mergeRecords({plans: session.found}, record).plans;
  return describeTuned(chooser, problem, {...fastest, cached: false});
}

/** @throws Error if the device is lost: then no other product can be measured. */
async function skip({device}: WebGPUBackend, problem: MatMulProblem, {message}: Error): Promise<SkippedProduct> {
  // The loss may be reported just after the error that it causes.
  await new Promise(resolve => setTimeout(resolve));
  checkDevice('tune', device);
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

/** Each product once, whatever its bias and activation. */
function unique(problems: MatMulProblem[]): MatMulProblem[] {
  return [...new Map(problems.map(problem => [`${problem.rows} ${productKey(problem)}`, problem])).values()];
}

/** The plan that runs untuned, and those predicted fastest. */
function contenders(chooser: PlanChooser, problem: MatMulProblem, untuned: Plan, most: number): Plan[] {
  const others = chooser.ranked(problem).map(({plan}) => plan).filter(plan => planName(plan) !== planName(untuned));
  return [untuned, ...others.slice(0, most - 1)];
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
