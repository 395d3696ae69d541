/**
 * One recorded predict: the recording of a model for inputs of certain shapes and dtypes, and the structure of its
 * outputs.
 */
import {engine, env, tidy, type NamedTensorMap, type Tensor} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {isWebGPUBackend} from '../../kernels/webgpu/is_webgpu_backend.js';
import {compileInParallel} from '../tfjs/compile.js';
import {markTracing} from '../tfjs/internals.js';
import {statefulLayers, weightsOf, type PredictModel} from '../tfjs/predict_model.js';
import {Recording, specOf} from '../tfjs/recording.js';
import {checkSize, keepsState, Refusal} from '../tfjs/refusal.js';
import {countSurvivors, onGPU} from '../tfjs/rehearsal.js';
import {trace, type TensorSpec} from '../tfjs/trace.js';
import {chooserOf, type PlanChooser} from '../tuning/choose.js';
import {describeValue} from '../util/options.js';
import type {GivenInputs} from './capture_inputs.js';

/** How outputs are structured: one tensor, a list, or an object with these keys. */
type Structure = 'tensor' | 'list' | string[];

export class RecordedPredict {
  private readonly specs: TensorSpec[];
  private readonly names: readonly string[] | undefined;
  private readonly recording: Recording;
  private readonly structure: Structure;
  private readonly chooser: PlanChooser;
  /** The chooser's, when its plans were recorded. */
  private readonly revision: number;

  /**
   * Predicts once, so that what predict makes only once exists, then records a second predict.
   * @param hasLostData whether tensors that an earlier recording read are disposed.
   * @throws Refusal if the model cannot be recorded, and what predict throws.
   */
  constructor(
      webgpu: WebGPUBackend, model: PredictModel, given: GivenInputs, batchSize: number | undefined,
      hasLostData: boolean) {
    const weights = weightsOf(model);
    checkRecordable(webgpu, model, weights, given);
    this.chooser = chooserOf(webgpu);
    this.revision = this.chooser.revision;
    this.names = given.names;
    this.specs = given.tensors.map(tensor => ({...specOf(webgpu, tensor), shape: [...tensor.shape]}));
    let structure: Structure | undefined;
    const traced = lasting(() => {
      rehearse(webgpu, model, given, batchSize, hasLostData);
      return recordable(hasLostData, () => trace(webgpu, this.specs, tensors => {
        const outputs = listed(given.predict(model, tensors, batchSize));
        ({structure} = outputs);
        return outputs.tensors;
      }));
    });
    this.structure = structure!;
    this.recording = new Recording(webgpu, traced, weights);
  }

  get bytes(): number {
    return this.recording.bytes;
  }

  /** Whether inputs have the names, shapes and dtypes that were recorded. */
  fits(webgpu: WebGPUBackend, {tensors, names}: GivenInputs): boolean {
    const {specs} = this;
    return tensors.length === specs.length && isSame(names, this.names) && specs.every((spec, i) => {
      const {shape, dtype, storedDtype} = specOf(webgpu, tensors[i]);
      return dtype === spec.dtype && storedDtype === spec.storedDtype && isSame(shape, spec.shape);
    });
  }

  /** Whether weights and plans are those that were recorded. */
  isCurrent(): boolean {
    return this.revision === this.chooser.revision && this.recording.isCurrent();
  }

  hasLostData(): boolean {
    return this.recording.hasLostData();
  }

  replay(inputs: readonly Tensor[]): Tensor | Tensor[] | NamedTensorMap {
    const outputs = this.recording.replay(inputs);
    const {structure} = this;
    if (structure === 'tensor') {
      return outputs[0];
    }
    return structure === 'list' ? outputs : Object.fromEntries(structure.map((key, i) => [key, outputs[i]]));
  }

  destroy(): void {
    this.recording.destroy();
  }
}

/**
 * Compiles in parallel what predict will run. Only for models of tfjs: results are garbage meanwhile, which another
 * object might keep.
 * @throws Refusal if the model cannot be recorded, and what predict throws.
 */
export async function compilePredict(
    webgpu: WebGPUBackend, model: PredictModel, given: GivenInputs, batchSize?: number): Promise<void> {
  checkRecordable(webgpu, model, weightsOf(model), given);
  if ('layers' in model || 'modelSignature' in model) {
    const predict = () => tidy(() => {
      given.predict(model, given.tensors.map(tensor => onGPU(webgpu, tensor)), batchSize);
    });
    await compileInParallel(webgpu, () => predictable(predict, false));
  }
}

/** @throws Refusal for what is known before the model runs. */
function checkRecordable(
    webgpu: WebGPUBackend, model: PredictModel, weights: readonly Tensor[], {tensors}: GivenInputs): void {
  if (statefulLayers(model).length > 0) {
    throw keepsState();
  }
  if (engine().state.profiling || env().getBool('DEBUG')) {
    throw new Refusal("tf.profile or tfjs's debug mode is on, which reads every result back; record without.");
  }
  if (weights.some(({isDisposed}) => isDisposed)) {
    throw disposedWeights();
  }
  for (const tensor of tensors) {
    const {dtype, size} = tensor;
    if (dtype === 'string' || dtype === 'complex64') {
      throw new Refusal(`an input is ${describeValue(tensor)}; only tensors that lie in one GPU buffer can be given.`);
    }
    checkSize(size, 'an input');
  }
  checkDevices(webgpu, weights, 'a weight');
}

/** @throws Refusal for tensors on other WebGPU devices. */
export function checkDevices(webgpu: WebGPUBackend, tensors: readonly Tensor[], what: string): void {
  for (const {dataId} of tensors) {
    const home = engine().state.tensorInfo.get(dataId)?.backend;
    if (home !== webgpu && isWebGPUBackend(home)) {
      throw new Refusal(`${what} lies on another WebGPU device, from which tfjs cannot move it; ` +
        'load the model and make the inputs on the active backend.');
    }
  }
}

/**
 * Predicts for real: compiles programs, uploads weights, and makes what the model makes only once.
 * @throws Refusal if each predict leaves tensors behind, and what predict throws.
 */
function rehearse(
    webgpu: WebGPUBackend, model: PredictModel, given: GivenInputs, batchSize: number | undefined,
    hasLostData: boolean): void {
  const predict = () => countSurvivors(webgpu, () => tidy(() => {
    listed(given.predict(model, given.tensors.map(tensor => onGPU(webgpu, tensor)), batchSize));
  }));
  const unmark = markTracing(webgpu); // else interim plans would run
  try {
    if (predictable(predict, hasLostData) > 0 && predictable(predict, hasLostData) > 0) {
      throw keepsState();
    }
  } finally {
    unmark();
  }
}

/** Turns errors of predict into refusals where there is more to say about them. */
function predictable<T>(predict: () => T, hasLostData: boolean): T {
  try {
    return predict();
  } catch (error) {
    if (error instanceof Refusal) {
      throw error;
    }
    const {message} = error as Error;
    if (message.includes('has the dynamic op')) { // GraphExecutor of tfjs-converter 4.22
      throw new Refusal(`the graph has control flow or outputs of unknown shape; run model.executeAsync. (${message})`,
        {cause: error});
    }
    throw hasLostData ? disposedWeights(error) : error;
  }
}

/** Marks refusals that lie in the model. */
function lasting<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof Refusal) {
      error.isLasting = true;
    }
    throw error;
  }
}

function disposedWeights(cause?: unknown): Refusal {
  const why = cause === undefined ? '' : ` (${(cause as Error).message})`;
  return new Refusal(`weights of the model are disposed; load the model again and capture that${why}.`, {cause});
}

/** Turns errors of a predict that worked before into refusals. */
function recordable<T>(hasLostData: boolean, run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof Refusal) {
      throw error;
    }
    throw hasLostData ? disposedWeights(error) : new Refusal(
      `the model cannot be recorded: ${(error as Error).message}; run model.predict.`, {cause: error});
  }
}

/** @throws Refusal if these are no outputs. */
function listed(outputs: unknown): {tensors: Tensor[]; structure: Structure} {
  if (isTensor(outputs)) {
    return {tensors: [outputs], structure: 'tensor'};
  }
  const isObject = typeof outputs === 'object' && outputs !== null;
  const tensors: unknown[] = isObject ? Object.values(outputs) : [];
  if (tensors.length === 0 || !tensors.every(isTensor)) {
    throw new Refusal(`model.predict returns ${describeValue(outputs)}; only tensors, lists of them, and objects of ` +
      'them by name can be recorded.');
  }
  return {tensors, structure: Array.isArray(outputs) ? 'list' : Object.keys(outputs as object)};
}

function isTensor(value: unknown): value is Tensor {
  return typeof value === 'object' && value !== null && 'dataId' in value;
}

function isSame<T>(a: readonly T[] | undefined, b: readonly T[] | undefined): boolean {
  return a === b ||
    (a !== undefined && b !== undefined && a.length === b.length && a.every((each, i) => each === b[i]));
}
