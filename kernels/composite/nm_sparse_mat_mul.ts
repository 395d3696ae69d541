/**
 * The kernels for every backend that has none of its own, made of public tfjs ops: W is rebuilt, once per matrix
 * (expansion.ts), and multiplied densely. No faster than dense, but right everywhere, and the download stays small.
 *
 * Packed words never touch the device: 'webgl' keeps int32 in float textures, which round above 2^24. They are decoded
 * on the CPU, once for each tensor, pattern and shape, and remembered for as long as the tensor's data lives.
 */
import {
  add, engine, gather, getBackend, getKernel, matMul, pad, reshape, slice, tensor2d, tidy, transpose,
  type KernelBackend, type KernelConfig, type KernelFunc, type NamedTensorMap, type Tensor, type Tensor2D,
  type Tensor3D, type TensorInfo,
} from '@tensorflow/tfjs-core';
import {groupCount, keptRowCount} from '../../src/format/pattern.js';
import {STORAGE} from '../../src/format/storage.js';
import {
  fromAttrs, NM_DECOMPRESS, NM_GATHER_KEPT, NM_SPARSE_MAT_MUL, toAttrs, type FusedActivation, type MatMulAttrs,
  type MatrixAttrs,
} from '../contract.js';
import {applyActivation} from './activation.js';
import {rowIdsOf} from '../row_ids.js';
import {keepExpansion, keptExpansion} from '../expansion.js';

type Args = Parameters<KernelFunc>[0];

type Decoded = Float32Array | Int32Array;

/** What was decoded from the words of a tensor: by its data, and by all else that decides what the words mean. */
const decoded = new WeakMap<object, Map<string, Decoded>>();

function decode<T extends Decoded>(
    backend: unknown, {dataId}: TensorInfo, meaning: string, how: (words: Int32Array) => T): T {
  const known = decoded.get(dataId) ?? new Map<string, Decoded>();
  decoded.set(dataId, known);
  let result = known.get(meaning) as T | undefined;
  if (!result) {
    result = how((backend as KernelBackend).readSync(dataId) as Int32Array);
    known.set(meaning, result);
  }
  return result;
}

/** Kept values [w, n] of a matrix whose values are stored as words. */
function decodedValues(
    backend: unknown, values: TensorInfo, {shape: [k, n], pattern, dtype}: MatrixAttrs): Float32Array {
  const keptRows = keptRowCount(k, pattern);
  return decode(
    backend, values, `${dtype} [${keptRows},${n}]`, words => STORAGE[dtype].decode(words, keptRows, n));
}

/** Columns, padded to whole groups, apart by group: [rows, n] → [groups, rows, vectorLength]. */
function splitGroups(matrix: Tensor2D, {shape: [, n], pattern}: MatrixAttrs): Tensor3D {
  const groups = groupCount(n, pattern);
  const padded = pad(matrix, [[0, 0], [0, groups * pattern.vectorLength - n]]);
  return transpose(reshape(padded, [matrix.shape[0], groups, pattern.vectorLength]), [1, 0, 2]) as Tensor3D;
}

/** The inverse of {@link splitGroups}. */
function joinGroups(grouped: Tensor3D, {shape: [, n]}: MatrixAttrs): Tensor2D {
  const [groups, rows, vectorLength] = grouped.shape;
  const joined = reshape(transpose(grouped, [1, 0, 2]), [rows, groups * vectorLength]) as Tensor2D;
  return slice(joined, [0, 0], [rows, n]);
}

/** Rows of each group, by that group's own row numbers: [groups, rows, width] → [groups, picked, width]. */
function gatherRows(grouped: Tensor3D, rowIds: Int32Array): Tensor3D {
  const groups = grouped.shape[0];
  return gather(grouped, tensor2d(rowIds, [groups, rowIds.length / groups], 'int32'), 1, 1);
}

function decompress(backend: unknown, values: TensorInfo, indices: TensorInfo, matrix: MatrixAttrs): Tensor2D {
  const {shape: [k, n], pattern, dtype} = matrix;
  const keptRows = keptRowCount(k, pattern);
  const groups = groupCount(n, pattern);
  const kept = STORAGE[dtype].tensorDtype === 'float32' ? values as Tensor2D :
    tensor2d(decodedValues(backend, values, matrix), [keptRows, n]);
  // For each row of W the kept row that holds it, or the row of zeros added at the end.
  const rowIds = rowIdsOf(backend as KernelBackend, indices, matrix);
  const source = new Int32Array(groups * k).fill(keptRows);
  rowIds.forEach((row, i) => {
    source[Math.floor(i / keptRows) * k + row] = i % keptRows;
  });
  const withZeros = pad(kept, [[0, 1], [0, 0]]);
  return joinGroups(gatherRows(splitGroups(withZeros, matrix), source), matrix);
}

/** Backends whose kernel of tf.fused.matMul is one program, and what it fuses; not relu6, which loses NaNs on wasm. */
const FUSING_BACKENDS: readonly string[] = ['wasm', 'webgl'];
const FUSED_BY_TFJS: readonly FusedActivation[] = ['linear', 'relu', 'elu', 'sigmoid', 'leakyrelu', 'prelu'];

/** A kernel gets TensorInfos; public ops want tensors, which is what every caller passes. */
function nmSparseMatMul({inputs, attrs, backend: anyBackend}: Args): TensorInfo {
  const backend = anyBackend as KernelBackend;
  const matrix = fromAttrs<MatMulAttrs>(attrs);
  const {x, values, indices, bias, preluActivationWeights} = inputs as Record<string, Tensor | undefined>;
  const kept = keptExpansion(values as Tensor2D, indices as Tensor2D, matrix);
  const backendName = getBackend();
  if (kept && FUSING_BACKENDS.includes(backendName) && FUSED_BY_TFJS.includes(matrix.activation)) {
    const {kernelFunc} = getKernel('_FusedMatMul', backendName)!;
    return fusedMatMul(kernelFunc, backend, x as Tensor2D, kept, bias, preluActivationWeights, matrix);
  }
  return tidy(() => {
    const W = kept ?? expand(backend, values as Tensor2D, indices as Tensor2D, matrix);
    const product = matMul(x as Tensor2D, W);
    const sum = bias ? add(product, bias) : product;
    return applyActivation(sum, {...matrix, preluActivationWeights});
  });
}

/** One call of tfjs's dense kernel, as tf.layers.dense makes it: bias and activation are fused. */
function fusedMatMul(
    kernelFunc: KernelFunc, backend: KernelBackend, x: Tensor2D, W: Tensor2D, bias: Tensor | undefined,
    preluActivationWeights: Tensor | undefined, {activation, leakyreluAlpha}: MatMulAttrs): TensorInfo {
  const [rows, k] = x.shape;
  const n = W.shape[1];
  // tf.fused.matMul hands over matrices with a batch of one.
  const a: TensorInfo = {dataId: x.dataId, shape: [1, rows, k], dtype: 'float32'};
  const b: TensorInfo = {dataId: W.dataId, shape: [1, k, n], dtype: 'float32'};
  const {dataId} = kernelFunc({
    inputs: {a, b, ...(bias && {bias}), ...(preluActivationWeights && {preluActivationWeights})},
    attrs: {transposeA: false, transposeB: false, activation, leakyreluAlpha},
    backend,
  }) as TensorInfo;
  return {dataId, shape: [rows, n], dtype: 'float32'};
}

/** Makes the dense W, and keeps it for the next product if the bound allows it; else the tidy around disposes it. */
function expand(backend: KernelBackend, values: Tensor2D, indices: Tensor2D, matrix: MatrixAttrs): Tensor2D {
  const {pattern, shape, dtype} = matrix;
  const W: Tensor2D = engine().runKernel(
    NM_DECOMPRESS, {values, indices} as NamedTensorMap, toAttrs({pattern, shape, dtype}));
  keepExpansion(backend, values, indices, matrix, W);
  return W;
}

function nmDecompress({inputs, attrs, backend}: Args): TensorInfo {
  const {values, indices} = inputs as {values: TensorInfo; indices: TensorInfo};
  return tidy(() => decompress(backend, values, indices, fromAttrs<MatrixAttrs>(attrs)));
}

function nmGatherKept({inputs, attrs, backend}: Args): TensorInfo {
  const {dense, indices} = inputs as {dense: TensorInfo; indices: TensorInfo};
  const matrix = fromAttrs<MatrixAttrs>(attrs);
  return tidy(() => {
    const rowIds = rowIdsOf(backend as KernelBackend, indices, matrix);
    const kept = gatherRows(splitGroups(dense as Tensor2D, matrix), rowIds);
    return joinGroups(kept, matrix);
  });
}

/** The product of one backend, by its own NM_DECOMPRESS kernel. */
export function compositeMatMul(backendName: string): KernelConfig {
  return {kernelName: NM_SPARSE_MAT_MUL, backendName, kernelFunc: nmSparseMatMul};
}

/** The other two kernels of one backend, by batched gathers. */
export function gatherKernels(backendName: string): KernelConfig[] {
  return [
    {kernelName: NM_DECOMPRESS, backendName, kernelFunc: nmDecompress},
    {kernelName: NM_GATHER_KEPT, backendName, kernelFunc: nmGatherKept},
  ];
}
