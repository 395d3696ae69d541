/**
 * warmUp(): compiles the WebGPU programs of a model before the first predict, and executes each once. predict would
 * compile them one after the other, which makes it slow; warmUp compiles them in parallel.
 *
 * The cost model was fitted to one family of GPUs. On any other, warmUp measures the plans predicted fastest and keeps
 * the winners, as tune() does.
 */
import {unlessLost} from '../../kernels/webgpu/device_loss.js';
import {isWebGPUBackend} from '../../kernels/webgpu/is_webgpu_backend.js';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import type {MatMulProblem} from '../../kernels/webgpu/plan.js';
import {activeBackend, checkActive} from '../tfjs/active_backend.js';
import {compileInParallel} from '../tfjs/compile.js';
import {
  checkInputs, checkModel, predictOnce, predictZeros, type ModelInputs, type PredictModel,
} from '../tfjs/predict_model.js';
import {flush} from '../tfjs/recorder.js';
import {chooserOf, observeProblems, type PlanChooser} from '../tuning/choose.js';
import {loadTuned} from '../tuning/plan_cache.js';
import {measurePlans} from '../tuning/tune.js';
import type {SkippedProduct, TunedProduct} from '../tuning/tune_options.js';
import {checkBoolean, checkCount, checkOptionNames, describeValue} from '../util/options.js';

/** Plans measured for each product on a GPU that the cost model was not fitted to. */
const CANDIDATES = 3;

export interface WarmUpOptions {
  /** As in predict(x, {batchSize}). Without inputs, also the number of samples that are made up; then 1 by default. */
  batchSize?: number;
  /** Whether plans stored by earlier visits are used and measured ones stored, as in tune(). Default true. */
  cache?: boolean;
  /**
   * Time for measuring plans on GPUs of a family that the cost model was not fitted to, in ms; 0 for none. The products
   * predicted to take longest come first. Default 2000.
   */
  measureMs?: number;
}

export interface WarmUpReport {
  /** Duration of the call, in ms. */
  ms: number;
  /** WebGPU programs compiled; 0 on other backends. */
  programs: number;
  /** Products whose plan was measured, now or on an earlier visit; empty if none had to be. */
  tuned: TunedProduct[];
  /** Products that should have been measured but were not, and why. */
  skipped: SkippedProduct[];
}

/**
 * Makes the first predict as fast as later ones: compiles all WebGPU programs of a model's predict in parallel, for
 * inputs of these shapes, then predicts once and drops the result. Waits for stored plans first, and measures plans if
 * the GPU's family is unknown to the cost model. On other backends it only predicts once.
 *
 * ```ts
 * await warmUp(model);                       // one sample
 * await warmUp(model, tf.zeros([8, 784]));   // eight at once
 * ```
 *
 * @param inputs what predict will get; only its shapes matter, and it is not disposed. Default: zeros.
 * @throws Error naming the argument that is wrong, or what predict throws, or if a program does not compile, the
 *     WebGPU device is lost, or another backend becomes the active one meanwhile.
 */
export async function warmUp(
    model: PredictModel, inputs?: ModelInputs, options: WarmUpOptions = {}): Promise<WarmUpReport> {
  checkModel('warmUp', model);
  if (inputs !== undefined) {
    checkInputs('warmUp', inputs);
  }
  const {batchSize, cache, measureMs} = checkOptions(options);
  const active = await activeBackend('warmUp');
  const start = performance.now();
  const run = () => inputs ? predictOnce(model, inputs, batchSize) : predictZeros('warmUp', model, batchSize ?? 1);
  const report: WarmUpReport = {ms: 0, programs: 0, tuned: [], skipped: []};
  if (isWebGPUBackend(active)) {
    await unlessLost('warmUp', active.device, async () => {
      const chooser = chooserOf(active);
      if (cache) {
        await loadTuned(chooser);
      }
      let problems: MatMulProblem[] = [];
      const compile = () => {
        checkActive('warmUp', active);
        return compileInParallel(active, () => problems = observeProblems(run));
      };
      report.programs += await compile();
      if (measureMs > 0 && !chooser.isFitted && problems.length > 0) {
        const {tuned, skipped} = await measure(active, chooser, problems, cache, measureMs);
        Object.assign(report, {tuned, skipped});
      }
      // Compiles the measured plans; and what tfjs ran on the CPU the first time, because its inputs were there.
      report.programs += await compile();
      // The driver prepares a program at its first execution once more.
      checkActive('warmUp', active);
      run();
      flush(active);
      await active.device.queue.onSubmittedWorkDone();
    });
  } else {
    run();
  }
  report.ms = performance.now() - start;
  return report;
}

function measure(
    webgpu: WebGPUBackend, chooser: PlanChooser, problems: MatMulProblem[], cache: boolean, maxMs: number) {
  const predicted = new Map(problems.map(problem => [problem, chooser.explain(problem).prediction.ms]));
  const longestFirst = [...problems].sort((a, b) => predicted.get(b)! - predicted.get(a)!);
  return measurePlans('warmUp', webgpu, longestFirst, {candidates: CANDIDATES, maxMs, cache});
}

function checkOptions(options: WarmUpOptions) {
  checkOptionNames('warmUp', options, ['batchSize', 'cache', 'measureMs'], '{batchSize: 32}');
  const {batchSize, cache = true, measureMs = 2000} = options;
  if (batchSize !== undefined) {
    checkCount('warmUp', 'batchSize', batchSize);
  }
  checkBoolean('warmUp', 'cache', cache);
  if (typeof measureMs !== 'number' || !(measureMs >= 0)) {
    throw new Error(`warmUp: measureMs is ${describeValue(measureMs)}; give milliseconds, 0 to measure nothing.`);
  }
  return {batchSize, cache, measureMs};
}
