/**
 * captureModel(): records the WebGPU dispatches of one predict and replays them. tfjs spends 20 to 70 µs of host time
 * on every program; a replay spends three calls on it.
 */
import {engine, env, type NamedTensorMap, type Tensor} from '@tensorflow/tfjs-core';
import {checkDevice, unlessLost} from '../../kernels/webgpu/device_loss.js';
import {isWebGPUBackend} from '../../kernels/webgpu/is_webgpu_backend.js';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {activeBackend, checkActive} from '../tfjs/active_backend.js';
import {checkInputs, checkModel, zeroInputs, type ModelInputs, type PredictModel} from '../tfjs/predict_model.js';
import {makeReadsPrompt} from '../tfjs/prompt_read.js';
import {Refusal} from '../tfjs/refusal.js';
import {isTracing} from '../tfjs/internals.js';
import {chooserOf} from '../tuning/choose.js';
import {checkBoolean, checkCount, checkOptionNames} from '../util/options.js';
import {givenInputs, type GivenInputs} from './capture_inputs.js';
import {checkDevices, compilePredict, RecordedPredict} from './capture_predict.js';

/** What predict of a model returns. */
export type ModelOutputs = Tensor | Tensor[] | NamedTensorMap;

export interface CaptureOptions {
  /** As in predict(x, {batchSize}). A LayersModel cuts its inputs in batches of 32 by default. */
  batchSize?: number;
  /** Number of input shapes whose recordings are kept; the least recently used goes first. Default 4. */
  maxShapes?: number;
  /** Whether predict runs model.predict, with one warning, where no recording is possible. Default false: an Error. */
  fallback?: boolean;
}

/** A model whose predict replays recordings. */
export interface CapturedModel<Outputs = ModelOutputs> {
  /**
   * Predicts as the model does, bit for bit. Inputs of new shapes or dtypes are recorded first, and so are all after
   * the model's weights have changed.
   * @param inputs on the CPU or on the GPU; they are not disposed.
   * @returns new tensors, which belong to the caller, structured as model.predict returns them.
   * @throws Error if inputs or weights are disposed, if the device is lost, or if the model cannot be recorded.
   */
  predict(inputs: ModelInputs): Outputs;
  /** Bytes of GPU memory that belong to the recordings. Weights are not among them. */
  readonly bytes: number;
  /** Frees the recordings, not the model. Later predicts throw. */
  dispose(): void;
}

/** What predict of this model returns, as far as its type says. */
type OutputsOf<M extends PredictModel> =
  unknown extends ReturnType<M['predict']> ? ModelOutputs : ReturnType<M['predict']>;

type Options = Required<Pick<CaptureOptions, 'maxShapes' | 'fallback'>> & CaptureOptions;

/**
 * Records the dispatches of one predict, so that later predicts replay them in one pass. Outputs are bit-identical
 * to those of model.predict on inputs that lie on the GPU.
 *
 * ```ts
 * const captured = await captureModel(model, tf.zeros([1, 784]));
 * const y = captured.predict(x);   // as model.predict(x)
 * captured.dispose();
 * ```
 *
 * A recording repeats the dispatches; it does not run the model's JavaScript. Weights that change (fit, setWeights,
 * assign) are noticed, and so are plans (tune). Whatever else the JavaScript depends on must stay as it was.
 *
 * @param model a tf.LayersModel, a tf.GraphModel, or an object with the same predict.
 * @param example inputs of the shapes and dtypes to record; not disposed. Default: zeros, as one sample or batchSize.
 * @throws Error naming the argument that is wrong, or what predict throws; unless `fallback` is true, also if the
 *     active backend is not WebGPU, if its device is lost, or if the model cannot be recorded: it reads results back,
 *     draws random numbers, keeps state, or uses strings, complex numbers, images, or tensors without elements.
 */
export async function captureModel<M extends PredictModel>(
    model: M, example?: ModelInputs, options: CaptureOptions = {}): Promise<CapturedModel<OutputsOf<M>>> {
  checkModel('captureModel', model);
  if (example !== undefined) {
    checkInputs('captureModel', example, 'example');
  }
  const checked = checkOptions(options);
  const active = await activeBackend('captureModel');
  const captured = new Captured(model, active, checked);
  const inputs = example ?? zeroInputs('captureModel', model, checked.batchSize ?? 1);
  try {
    await captured.prepare(inputs);
  } finally {
    if (example === undefined) {
      (inputs as Tensor[]).forEach(each => each.dispose());
    }
  }
  return captured as CapturedModel<unknown> as CapturedModel<OutputsOf<M>>;
}

class Captured implements CapturedModel {
  /** The most recently used first. */
  private recorded: RecordedPredict[] = [];
  private isDisposed = false;
  private hasWarned = false;
  /** Why the model cannot be recorded. */
  private refusal: Refusal | undefined;
  private endPromptReads = () => undefined as void;

  constructor(
    private readonly model: PredictModel,
    /** The backend that was active at capture. */
    private readonly backend: unknown,
    private readonly options: Options,
  ) {}

  get bytes(): number {
    return this.recorded.reduce((sum, {bytes}) => sum + bytes, 0);
  }

  /** Records the first predict. */
  async prepare(inputs: ModelInputs): Promise<void> {
    const {backend, model, options} = this;
    try {
      if (!isWebGPUBackend(backend)) {
        throw new Refusal(`the active backend is '${engine().backendName}', and only WebGPU can be recorded; ` +
          "await tf.setBackend('webgpu') first.");
      }
      await unlessLost('captureModel', backend.device, async () => {
        await chooserOf(backend).loading; // the tuned plans
        checkActive('captureModel', backend);
        const given = givenInputs('captureModel', inputs);
        await compilePredict(backend, model, given, options.batchSize);
        checkActive('captureModel', backend);
        this.recordingFor(given);
      });
      this.endPromptReads = makeReadsPrompt(backend);
    } catch (error) {
      this.checkFallback(error);
    }
  }

  predict(inputs: ModelInputs): ModelOutputs {
    if (this.isDisposed) {
      throw new Error('predict: the captured model is disposed; capture the model again.');
    }
    const given = givenInputs('predict', inputs);
    const {backend} = this;
    // Becomes part of another recording, or of what warmUp compiles.
    if (isWebGPUBackend(backend) && (isTracing(backend) || env().getBool('WEBGPU_ENGINE_COMPILE_ONLY'))) {
      return this.predictUncaptured(given);
    }
    try {
      return this.recordingFor(given).replay(given.tensors);
    } catch (error) {
      this.checkFallback(error);
      return this.predictUncaptured(given);
    }
  }

  dispose(): void {
    this.isDisposed = true;
    this.recorded.forEach(each => each.destroy());
    this.recorded = [];
    this.endPromptReads();
  }

  private predictUncaptured(given: GivenInputs): ModelOutputs {
    return given.predict(this.model, given.tensors, this.options.batchSize) as ModelOutputs;
  }

  /** Finds the recording of these inputs, or makes it. */
  private recordingFor(given: GivenInputs): RecordedPredict {
    const {backend, recorded, model, options} = this;
    if (engine().backend !== backend) {
      throw new Refusal(`the active backend is '${engine().backendName}', not the one on which the model was ` +
        'captured; set that one again, or capture the model again.');
    }
    if (!isWebGPUBackend(backend)) {
      throw new Refusal('the model was captured on another backend than WebGPU.');
    }
    checkDevice('predict', backend.device);
    if (engine().state.gradientDepth > 0) {
      throw new Refusal('a recording has no gradient; run model.predict where gradients are computed.');
    }
    checkDevices(backend, given.tensors, 'an input');
    const found = recorded.findIndex(each => each.fits(backend, given));
    if (found >= 0 && recorded[found].isCurrent()) {
      if (found > 0) {
        recorded.unshift(...recorded.splice(found, 1));
      }
      return recorded[0];
    }
    const outdated = found >= 0 ? recorded.splice(found, 1)[0] : undefined;
    const hasLostData = outdated?.hasLostData() ?? false;
    outdated?.destroy();
    if (this.refusal) {
      throw this.refusal;
    }
    try {
      recorded.unshift(new RecordedPredict(backend, model, given, options.batchSize, hasLostData));
    } catch (error) {
      this.refusal = error instanceof Refusal && error.isLasting ? error : undefined;
      throw error;
    }
    recorded.splice(options.maxShapes).forEach(each => each.destroy());
    return recorded[0];
  }

  /** @throws the error, unless it is a refusal or a loss of the device and `fallback` is set. */
  private checkFallback(error: unknown): void {
    if (!(error instanceof Refusal || this.isLost()) || !this.options.fallback) {
      throw error;
    }
    if (!this.hasWarned) {
      this.hasWarned = true;
      console.warn(`${(error as Error).message} (fallback: predict runs model.predict)`);
    }
  }

  private isLost(): boolean {
    try {
      checkDevice('captureModel', (this.backend as WebGPUBackend).device);
      return false;
    } catch {
      return true;
    }
  }
}

function checkOptions(options: CaptureOptions): Options {
  checkOptionNames('captureModel', options, ['batchSize', 'maxShapes', 'fallback'], '{batchSize: 32}');
  const {batchSize, maxShapes = 4, fallback = false} = options;
  if (batchSize !== undefined) {
    checkCount('captureModel', 'batchSize', batchSize);
  }
  checkCount('captureModel', 'maxShapes', maxShapes);
  checkBoolean('captureModel', 'fallback', fallback);
  return {batchSize, maxShapes, fallback};
}
