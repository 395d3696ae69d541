/**
 * warmUp(): what makes a first predict slow, done before it. On WebGPU that is the compiling of programs, one after the
 * other as predict comes by them; here all of a model's are compiled at once, in parallel.
 */
import {unlessLost} from '../../kernels/webgpu/device_loss.js';
import {isWebGPUBackend} from '../../kernels/webgpu/is_webgpu_backend.js';
import {activeBackend, checkActive} from '../tfjs/active_backend.js';
import {compileInParallel} from '../tfjs/compile.js';
import {
  checkInputs, checkModel, predictOnce, predictZeros, type ModelInputs, type PredictModel,
} from '../tfjs/predict_model.js';
import {chooserOf} from '../tuning/choose.js';
import {checkCache} from '../tuning/tune_options.js';

export interface WarmUpOptions {
  /** As in predict(x, {batchSize}). Where no inputs are given, also how many samples are made up; then 1 by default. */
  batchSize?: number;
  /** Where tune() kept its results, as told to it; false: do not wait for them. Default true. */
  cache?: boolean | string;
}

export interface WarmUpReport {
  /** Milliseconds it took. */
  ms: number;
  /** WebGPU programs compiled; 0 on other backends. */
  programs: number;
}

/**
 * Makes the first predict as fast as the others: compiles all WebGPU programs of a model's predict in parallel, for
 * inputs of just these shapes, after the plans have arrived that tune() kept. On other backends it predicts once and
 * drops the result.
 *
 * await warmUp(model);                       // one sample
 * await warmUp(model, tf.zeros([8, 784]));   // eight at once
 *
 * @param inputs what predict will get, its shapes above all: it is not disposed. Made up of zeros if not given.
 * @throws Error naming the argument that is wrong, or what predict throws, or if a program does not compile, the
 *     WebGPU device is lost, or another backend becomes the active one meanwhile.
 */
export async function warmUp(
    model: PredictModel, inputs?: ModelInputs, options: WarmUpOptions = {}): Promise<WarmUpReport> {
  checkModel('warmUp', model);
  if (inputs !== undefined) {
    checkInputs('warmUp', inputs);
  }
  const {batchSize, cache = true} = checkOptions(options);
  const active = await activeBackend('warmUp');
  const start = performance.now();
  const run = () => inputs ? predictOnce(model, inputs, batchSize) : predictZeros('warmUp', model, batchSize ?? 1);
  let programs = 0;
  if (isWebGPUBackend(active)) {
    const chooser = chooserOf(active);
    const compile = () => {
      checkActive('warmUp', active);
      return compileInParallel(active, run);
    };
    programs = await unlessLost('warmUp', active.device, async () => {
      if (cache !== false) {
        await chooser.load(cache);
      }
      // Twice: tfjs runs some operations on the CPU as long as their inputs are there; the first time uploads them.
      return await compile() + await compile();
    });
  } else {
    run();
  }
  return {ms: performance.now() - start, programs};
}

function checkOptions(options: WarmUpOptions): WarmUpOptions {
  if (options === null || typeof options !== 'object') {
    throw new Error(`warmUp: options is ${String(options)}; give an object such as {batchSize: 32}.`);
  }
  const unknown = Object.keys(options).find(name => name !== 'batchSize' && name !== 'cache');
  if (unknown !== undefined) {
    throw new Error(`warmUp: there is no option '${unknown}'; the options are batchSize, cache.`);
  }
  const {batchSize = 1, cache = true} = options;
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw new Error(`warmUp: batchSize is ${String(batchSize)}; give a whole number of at least 1.`);
  }
  checkCache('warmUp', cache);
  return options;
}
