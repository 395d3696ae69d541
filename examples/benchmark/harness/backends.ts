/**
 * The suite `backends`: nmSparseMatMul against tf.matMul on the same backend, by the wall clock. For backends that have
 * no GPU timestamps: cpu, wasm, tensorflow, webgl.
 *
 * Rounds of both alternate, so that a clock that changes affects both. A round ends with a read-back, because webgl
 * computes asynchronously.
 */
import {
  dispose, matMul, randomUniform, setBackend, tensor2d, tidy, type Tensor, type Tensor2D,
} from '@tensorflow/tfjs-core';
import {compress, decompress, nmSparseMatMul, type NMSparseMatrix} from '../../../src/index.js';

export interface BackendRow {
  backend: string;
  rows: number;
  n: number;
  k: number;
  pattern: string;
  dtype: 'float32' | 'float16';
  /** Median ms of one product: tf.matMul and nmSparseMatMul. */
  denseMs: number;
  sparseMs: number;
  /** denseMs / sparseMs. */
  overMatMul: number;
}

export type Size = [rows: number, n: number, k: number];

export const SIZES: Size[] = [
  [1, 1024, 1024], [1, 4096, 4096], [16, 1024, 1024], [128, 1024, 1024], [128, 1536, 384], [128, 384, 1536],
  [384, 768, 768], [12544, 64, 64], [192, 512, 512],
];

export const PATTERNS = ['16:32v32', '8:32v32', '4:32v32', '2:4v8', '2:4', '1:4'];

const ROUNDS = 7;
const ROUND_MS = 30;
/** Largest difference to the dense product, relative to the largest output. */
const TOLERANCE = 1e-4;

/**
 * Measures all sizes and patterns on a backend.
 * @param print gets a line per size, and one of the geometric means.
 */
export async function measureBackend(
    backend: string, sizes: Size[], patterns: string[], dtype: BackendRow['dtype'], print: (line: string) => void):
    Promise<BackendRow[]> {
  const rows: BackendRow[] = [];
  const line = (title: string, cells: string[]) =>
    print(title.padEnd(22) + cells.map(cell => cell.padStart(10)).join(''));
  line(backend, patterns);
  for (const size of sizes) {
    const measured: BackendRow[] = [];
    for (const pattern of patterns) {
      measured.push(await measureOn(backend, size, pattern, dtype));
    }
    rows.push(...measured);
    line(size.join(' × '), measured.map(({overMatMul}) => overMatMul.toFixed(2)));
  }
  line('geometric mean', patterns.map(pattern => geometricMean(
    rows.filter(row => row.pattern === pattern).map(({overMatMul}) => overMatMul)).toFixed(2)));
  return rows;
}

/** Measures a pattern at a size. @throws Error if the product is wrong. */
async function measureOn(
    backend: string, [rows, n, k]: Size, pattern: string, dtype: BackendRow['dtype']): Promise<BackendRow> {
  await setBackend(backend);
  const x = randomUniform([rows, k], -1, 1, 'float32', 1) as Tensor2D;
  const whole = randomUniform([k, n], -1, 1, 'float32', 2) as Tensor2D;
  const matrix = await compress(whole, {pattern, dtype});
  const W = await onDevice(decompress(matrix), [k, n]);
  try {
    await check(x, W, matrix);
    const dense = () => matMul(x, W);
    const sparse = () => nmSparseMatMul(x, matrix);
    const runs = [await runsFor(dense), await runsFor(sparse)];
    const times: [number[], number[]] = [[], []];
    for (let round = 0; round < ROUNDS; ++round) {
      times[0].push(await timeRound(dense, runs[0]));
      times[1].push(await timeRound(sparse, runs[1]));
    }
    const [denseMs, sparseMs] = times.map(median);
    return {backend, rows, n, k, pattern, dtype, denseMs, sparseMs, overMatMul: denseMs / sparseMs};
  } finally {
    dispose([x, whole, W]);
    matrix.dispose();
  }
}

/** W as a model holds it, not as the output of another kernel. */
async function onDevice(W: Tensor2D, shape: [number, number]): Promise<Tensor2D> {
  const values = await W.data();
  W.dispose();
  return tensor2d(values, shape);
}

async function check(x: Tensor2D, W: Tensor2D, matrix: NMSparseMatrix): Promise<void> {
  const [expected, got] = tidy(() => [matMul(x, W), nmSparseMatMul(x, matrix)]);
  const [a, b] = await Promise.all([expected.data(), got.data()]);
  dispose([expected, got]);
  let largest = 0;
  let difference = 0;
  for (let i = 0; i < a.length; ++i) {
    largest = Math.max(largest, Math.abs(a[i]));
    difference = Number.isNaN(b[i]) ? Infinity : Math.max(difference, Math.abs(a[i] - b[i]));
  }
  if (!(difference <= TOLERANCE * largest)) {
    throw new Error(`the product is wrong: it differs by ${difference}, where the largest output is ${largest}`);
  }
}

async function runsFor(product: () => Tensor): Promise<number> {
  await timeRound(product, 2);
  let runs = 1;
  for (;;) {
    const ms = await timeRound(product, runs) * runs;
    if (ms >= ROUND_MS) {
      return runs;
    }
    runs = Math.ceil(runs * Math.min(16, Math.max(2, (1.2 * ROUND_MS) / Math.max(ms, 0.1))));
  }
}

/** ms of one product. */
async function timeRound(product: () => Tensor, runs: number): Promise<number> {
  const start = performance.now();
  for (let i = 1; i < runs; ++i) {
    product().dispose();
  }
  const last = product();
  await last.data();
  const ms = (performance.now() - start) / runs;
  last.dispose();
  return ms;
}

function median(times: number[]): number {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
}

function geometricMean(values: number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}
