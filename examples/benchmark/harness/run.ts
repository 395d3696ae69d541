/**
 * Runs a suite: for each point tf.matMul, our own dense kernel (the same program family with nothing to skip), then
 * every pattern; each checked before it is timed, all in one run, so that ratios hold whatever else the machine does.
 */
import {add, matMul, randomNormal, scalar, tidy, type Tensor2D} from '@tensorflow/tfjs-core';
import {compress, decompress, nmSparseMatMul, NMSparseMatrix} from '../../../src/index.js';
import {sampledError} from './check.js';
import {measure} from './measure.js';
import type {Point, Suite} from './suites.js';

export interface Row extends Point {
  /** 'tf.matMul', 'dense' (our own) or a pattern. */
  kernel: string;
  dtype: string;
  ms: number;
  /** 2·rows·n·k / time. */
  denseTflops: number;
  /** 2·rows·n·w / time, w the kept rows. */
  usefulTflops: number;
  /** Bytes that must move (x, W as stored, y) / time. */
  gigabytesPerSecond: number;
  /** Times faster than tf.matMul and than our own dense kernel. */
  overMatMul: number;
  overDense: number;
  /** Largest error of the sampled outputs. */
  error: number;
}

/** Sampled errors above this are bugs, not rounding. */
const MAX_ERROR = 2e-6;
/** Weights are rotated until they outgrow any cache. */
const CACHE_BYTES = 256 * 2 ** 20;

export async function runSuite(suite: Suite, onRow: (row: Row) => void): Promise<Row[]> {
  const rows: Row[] = [];
  for (const point of suite.points) {
    for (const row of await runPoint(point, suite, onRow)) {
      rows.push(row);
    }
  }
  return rows;
}

async function runPoint({rows, n, k}: Point, {patterns, dtypes}: Suite, onRow: (row: Row) => void): Promise<Row[]> {
  const x = randomNormal([rows, k]) as Tensor2D;
  const w = randomNormal([k, n], 0, k ** -0.5) as Tensor2D;
  const xs = await x.data() as Float32Array;
  const measured: Row[] = [];
  const flops = 2 * rows * n * k;
  const record = (kernel: string, dtype: string, ms: number, keptShare: number, weightBytes: number, error: number) => {
    const baseline = (name: string) => (measured.find(({kernel}) => kernel === name)?.ms ?? ms) / ms;
    const row: Row = {
      rows, n, k, kernel, dtype, ms, error,
      denseTflops: flops / ms / 1e9,
      usefulTflops: (flops * keptShare) / ms / 1e9,
      gigabytesPerSecond: (4 * rows * (k + n) + weightBytes) / ms / 1e6,
      overMatMul: baseline('tf.matMul'),
      overDense: baseline('dense'),
    };
    measured.push(row);
    onRow(row);
  };
  const denseCopies = Array.from({length: copies(4 * n * k)}, () => copyOf(w));
  const ws = await w.data() as Float32Array;
  const product = matMul(x, w);
  const error = await sampledError(product, xs, ws, k);
  product.dispose();
  record('tf.matMul', 'float32', await measure(i => matMul(x, denseCopies[i % denseCopies.length])), 1,
    4 * n * k, error);
  denseCopies.forEach(copy => copy.dispose());
  const variants = [{kernel: 'dense', pattern: '32:32v32', dtype: 'float32' as const},
    ...patterns.flatMap(pattern => dtypes.map(dtype => ({kernel: pattern, pattern, dtype})))];
  for (const {kernel, pattern, dtype} of variants) {
    const matrix = await compress(w, {pattern, dtype});
    const result = nmSparseMatMul(x, matrix);
    const kept = decompress(matrix);
    const sampled = await sampledError(result, xs, await kept.data() as Float32Array, k);
    result.dispose();
    kept.dispose();
    if (!(sampled <= MAX_ERROR)) {
      throw new Error(`${kernel} ${dtype} at ${rows}×${n}×${k} is wrong: relative error ${sampled}`);
    }
    const matrices = [matrix, ...Array.from({length: copies(matrix.bytes) - 1}, () => new NMSparseMatrix({
      ...matrix, values: copyOf(matrix.values), indices: copyOf(matrix.indices),
    }))];
    const ms = await measure(i => nmSparseMatMul(x, matrices[i % matrices.length]));
    record(kernel, dtype, ms, matrix.keptRows / k, matrix.bytes, sampled);
    matrices.forEach(each => each.dispose());
  }
  x.dispose();
  w.dispose();
  return measured;
}

function copies(bytes: number): number {
  return Math.max(1, Math.min(16, Math.ceil(CACHE_BYTES / bytes)));
}

/** A copy in memory of its own (tf.clone shares it); adding 0 keeps int32 words and finite floats as they are. */
function copyOf(tensor: Tensor2D): Tensor2D {
  return tidy(() => add(tensor, scalar(0, tensor.dtype as 'float32' | 'int32')));
}
