/**
 * NMDense: tf.layers.dense with an N:M-sparse kernel. The layer that pruneLayersModel puts where Dense was.
 *
 * It extends Dense, so that config, initializers, regularizers, constraints, shapes and masks are Dense's own and saved
 * models stay ordinary ones; what differs is which weights it builds and how it multiplies. tfjs-layers does not export
 * the class, only a factory; the serialization registry gives it, by the name that saved models use.
 *
 * float32 storage has its `values` trainable: an update touches kept weights alone, so zeros stay zeros. float16
 * storage has them frozen, as packed words: the form to save, download and predict with.
 */
import {
  engine, serialization, tensor2d, tidy, zeros, type DataType, type Tensor, type Tensor1D, type Tensor2D,
} from '@tensorflow/tfjs-core';
import type {layers, LayerVariable} from '@tensorflow/tfjs-layers';
import '@tensorflow/tfjs-layers';
import {ACTIVATIONS, type FusedActivation} from '../../kernels/contract.js';
import {isWebGPUBackend} from '../../kernels/webgpu/is_webgpu_backend.js';
import {NMSparseMatrix, partShapes, type StorageDtype} from '../format/nm_sparse_matrix.js';
import {packIndices} from '../format/pack.js';
import {
  formatPattern, groupCount, keptRowCount, parsePattern, type NMPattern, type PatternLike,
} from '../format/pattern.js';
import {checkIndices} from '../format/validate.js';
import {nmSparseMatMul} from '../ops/nm_sparse_mat_mul.js';
import {assignWeight} from './assign_weight.js';

type DenseArgs = Parameters<typeof layers.dense>[0];
type Initializer = Parameters<layers.Layer['addWeight']>[3];

export interface NMDenseArgs extends DenseArgs {
  /** '8:32v32', '2:4' or `{n, m, vectorLength?}`. */
  pattern: PatternLike;
  /**
   * How `values` are stored. Default 'float32'; 'float16' halves them again and freezes them: it holds what was trained
   * before, and a fresh layer is all zeros.
   */
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
  kernelConstraint: Parameters<layers.Layer['addWeight']>[6];
  biasConstraint: Parameters<layers.Layer['addWeight']>[6];
}

const Dense = serialization.SerializationMap.getMap().classNameMap['Dense'][0] as unknown as
    new (args: DenseArgs) => DenseLayer;

/** Activations of tfjs-layers that the kernel applies itself; prelu and leakyrelu are layers of their own there. */
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

  constructor(args: NMDenseArgs) {
    const {pattern, storage = 'float32', ...denseArgs} = args;
    if (storage !== 'float32' && storage !== 'float16') {
      throw new Error(`nmDense: storage is '${String(storage)}'; give 'float32' or 'float16'.`);
    }
    const parsed = parsePattern(pattern);
    super(denseArgs as DenseArgs);
    this.pattern = parsed;
    this.storage = storage;
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
      const keptIndices = constantInitializer(() => spreadIndices([this.k, units], pattern));
      if (storage === 'float16') {
        // Trained values come from a file or a conversion: there is no training them in this form.
        this.values = this.addWeight('values', parts.values, 'int32', zerosInitializer, undefined, false);
      } else {
        // Without kernelConstraint: it is meant for the dense kernel, and tfjs would project the kept values by it
        // whenever they are loaded (tfjs-layers 4.22, src/variables.ts), though never in training.
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
      const x = Array.isArray(inputs) ? inputs[0] : inputs;
      const name = this.activation.getClassName();
      const fused = FUSED.includes(name);
      const y = nmSparseMatMul(x, this.matrix(), {
        activation: fused ? name as FusedActivation : 'linear',
        ...(this.bias ? {bias: this.bias.read() as Tensor1D} : {}),
      });
      return fused ? y : this.activation.apply(y);
    });
  }

  /**
   * Loading a model writes its weights without asking the layer, and a wrong offset would go unnoticed on a GPU; so
   * each write of indices is looked at first, and a corrupt file is refused while it is loaded.
   */
  private checkWrites(indices: LayerVariable): void {
    const write = indices.write.bind(indices);
    indices.write = value => {
      const words = dataAtHand(value);
      try {
        if (words) {
          checkIndices(words, [this.k, this.units], this.pattern);
        }
      } catch (error) {
        const why = (error as Error).message.replace(/^checkIndices: /, '');
        throw new Error(`NMDense '${this.name}': ${why}`, {cause: error});
      }
      return write(value);
    };
  }

  override getConfig(): serialization.ConfigDict {
    return {...super.getConfig(), pattern: formatPattern(this.pattern), storage: this.storage};
  }

  /** The kernel in its compressed form: a view of the layer's own weights, not to be disposed. */
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
   * Takes over the weights of a compressed kernel; copies them, so the caller still disposes its own.
   * @throws Error if the matrix is of another shape, pattern or storage than the layer's, or the layer is not built.
   */
  setMatrix(matrix: NMSparseMatrix, bias?: Tensor): void {
    // tfjs compares the tensors' shapes, which several patterns have in common.
    const [given, own] = [matrix, this.matrix()].map(({shape, pattern, dtype}) =>
      `a ${formatPattern(pattern)} matrix of shape [${shape}] stored as ${dtype}`);
    if (given !== own) {
      throw new Error(`NMDense '${this.name}': setMatrix got ${given}; the layer takes ${own}.`);
    }
    assignWeight(this.indices as LayerVariable, matrix.indices);
    assignWeight(this.values as LayerVariable, matrix.values);
    if (bias && this.bias) {
      assignWeight(this.bias, bias);
    }
  }
}
serialization.registerClass(NMDense as unknown as Parameters<typeof serialization.registerClass>[0]);

/**
 * A Dense layer with an N:M-sparse kernel: `y = activation(x · W + bias)`, x [.., k] → y [.., units].
 *
 * model.add(layers.nmDense({units: 512, pattern: '8:32v32', activation: 'relu'}));
 *
 * Trained from scratch, the kept rows are spread evenly and stay as they are. Takes the arguments of tf.layers.dense,
 * with three differences: kernelInitializer and kernelRegularizer act on the kept values [kept rows, units],
 * kernelConstraint is saved with the layer but not applied, and `weights` are values, bias, indices.
 * @throws Error if the pattern or the storage is not one.
 */
export function nmDense(args: NMDenseArgs): NMDense {
  if (args === null || typeof args !== 'object') {
    throw new Error("nmDense: the arguments are missing; give at least {units, pattern: '2:4'}.");
  }
  return new NMDense(args);
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

/** addWeight wants something with `apply`; these two give constants. */
function constantInitializer(make: () => Tensor): Initializer {
  return {apply: (_shape: number[], _dtype?: DataType) => make()} as unknown as Initializer;
}

const zerosInitializer = {
  apply: (shape: number[], dtype?: DataType) => zeros(shape, dtype),
} as unknown as Initializer;

/** Evenly spaced kept rows, shifted by one from group to group: every input feeds about N/M of the outputs. */
function spreadIndices([k, n]: [number, number], pattern: NMPattern): Tensor2D {
  const keptRows = keptRowCount(k, pattern);
  const groups = groupCount(n, pattern);
  const offsets = new Uint8Array(groups * keptRows);
  for (let group = 0; group < groups; ++group) {
    for (let first = 0; first < keptRows; first += pattern.n) {
      const rows = Math.min(pattern.m, k - (first / pattern.n) * pattern.m);
      const kept = Math.min(pattern.n, rows);
      const chosen = Array.from({length: kept}, (_, i) => (Math.floor((i * rows) / kept) + group) % rows);
      offsets.set(chosen.sort((a, b) => a - b), group * keptRows + first);
    }
  }
  const words = packIndices(offsets, groups, keptRows, pattern);
  return tensor2d(words, partShapes([k, n], pattern, 'float32').indices, 'int32');
}
