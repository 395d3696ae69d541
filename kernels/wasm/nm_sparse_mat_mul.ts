/**
 * The product on tfjs's wasm backend: SIMD loops over the compressed W (assembly/), on the backend's own heap. W is
 * laid out in panels, or by columns for L < 4, once per matrix; the copy is freed with the matrix.
 *
 * Where the kernel cannot run (no SIMD, the multi-threaded build), or would lose, W is expanded once and multiplied
 * densely by XNNPACK.
 */
import type {KernelBackend, KernelConfig, KernelFunc, TensorInfo} from '@tensorflow/tfjs-core';
import {keptRowCount} from '../../src/format/pattern.js';
import type {WasmHeap} from '../../src/tfjs/wasm_heap.js';
import {
  ACTIVATIONS, fromAttrs, NM_SPARSE_MAT_MUL, toAttrs, type MatMulAttrs, type MatMulInputs,
  type MatrixAttrs,
} from '../contract.js';
import {mayExpand} from '../expansion.js';
import {packPanels} from '../panels.js';
import {PerMatrix} from '../per_matrix.js';
import {rowIdsOf} from '../row_ids.js';
import {wasmKernel, type WasmKernel} from './kernel.js';

type Args = Parameters<KernelFunc>[0];

/** A matrix on the heap: addresses of its values and of the byte offsets of its kept rows. */
interface Packed {
  values: number;
  offsets: number;
  panelsPerGroup: number;
}

const packed = new PerMatrix<Packed>();

/** Columns of a panel for this vector length; 1 stands for the loops over columns. */
function panelWidth({pattern: {vectorLength}}: MatrixAttrs): number {
  return vectorLength < 4 ? 1 : Math.min(8, vectorLength);
}

/** Whether the dense product is faster: with L < 4, one to three rows of x are too few to fill a vector. */
function isFasterDense(rows: number, matrix: MatrixAttrs): boolean {
  const {n, m} = matrix.pattern;
  return panelWidth(matrix) === 1 && rows < 4 && n / m > 0.2;
}

/** Whether a product of these rows is multiplied with an expanded W. */
export function wasmRunsDense(
    backend: KernelBackend, rows: number, values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs): boolean {
  return !wasmKernel(backend) || (isFasterDense(rows, matrix) && mayExpand(values, indices, matrix));
}

/** @param dense multiplies with an expanded W. */
function nmSparseMatMul(args: Args, dense: KernelFunc): TensorInfo | TensorInfo[] {
  const {inputs, attrs, backend: anyBackend} = args;
  const backend = anyBackend as KernelBackend;
  const matrix = fromAttrs<MatMulAttrs>(attrs);
  const {x, values, indices, ...epilogue} = inputs as unknown as MatMulInputs;
  const [rows] = x.shape;
  const kernel = wasmKernel(backend);
  if (!kernel) {
    return dense(args);
  }
  let y: TensorInfo;
  if (wasmRunsDense(backend, rows, values, indices, matrix)) {
    // tfjs's own epilogue loses NaNs in relu6, and does not know all activations.
    const linear: MatMulAttrs = {...matrix, activation: 'linear'};
    y = dense({inputs: {x, values, indices}, attrs: toAttrs(linear), backend}) as TensorInfo;
  } else {
    const multiply = panelWidth(matrix) === 1 ? multiplyColumns : multiplyPanels;
    y = multiply(kernel, x, packedOf(kernel.heap, backend, values, indices, matrix), matrix);
  }
  finish(kernel, y, epilogue, matrix);
  return y;
}

function multiplyPanels({heap, run}: WasmKernel, x: TensorInfo, w: Packed, matrix: MatrixAttrs): TensorInfo {
  const {shape: [k, n], pattern} = matrix;
  const [rows] = x.shape;
  const y = heap.makeOutput([rows, n]);
  const common = [
    heap.addressOf(x), heap.addressOf(y), w.values, w.offsets, rows, n, k, keptRowCount(k, pattern),
  ] as const;
  if (panelWidth(matrix) === 8) {
    run.multiplyPanels8(...common, w.panelsPerGroup);
  } else {
    run.multiplyPanels4(...common);
  }
  return y;
}

function multiplyColumns(
    {heap, run}: WasmKernel, x: TensorInfo, w: Packed, {shape: [k, n], pattern}: MatrixAttrs): TensorInfo {
  const [rows] = x.shape;
  const transposed = heap.allocate(4 * k * 4 * Math.ceil(rows / 4));
  try {
    const y = heap.makeOutput([rows, n]);
    run.transpose(heap.addressOf(x), transposed, rows, k);
    run.multiplyColumns(
      transposed, heap.addressOf(y), w.values, w.offsets, rows, n, k, keptRowCount(k, pattern), w.panelsPerGroup);
    return y;
  } finally {
    heap.free(transposed);
  }
}

/** Bias and activation, in place. */
function finish(
    {heap, run}: WasmKernel, y: TensorInfo,
    {bias, preluActivationWeights: slopes}: Pick<MatMulInputs, 'bias' | 'preluActivationWeights'>,
    {activation, leakyreluAlpha}: MatMulAttrs): void {
  const [rows, n] = y.shape;
  if (bias || activation !== 'linear') {
    const perColumn = slopes !== undefined && slopes.shape.reduce((a, b) => a * b, 1) === n;
    run.epilogue(
      heap.addressOf(y), rows, n, bias ? heap.addressOf(bias) : 0, ACTIVATIONS.indexOf(activation),
      slopes ? heap.addressOf(slopes) : 0, perColumn ? 4 : 0, leakyreluAlpha);
  }
}

/** The matrix on the heap, laid out the first time. */
function packedOf(
    heap: WasmHeap, backend: KernelBackend, values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs): Packed {
  const found = packed.get(values, indices, matrix);
  if (found) {
    return found;
  }
  const panels = packPanels(
    panelWidth(matrix), backend.readSync(values.dataId) as Float32Array | Int32Array,
    rowIdsOf(backend, indices, matrix), matrix);
  // Of a row of x, or of a tile of four.
  const bytesPerRow = panelWidth(matrix) === 1 ? 16 : 4;
  const valuesAt = heap.allocate(panels.values.byteLength + panels.rowIds.byteLength);
  const offsetsAt = valuesAt + panels.values.byteLength;
  new Float32Array(heap.memory.buffer, valuesAt, panels.values.length).set(panels.values);
  new Uint32Array(heap.memory.buffer, offsetsAt, panels.rowIds.length).set(panels.rowIds.map(row => row * bytesPerRow));
  const made = {values: valuesAt, offsets: offsetsAt, panelsPerGroup: panels.panelsPerGroup};
  return packed.setUntilDisposal(backend, values, indices, matrix, made, () => heap.free(valuesAt));
}

/** @param dense the kernel that multiplies with an expanded W, for where this one cannot run or would lose. */
export function wasmMatMul(dense: KernelConfig): KernelConfig {
  return {
    kernelName: NM_SPARSE_MAT_MUL, backendName: dense.backendName,
    kernelFunc: args => nmSparseMatMul(args, dense.kernelFunc),
  };
}
