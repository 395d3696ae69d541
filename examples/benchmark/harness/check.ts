/**
 * No figure counts before its result does: sampled outputs of a product against sums in float64. Only the samples leave
 * the GPU, and what they are made of is computed anew (data.ts), so a product of any size is checked in milliseconds.
 */
import {dispose, engine, tensor1d, type Tensor} from '@tensorflow/tfjs-core';
import type {WebGPUBackend, WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {hash, visitColumn, xAt, type MatrixSpec} from './data.js';

const SAMPLES = 128;
/** Of the samples, one in so many lies in the last row, and one in the last column: where tiles are cut off. */
const EDGE_EVERY = 8;
/** Any stream of its own. */
const PLACES = 3 * 2 ** 30;

/** What sampled outputs should be. */
export interface Reference {
  /** Their places in y, flat. */
  positions: Int32Array;
  /** Sums in float64, and the sums of the magnitudes added. */
  sums: Float64Array;
  magnitudes: Float64Array;
}

/** tf.gather would do, were its int32 positions not rounded above 2^24: `positions[i]` as it stands is exact. */
class GatherProgram implements WebGPUProgram {
  readonly outputShape = [SAMPLES];
  readonly dispatchLayout = {x: [0]};
  readonly workgroupSize: [number, number, number] = [64, 1, 1];
  readonly dispatch: [number, number, number] = [SAMPLES / this.workgroupSize[0], 1, 1];
  readonly variableNames = ['source', 'positions'];
  readonly size = true;
  readonly shaderKey = 'benchmarkGather';

  getUserCode(): string {
    return `
      fn main(index : i32) {
        if (index < uniforms.size) {
          result[index] = f32(source[positions[index]]);
        }
      }`;
  }
}

/** Of y = x · W with `rowCount` rows: the corners, some of the last row and of the last column, the rest anywhere. */
export function referenceOf(rowCount: number, matrix: MatrixSpec): Reference {
  const [k, colCount] = matrix.shape;
  const reference = {
    positions: new Int32Array(SAMPLES), sums: new Float64Array(SAMPLES), magnitudes: new Float64Array(SAMPLES),
  };
  for (let i = 0; i < SAMPLES; ++i) {
    const row =
      i < 4 ? (i >> 1) * (rowCount - 1) : i % EDGE_EVERY === 0 ? rowCount - 1 : hash(2 * i, PLACES) % rowCount;
    const col =
      i < 4 ? (i & 1) * (colCount - 1) : i % EDGE_EVERY === 1 ? colCount - 1 : hash(2 * i + 1, PLACES) % colCount;
    reference.positions[i] = row * colCount + col;
    visitColumn(matrix, col, (depth, value) => {
      const product = xAt(row * k + depth) * value;
      reference.sums[i] += product;
      reference.magnitudes[i] += Math.abs(product);
    });
  }
  return reference;
}

/** The largest error of the sampled outputs, relative to the magnitudes added: float32 rounding is some 1e-7. */
export async function largestError(backend: WebGPUBackend, y: Tensor, reference: Reference): Promise<number> {
  const positions = tensor1d(reference.positions, 'int32');
  const gathered = engine().makeTensorFromTensorInfo(
    backend.runWebGPUProgram(new GatherProgram(), [y, positions], 'float32'));
  const values = await gathered.data() as Float32Array;
  dispose([positions, gathered]);
  return values.reduce((worst, value, i) => {
    const error = Math.abs(value - reference.sums[i]) / reference.magnitudes[i];
    return Number.isNaN(error) ? Infinity : Math.max(worst, error);
  }, 0);
}
