/**
 * The op nmSparseConv2D: a convolution whose filter [kh, kw, cin, cout] is compressed as the matrix
 * [kh·kw·cin, cout]. A 1×1 filter is a product of pixels, so nmSparseMatMul runs it. Larger filters are decompressed
 * once per matrix, within NM_SPARSE_MAX_EXPANDED_BYTES, and tf.conv2d runs them.
 */
import {
  backend_util, cast, engine, fused, pad, reshape, stridedSlice, tidy, transpose, type KernelBackend, type Tensor,
  type Tensor4D,
} from '@tensorflow/tfjs-core';
import {applyActivation} from '../../kernels/composite/activation.js';
import {keepExpansion, keptExpansion} from '../../kernels/expansion.js';
import {checkOptionNames, describeValue} from '../util/options.js';
import {runDecompress} from './gradient.js';
import {
  checkEpilogue, checkMatrix, checkX, nmSparseMatMul, type Fail, type MatrixLike, type NMSparseMatMulOptions,
} from './nm_sparse_mat_mul.js';

type Pair = [number, number];

export interface NMSparseConv2DOptions extends NMSparseMatMulOptions {
  /** Height and width of the filter. Default [1, 1]. */
  filterSize?: Pair;
  /** Along height and width, or one for both. Default 1. */
  strides?: number | Pair;
  /**
   * As in tf.conv2d: 'same', 'valid' (default), or pixels added, [[0, 0], [top, bottom], [left, right], [0, 0]] in
   * either data format.
   */
  pad?: 'same' | 'valid' | backend_util.ExplicitPadding;
  /** Default 'NHWC'. */
  dataFormat?: 'NHWC' | 'NCHW';
  /** Along height and width, or one for both. Default 1. */
  dilations?: number | Pair;
}

const OPTION_NAMES = ['filterSize', 'strides', 'pad', 'dataFormat', 'dilations', 'bias', 'activation',
  'preluActivationWeights', 'leakyreluAlpha'];
/** Activations that tf.fused.conv2d applies on every backend. */
const FUSED_BY_TFJS = ['linear', 'relu', 'relu6', 'elu', 'sigmoid'];

/**
 * `y = activation(conv2d(x, W) + bias)` with the filter W compressed. Differentiable with respect to x, matrix.values
 * (float32 storage), bias and preluActivationWeights.
 *
 * ```ts
 * const W = await compress(tf.reshape(filter, [3 * 3 * 64, 128]), {pattern: '8:32v32'});
 * const y = nmSparseConv2D(x, W, {filterSize: [3, 3], pad: 'same', bias, activation: 'relu'});
 * ```
 *
 * @param x float32 (int32 and bool are cast), [batch, height, width, cin]; with dataFormat 'NCHW' [batch, cin, height,
 *     width].
 * @param matrix W, of shape [kh·kw·cin, cout], its rows in the order of kh, kw, cin.
 * @returns float32, in the data format of x.
 * @throws Error naming the argument that does not fit, before any work is done.
 */
export function nmSparseConv2D(x: Tensor4D, matrix: MatrixLike, options: NMSparseConv2DOptions = {}): Tensor4D {
  const fail: Fail = why => {
    throw new Error(`nmSparseConv2D: ${why}`);
  };
  const checked = check(x, matrix, options, fail);
  return tidy(() => {
    const floats = x.dtype === 'float32' ? x : cast(x, 'float32');
    const pixels = checked.isNHWC ? floats : transpose(floats, [0, 2, 3, 1]);
    const [height, width] = checked.filterShape;
    const y = height * width === 1 ? pointwise(pixels, checked) : convolve(pixels, checked);
    return checked.isNHWC ? y : transpose(y, [0, 3, 1, 2]);
  });
}

/** The arguments, checked. */
interface Convolution {
  matrix: MatrixLike;
  isNHWC: boolean;
  filterShape: [height: number, width: number, channels: number, units: number];
  stride: Pair;
  dilation: Pair;
  padding: 'same' | 'valid' | backend_util.ExplicitPadding;
  epilogue: NMSparseMatMulOptions & Required<Pick<NMSparseMatMulOptions, 'activation' | 'leakyreluAlpha'>>;
}

function check(x: Tensor4D, given: MatrixLike, options: NMSparseConv2DOptions, fail: Fail): Convolution {
  checkOptionNames('nmSparseConv2D', options, OPTION_NAMES, "{filterSize: [3, 3], pad: 'same'}");
  const {
    filterSize = [1, 1], strides = 1, pad: padding = 'valid', dataFormat = 'NHWC', dilations = 1,
    bias, activation = 'linear', preluActivationWeights, leakyreluAlpha = 0.2,
  } = options;
  const [height, width] = asPair('filterSize', filterSize, fail);
  const [stride, dilation] = [asPair('strides', strides, fail), asPair('dilations', dilations, fail)];
  if (dataFormat !== 'NHWC' && dataFormat !== 'NCHW') {
    fail(`dataFormat is ${describeValue(dataFormat)}; give 'NHWC' or 'NCHW'.`);
  }
  if (padding !== 'same' && padding !== 'valid' && !isExplicit(padding)) {
    fail(`pad is ${describeValue(padding)}; give 'same', 'valid' or [[0, 0], [top, bottom], [left, right], [0, 0]].`);
  }
  if (!Array.isArray(x?.shape) || x.shape.length !== 4) {
    fail(`x is ${describeValue(x)}; give a tensor of rank 4.`);
  }
  checkX(x, fail);
  const matrix = checkMatrix(given, fail);
  const isNHWC = dataFormat === 'NHWC';
  const [batch, ...others] = x.shape;
  const [rows, columns, channels] = isNHWC ? others : [others[1], others[2], others[0]];
  const filterShape: Convolution['filterShape'] = [height, width, channels, matrix.shape[1]];
  const depth = height * width * channels;
  if (matrix.shape[0] !== depth) {
    fail(`matrix is ${describeValue(given)}; a filter of ${height} × ${width} on x ${describeValue(x)} takes ` +
        `k = ${depth}.`);
  }
  if (height * width > 1 && Math.max(...stride) > 1 && Math.max(...dilation) > 1) {
    fail(`strides is [${stride}] and dilations [${dilation}]; one of them must be 1, as in tf.conv2d.`);
  }
  const {outShape} = backend_util.computeConv2DInfo([batch, rows, columns, channels], filterShape, stride, dilation,
    padding);
  if (outShape[1] < 1 || outShape[2] < 1) {
    fail(`x is ${describeValue(x)}, smaller than a filter of ${height} × ${width} with dilations [${dilation}].`);
  }
  checkEpilogue({bias, activation, preluActivationWeights, leakyreluAlpha}, outShape, fail);
  if (!isNHWC && preluActivationWeights && preluActivationWeights.size > 1) {
    fail(`preluActivationWeights is ${describeValue(preluActivationWeights)}; with dataFormat 'NCHW' give one slope.`);
  }
  return {
    matrix, isNHWC, filterShape, stride, dilation, padding,
    epilogue: {
      activation, leakyreluAlpha, ...(bias && {bias}), ...(preluActivationWeights && {preluActivationWeights}),
    },
  };
}

/** A 1×1 filter: a product, of every stride-th pixel. Neither 'same' nor 'valid' adds pixels to it. */
function pointwise(x: Tensor4D, {matrix, stride, padding, epilogue}: Convolution): Tensor4D {
  const padded = typeof padding === 'string' || padding.flat().every(count => count === 0) ? x : pad(x, padding);
  const picked = stride[0] * stride[1] === 1 ? padded :
    stridedSlice(padded, [0, 0, 0, 0], padded.shape, [1, ...stride, 1]);
  return nmSparseMatMul(picked, matrix, epilogue) as Tensor4D;
}

function convolve(
    x: Tensor4D, {matrix, filterShape, stride, dilation, padding, epilogue}: Convolution): Tensor4D {
  const {bias, activation} = epilogue;
  const isFused = FUSED_BY_TFJS.includes(activation);
  const y = fused.conv2d({
    x, filter: reshape(expanded(matrix), filterShape), strides: stride, pad: padding, dilations: dilation, bias,
    activation: isFused ? activation as 'relu' : 'linear',
  });
  return isFused ? y : applyActivation(y, epilogue) as Tensor4D;
}

/** W, dense; it is kept for later calls unless a gradient is recorded. */
function expanded(matrix: MatrixLike): Tensor {
  const {values, indices} = matrix;
  if (engine().state.gradientDepth > 0) {
    return runDecompress(values, indices, matrix);
  }
  const kept = keptExpansion(values, indices, matrix);
  if (kept) {
    return kept;
  }
  const made = runDecompress(values, indices, matrix);
  keepExpansion(engine().backend as KernelBackend, values, indices, matrix, made);
  return made;
}

function asPair(name: string, given: unknown, fail: Fail): Pair {
  const pair = typeof given === 'number' ? [given, given] : given;
  if (!Array.isArray(pair) || pair.length !== 2 || !pair.every(each => Number.isInteger(each) && each >= 1)) {
    fail(`${name} is ${Array.isArray(given) ? `[${given}]` : describeValue(given)}; give one or two whole numbers of ` +
        'at least 1.');
  }
  return pair as Pair;
}

/** Whether it is padding of height and width, and of nothing else. */
function isExplicit(padding: unknown): padding is backend_util.ExplicitPadding {
  return Array.isArray(padding) && padding.length === 4 && padding.every((pair, axis) =>
    Array.isArray(pair) && pair.length === 2 && pair.every(count =>
      Number.isInteger(count) && count >= 0 && (count === 0 || axis === 1 || axis === 2)));
}
