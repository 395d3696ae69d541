/**
 * No figure counts before its result does: sampled outputs of a product against sums in float64. Only the samples leave
 * the GPU, and what they are made of is computed anew (data.ts), so a product of any size is checked in milliseconds.
 */
import {dispose, engine, tensor1d, type Tensor} from '@tensorflow/tfjs-core';
import type {WebGPUBackend, WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {hash, visitColumn, xAt, type MatrixSpec} from './data.js';

const SAMPLES = 256;
/** Of the samples, one in so many lies in the last row, and one in the last column: where tiles are cut off. */
const EDGE_EVERY = 8;
/** Any stream of its own. */
const PLACES = 3 * 2 ** 30;

/** Outputs of a product, with their places. */
export interface Samples {
  rows: Int32Array;
  cols: Int32Array;
  values: Float32Array;
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

/** Reads outputs of y [rows, n]: the corners, some of the last row and of the last column, the rest anywhere. */
export async function sampleOutputs(backend: WebGPUBackend, y: Tensor): Promise<Samples> {
  const [rowCount, colCount] = y.shape;
  const rows = Int32Array.from({length: SAMPLES}, (_, i) =>
    i < 4 ? (i >> 1) * (rowCount - 1) : i % EDGE_EVERY === 0 ? rowCount - 1 : hash(2 * i, PLACES) % rowCount);
  const cols = Int32Array.from({length: SAMPLES}, (_, i) =>
    i < 4 ? (i & 1) * (colCount - 1) : i % EDGE_EVERY === 1 ? colCount - 1 : hash(2 * i + 1, PLACES) % colCount);
  const positions = tensor1d(rows.map((row, i) => row * colCount + cols[i]), 'int32');
  const gathered = engine().makeTensorFromTensorInfo(
    backend.runWebGPUProgram(new GatherProgram(), [y, positions], 'float32'));
  const values = await gathered.data() as Float32Array;
  dispose([positions, gathered]);
  return {rows, cols, values};
}

/**
 * @param matrix the W that x was multiplied with.
 * @returns the largest error, relative to the sum of the magnitudes added: float32 rounding is some 1e-7.
 */
export function largestError({rows, cols, values}: Samples, matrix: MatrixSpec): number {
  const [k] = matrix.shape;
  let worst = 0;
  for (let i = 0; i < SAMPLES; ++i) {
    const rowStart = rows[i] * k;
    let sum = 0;
    let magnitude = 0;
    visitColumn(matrix, cols[i], (row, value) => {
      const product = xAt(rowStart + row) * value;
      sum += product;
      magnitude += Math.abs(product);
    });
    const error = Math.abs(values[i] - sum) / magnitude;
    worst = Number.isNaN(error) ? Infinity : Math.max(worst, error);
  }
  return worst;
}
