/**
 * The contract every backend's kernels fulfil: names, inputs and attributes. The op above checks everything a user can
 * get wrong, so kernels trust what they are given.
 *
 * - `nmSparseMatMul`: y [rows, n] = activation(x [rows, k] · W + bias).
 * - `nmDecompress`: W as a dense [k, n], with 0 where nothing was kept. Used by decompress() and gradients.
 * - `nmGatherKept`: the kept entries [w, n] of a dense [k, n]. The transpose of nmDecompress, and so its gradient.
 */
import type {NamedAttrMap, TensorInfo} from '@tensorflow/tfjs-core';
import type {NMPattern} from '../src/format/pattern.js';
import type {StorageDtype} from '../src/format/storage.js';

export const NM_SPARSE_MAT_MUL = 'nmSparseMatMul';
export const NM_DECOMPRESS = 'nmDecompress';
export const NM_GATHER_KEPT = 'nmGatherKept';

/** Activations a kernel applies itself. 'gelu' is the erf form, 'gelu_new' the tanh form (names as in tfjs-layers). */
export const ACTIVATIONS = [
  'linear', 'relu', 'relu6', 'elu', 'sigmoid', 'tanh', 'gelu', 'gelu_new', 'leakyrelu', 'prelu',
] as const;
export type FusedActivation = typeof ACTIVATIONS[number];

/** Which compressed matrix the tensors `values` and `indices` are. */
export interface MatrixAttrs {
  pattern: NMPattern;
  /** [k, n] */
  shape: [number, number];
  dtype: StorageDtype;
}

export interface MatMulAttrs extends MatrixAttrs {
  activation: FusedActivation;
  /** Slope below zero, for 'leakyrelu'. */
  leakyreluAlpha: number;
}

export interface MatMulInputs {
  /** float32 [rows, k], rows ≥ 1 */
  x: TensorInfo;
  values: TensorInfo;
  indices: TensorInfo;
  /** float32 with n elements */
  bias?: TensorInfo;
  /** float32 [n] or [1]; present exactly where the activation is 'prelu' */
  preluActivationWeights?: TensorInfo;
}

/** tfjs types attributes as plain JSON; ours hold a pattern object. These two casts keep that in one place. */
export function toAttrs(attrs: MatrixAttrs | MatMulAttrs): NamedAttrMap {
  return attrs as unknown as NamedAttrMap;
}
export function fromAttrs<T extends MatrixAttrs>(attrs: NamedAttrMap | undefined): T {
  return attrs as unknown as T;
}
