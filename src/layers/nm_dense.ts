/**
 * NMDense: tf.layers.dense with an N:M-sparse kernel. pruneLayersModel replaces Dense layers by it.
 *
 * It extends Dense, so config, initializers, regularizers, constraints, shapes and masks are those of Dense, and saved
 * models stay ordinary layers models. Only its weights and its product differ. tfjs-layers exports a factory, not the
 * class; the class comes from the serialization registry, under the name that saved models use.
 *
 * With float32 storage, `values` is trainable. An update changes only kept weights, so zeros stay zeros. With float16
 * storage, `values` holds packed words and is frozen: the form to save, download and predict with.
 */
import {
  engine, serialization, tensor2d, tidy, zeros, type DataType, type Tensor, type Tensor1D, type Tensor2D,
} from '@tensorflow/tfjs-core';
import type {layers, LayerVariable} from '@tensorflow/tfjs-layers';
import '@tensorflow/tfjs-layers';
import {ACTIVATIONS, type FusedActivation} from '../../kernels/contract.js';
import {isWebGPUBackend} from '../../kernels/webgpu/is_webgpu_backend.js';
import {spacedOffsets} from '../format/choose_rows.js';
import {NMSparseMatrix, partShapes} from '../format/nm_sparse_matrix.js';
import {checkDtype, STORAGE, type StorageDtype} from '../format/storage.js';
import {packIndices} from '../format/pack.js';
import {
  formatPattern, groupCount, keptRowCount, parsePattern, type NMPattern, type PatternLike,
} from '../format/pattern.js';
import {checkIndices} from '../format/validate.js';
import {nmSparseMatMul} from '../ops/nm_sparse_mat_mul.js';
import {checkOptionNames, describeValue} from '../util/options.js';
import {assignWeight} from './assign_weight.js';

type DenseArgs = Parameters<typeof layers.dense>[0];
type Initializer = Parameters<layers.Layer['addWeight']>[3];

export interface NMDenseArgs extends Omit<DenseArgs, 'dtype'> {
  /** '8:32v32', '2:4' or `{n, m, vectorLength?}`. */
  pattern: PatternLike;
  /**
   * How the kept values are stored, as in {@link compress}. Default 'float32'; 'float16' halves them again and freezes
   * them: it holds what was trained before, and a fresh layer is all zeros.
   */
  dtype?: StorageDtype;
  /** The same as dtype, by the name that saved models have for it. */
  storage?: StorageDtype;
}

/** What NMDense uses of the class Dense. */
interface DenseLayer extends layers.Layer {
  units: number;
  useBias: boolean;
  bias: LayerVariable | null;
  activation: {apply(x: Tensor): Tensor; getClassName(): string};
  kernelInitializer: Initializer;
  biasInitializer: Initializer;
  kernelRegularizer: Parameters<layers.Layer['addWeight']>[4];
  biasRegularizer: Parameters<layers.Layer['addWeight']>[4];
  biasConstraint: Parameters<layers.Layer['addWeight']>[6];
}

const ARG_NAMES: readonly string[] = [
  'pattern', 'dtype', 'storage',
  // tf.layers.dense's own
  'units', 'activation', 'useBias', 'kernelInitializer', 'biasInitializer', 'inputDim', 'kernelConstraint',
  'biasConstraint', 'kernelRegularizer', 'biasRegularizer', 'activityRegularizer',
  // any layer's
  'inputShape', 'batchInputShape', 'batchSize', 'name', 'trainable', 'weights', 'inputDType',
];

/** Calls of fit, by the object that tfjs hands to every layer, of which a layer stored as float16 has warned. */
const warnedCalls = new WeakSet<object>();

const Dense = serialization.SerializationMap.getMap().classNameMap['Dense'][0] as unknown as
    new (args: DenseArgs) => DenseLayer;

/** Activations that the kernel applies itself; prelu and leakyrelu are layers of their own in tfjs-layers. */
const FUSED: readonly string[] = ACTIVATIONS.filter(name => name !== 'prelu' && name !== 'leakyrelu');

/** Use {@link nmDense}, or pruneLayersModel. Weights: `values`, `bias` (if any), `indices`; see docs/format.md. */
export class NMDense extends Dense {
  /** The name saved models know this class by. */
  static readonly className = 'NMDense';
  readonly pattern: NMPattern;
  readonly storage: StorageDtype;
  private values: LayerVariable | null = null;
  private indices: LayerVariable | null = null;
  private k = 0;
  private mayWarn = true;

  /** Also called with saved configurations, which may hold fields of other versions: unknown fields are ignored. */
  constructor(args: NMDenseArgs) {
    const {pattern, dtype, storage, ...denseArgs} = args;
    // A saved configuration has both: there `dtype` is the input's, as in every layer of tfjs.
    const [name, stored] = storage === undefined ? ['dtype', dtype ?? 'float32'] : ['storage', storage];
    checkDtype('nmDense', stored, name);
    const parsed = parsePattern(pattern);
    super((storage === undefined ? denseArgs : {...denseArgs, dtype}) as DenseArgs);
    this.pattern = parsed;
    this.storage = stored as StorageDtype;
  }

  override build(inputShape: Parameters<layers.Layer['build']>[0]): void {
    if (this.values === null) {
      const shape = (Array.isArray(inputShape[0]) ? inputShape[0] : inputShape) as number[];
      this.k = shape[shape.length - 1];
      if (!(this.k >= 1)) {
        throw new Error(
          `NMDense '${this.name}': the input has shape [${shape.map(String)}]; its last dimension must be known.`);
      }
      const {pattern, storage, units} = this;
      const parts = partShapes([this.k, units], pattern, storage);
      const keptIndices = constantInitializer(() => spacedIndices([this.k, units], pattern));
      if (!STORAGE[storage].trainable) {
        // The values come from a file or a conversion, because they cannot be trained in this form.
        this.values = this.addWeight(
          'values', parts.values, STORAGE[storage].tensorDtype, zerosInitializer, undefined, false);
      } else {
        // Without kernelConstraint: tfjs applies it when weights are written, as loading does, and it is meant for the
        // dense kernel. On kept values alone minMaxNorm and unitNorm would scale up what pruning left.
        this.values = this.addWeight(
          'values', parts.values, 'float32', this.kernelInitializer, this.kernelRegularizer, true);
      }
      if (this.useBias) {
        this.bias = this.addWeight(
          'bias', [units], 'float32', this.biasInitializer, this.biasRegularizer, true, this.biasConstraint);
      }
      this.indices = this.addWeight('indices', parts.indices, 'int32', keptIndices, undefined, false);
      this.checkWrites(this.indices);
      this.inputSpec = [{minNDim: 2, axes: {[-1]: this.k}}];
    }
    this.built = true;
  }

  override call(inputs: Tensor | Tensor[], kwargs: Parameters<layers.Layer['call']>[1]): Tensor {
    return tidy(() => {
      this.invokeCallHook(inputs, kwargs);
      this.warnIfTrained(kwargs);
      const x = Array.isArray(inputs) ? inputs[0] : inputs;
      const activation = this.fusedActivation();
      const y = nmSparseMatMul(x, this.matrix(), {
        activation: activation ?? 'linear',
        ...(this.bias ? {bias: this.bias.read() as Tensor1D} : {}),
      });
      return activation ? y : this.activation.apply(y);
    });
  }

  /** The activation that the kernel applies itself; undefined if an op of its own follows. */
  fusedActivation(): FusedActivation | undefined {
    const name = this.activation.getClassName();
    return FUSED.includes(name) ? name as FusedActivation : undefined;
  }

  /** Says once for a model that fit trains none of its values stored as float16. */
  private warnIfTrained(kwargs: Parameters<layers.Layer['call']>[1]): void {
    const training = kwargs?.training === true && engine().state.gradientDepth > 0;
    if (!training || STORAGE[this.storage].trainable || !this.trainable || !this.mayWarn) {
      return;
    }
    this.mayWarn = false;
    if (!warnedCalls.has(kwargs)) {
      warnedCalls.add(kwargs);
      console.warn(`NMDense '${this.name}': values stored as ${this.storage} are not trained, in this layer and all ` +
          "like it. To train them, convert with pruneLayersModel(model, {pattern, dtype: 'float32'}), train, and " +
          `convert back with dtype '${this.storage}'.`);
    }
  }

  /**
   * Loading a model writes its weights without asking the layer, and a wrong offset would go unnoticed on a GPU; so
   * each write of indices is looked at first, and a corrupt file is refused while it is loaded.
   */
  private checkWrites(indices: LayerVariable): void {
    const write = indices.write.bind(indices);
    indices.write = value => {
      const words = dataAtHand(value);
      if (words) {
        checkIndices(words, [this.k, this.units], this.pattern, `NMDense '${this.name}'`);
      }
      return write(value);
    };
  }

  override getConfig(): serialization.ConfigDict {
    return {...super.getConfig(), pattern: formatPattern(this.pattern), storage: this.storage};
  }

  /**
   * The kernel W [k, units] in its compressed form, as nmSparseMatMul and decompress take it:
   * `decompress(layer.matrix())` is the dense kernel.
   * @returns a view of the layer's own weights: do not dispose it. It shows what training changes.
   * @throws Error if the layer is not built yet, or is disposed.
   */
  matrix(): NMSparseMatrix {
    if (!this.values || !this.indices) {
      throw new Error(`NMDense '${this.name}': the layer is not built yet, so it has no weights.`);
    }
    return new NMSparseMatrix({
      values: this.values.read() as Tensor2D,
      indices: this.indices.read() as Tensor2D,
      pattern: this.pattern,
      shape: [this.k, this.units],
      dtype: this.storage,
    });
  }

  /**
   * Sets the layer's weights from a compressed kernel W [k, units], exactly: constraints are not applied. The caller
   * still disposes its own tensors.
   * @param matrix of the layer's shape, pattern and dtype, as `compress(W, {pattern, dtype})` returns it.
   * @param bias float32 [units]. Left out, the layer's bias stays as it is.
   * @throws Error if the matrix or the bias does not fit the layer, or the layer is not built yet. The weights are then
   *     as they were.
   */
  setMatrix(matrix: NMSparseMatrix, bias?: Tensor): void {
    const fail = (why: string): never => {
      throw new Error(`NMDense '${this.name}': setMatrix got ${why}.`);
    };
    const own = this.matrix();
    if (!(matrix instanceof NMSparseMatrix)) {
      fail(`${describeValue(matrix)}; give an NMSparseMatrix, as compress() returns it`);
    }
    // tfjs compares the tensors' shapes, which several patterns have in common.
    const [given, wanted] = [matrix, own].map(({shape, pattern, dtype}) =>
      `a ${formatPattern(pattern)} matrix of shape [${shape}] stored as ${dtype}`);
    if (given !== wanted) {
      fail(`${given}; the layer takes ${wanted}`);
    }
    if (matrix.values.isDisposed || matrix.indices.isDisposed) {
      fail('a matrix that is disposed');
    }
    if (bias !== undefined && (!this.bias || bias?.dtype !== 'float32' || bias.shape.length !== 1 ||
        bias.size !== this.units || bias.isDisposed)) {
      fail(`the bias ${describeValue(bias)}; the layer ${this.bias ? `takes float32 [${this.units}]` : 'has no bias'}`);
    }
    assignWeight(this.indices!, matrix.indices); // first, because it may refuse corrupt offsets
    assignWeight(this.values!, matrix.values);
    if (bias) {
      assignWeight(this.bias!, bias);
    }
  }
}
serialization.registerClass(NMDense as unknown as Parameters<typeof serialization.registerClass>[0]);

/**
 * A Dense layer with an N:M-sparse kernel: `y = activation(x · W + bias)`, x [.., k] → y [.., units].
 *
 * ```ts
 * model.add(layers.nmDense({units: 512, pattern: '8:32v32', activation: 'relu'}));
 * ```
 *
 * Trained from scratch, the kept rows are spread evenly and stay as they are. Takes the arguments of tf.layers.dense,
 * with these differences: `dtype` says how values are stored; kernelInitializer and kernelRegularizer act on the kept
 * values [kept rows, units]; kernelConstraint is kept in the configuration but not applied; and `weights` are values,
 * bias, indices.
 * @throws Error if the pattern or the dtype is not one, or an argument is unknown.
 */
export function nmDense(args: NMDenseArgs): NMDense {
  checkOptionNames('nmDense', args, ARG_NAMES, "{units: 64, pattern: '2:4'}");
  const {dtype, storage = dtype ?? 'float32', ...others} = args;
  if (dtype !== undefined && dtype !== storage) {
    throw new Error(
      `nmDense: dtype is ${describeValue(dtype)}, but storage is ${describeValue(storage)}; give dtype alone.`);
  }
  checkDtype('nmDense', storage, dtype === undefined ? 'storage' : 'dtype');
  return new NMDense({...others, storage});
}

/**
 * A tensor's words, if they can be read without waiting. On WebGPU a tensor on the GPU cannot be read synchronously.
 * A tensor from a file is not there yet; any other came from a layer that was checked.
 */
function dataAtHand(tensor: Tensor): Int32Array | undefined {
  // Where the tensor lies decides, not which backend is active.
  const backend = engine().state.tensorInfo.get(tensor.dataId)?.backend;
  if (isWebGPUBackend(backend)) {
    return backend.tensorMap.get(tensor.dataId).values as Int32Array | null ?? undefined;
  }
  // eslint-disable-next-line no-restricted-syntax -- synchronous reading is what the other backends can do
  return tensor.dataSync() as Int32Array;
}

/** An initializer, for addWeight, that ignores shape and dtype and returns `make()`. */
function constantInitializer(make: () => Tensor): Initializer {
  return {apply: (_shape: number[], _dtype?: DataType) => make()} as unknown as Initializer;
}

const zerosInitializer = {
  apply: (shape: number[], dtype?: DataType) => zeros(shape, dtype),
} as unknown as Initializer;

/** Packed offsets of evenly spaced kept rows. */
function spacedIndices([k, n]: [number, number], pattern: NMPattern): Tensor2D {
  const words = packIndices(spacedOffsets([k, n], pattern), groupCount(n, pattern), keptRowCount(k, pattern), pattern);
  return tensor2d(words, partShapes([k, n], pattern, 'float32').indices, 'int32');
}
