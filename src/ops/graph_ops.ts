/**
 * The graph ops of converted graph models: NmSparseMatMul and NmSparseConv2D. Importing the package registers them, so
 * that plain tf.loadGraphModel loads such a model.
 *
 * Inputs: x, values, indices, then the bias and the prelu slopes if the attributes say that there are any. Attributes
 * are those of {@link GraphMatrixAttrs}, {@link GraphMatMulAttrs} and {@link GraphConv2DAttrs}; the rewriting of graphs
 * (src/convert/graph) writes them by the same names.
 */
import {deregisterOp, registerOp, type GraphNode} from '@tensorflow/tfjs-converter';
import {reshape, type Tensor, type Tensor1D, type Tensor4D} from '@tensorflow/tfjs-core';
import {NMSparseMatrix} from '../format/nm_sparse_matrix.js';
import {parsePattern} from '../format/pattern.js';
import type {StorageDtype} from '../format/storage.js';
import type {FusedActivation} from '../../kernels/contract.js';
import {nmSparseConv2D, type NMSparseConv2DOptions} from './nm_sparse_conv2d.js';
import {nmSparseMatMul, type NMSparseMatMulOptions} from './nm_sparse_mat_mul.js';

export const GRAPH_MAT_MUL = 'NmSparseMatMul';
export const GRAPH_CONV2D = 'NmSparseConv2D';

/** Attributes that both ops have. */
export interface GraphMatrixAttrs {
  /** Such as '8:32v32'. */
  pattern: string;
  /** [k, n] of W. */
  shape: number[];
  /** How the kept values are stored. */
  storage: StorageDtype;
  activation: FusedActivation;
  /** Slope below zero, for 'leakyrelu'. */
  alpha: number;
  has_bias: boolean;
  has_slopes: boolean;
}

export interface GraphMatMulAttrs extends GraphMatrixAttrs {
  /** Number of the last dimensions of x that are multiplied: 1 in a matrix product. */
  contracted: number;
  /** The dimensions that stand for n in y: [n] in a matrix product. */
  units: number[];
}

export interface GraphConv2DAttrs extends GraphMatrixAttrs {
  filter_size: number[];
  strides: number[];
  dilations: number[];
  /** 'same', 'valid' or 'explicit'. */
  padding: string;
  /** [top, bottom, left, right], for 'explicit'. */
  explicit_padding: number[];
  /** 'NHWC' or 'NCHW'. */
  data_format: string;
}

function matMul({inputs, attrs}: GraphNode): Tensor {
  const {contracted, units} = attrs as unknown as GraphMatMulAttrs;
  const [x] = inputs;
  const options = commonOptions(inputs, attrs as unknown as GraphMatrixAttrs);
  const matrix = matrixOf(inputs, attrs as unknown as GraphMatrixAttrs);
  const leading = x.shape.slice(0, x.shape.length - contracted);
  const rows = contracted === 1 && leading.length > 0 ? x :
    reshape(x, [leading.reduce((a, b) => a * b, 1), matrix.shape[0]]);
  const y = nmSparseMatMul(rows, matrix, options);
  return rows === x && units.length === 1 ? y : reshape(y, [...leading, ...units]);
}

function conv2d({inputs, attrs}: GraphNode): Tensor {
  const {filter_size, strides, dilations, padding, explicit_padding: pad, data_format} =
    attrs as unknown as GraphConv2DAttrs;
  const options: NMSparseConv2DOptions = {
    ...commonOptions(inputs, attrs as unknown as GraphMatrixAttrs),
    filterSize: filter_size as [number, number],
    strides: strides as [number, number],
    dilations: dilations as [number, number],
    pad: padding === 'explicit' ? [[0, 0], [pad[0], pad[1]], [pad[2], pad[3]], [0, 0]] : padding as 'same',
    dataFormat: data_format.toUpperCase() as 'NHWC', // tfjs reads texts in lower case
  };
  return nmSparseConv2D(inputs[0] as Tensor4D, matrixOf(inputs, attrs as unknown as GraphMatrixAttrs), options);
}

/** The matrices of weights, so that each is checked once and not at every predict. */
const matrices = new WeakMap<Tensor, NMSparseMatrix>();

function matrixOf([, values, indices]: Tensor[], {pattern, shape, storage}: GraphMatrixAttrs): NMSparseMatrix {
  let matrix = matrices.get(values);
  if (!matrix) {
    matrix = new NMSparseMatrix({
      values, indices, pattern: parsePattern(pattern), shape: shape as [number, number], dtype: storage,
    } as ConstructorParameters<typeof NMSparseMatrix>[0]);
    matrices.set(values, matrix);
  }
  return matrix;
}

function commonOptions(
    inputs: Tensor[], {activation, alpha, has_bias, has_slopes, shape}: GraphMatrixAttrs): NMSparseMatMulOptions {
  const bias = has_bias ? inputs[3] : undefined;
  const slopes = has_slopes ? inputs[has_bias ? 4 : 3] : undefined;
  return {
    activation,
    leakyreluAlpha: alpha,
    ...(bias && {bias: (bias.shape.length === 1 ? bias : reshape(bias, [shape[1]])) as Tensor1D}),
    ...(slopes && {preluActivationWeights: slopes}),
  };
}

/** Registers the graph ops. A second copy of this package registers its own, which do the same. */
export function registerGraphOps(): void {
  for (const [name, run] of [[GRAPH_MAT_MUL, matMul], [GRAPH_CONV2D, conv2d]] as const) {
    deregisterOp(name);
    registerOp(name, run);
  }
}
