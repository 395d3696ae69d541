/**
 * Models of dense layers with bias and relu, made of tfjs's layers or of this package's. Weights are drawn on the GPU,
 * so that a model of 512 MB is made in a fraction of a second.
 */
import {abs, add, matMul, relu, reshape, tidy, type Tensor1D, type Tensor2D} from '@tensorflow/tfjs-core';
import {initializers, layers as tfLayers, sequential, type LayersModel} from '@tensorflow/tfjs-layers';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {parsePattern} from '../../../src/format/pattern.js';
import type {StorageDtype} from '../../../src/format/storage.js';
import {decompress, layers, type NMDense} from '../../../src/index.js';
import {drawMatrix, drawX} from './data.js';

type Layer = tfLayers.Layer;

/** What multiplies in a model: tfjs's matMul ('dense'), or nmSparseMatMul with a pattern. */
export interface ModelKernel {
  kernel: string;
  dtype: StorageDtype;
}

export const DENSE: ModelKernel = {kernel: 'dense', dtype: 'float32'};

/**
 * Makes a model.
 * @param widths of the input, then of each layer's output.
 */
export function buildModel(webgpu: WebGPUBackend, widths: number[], {kernel, dtype}: ModelKernel): LayersModel {
  const isDense = kernel === DENSE.kernel;
  const pattern = isDense ? '32:32v32' : kernel; // without zeros
  const made = widths.slice(1).map((units, i) => {
    // Zeros are not uploaded before they are replaced. Other initializers would draw millions of numbers on the CPU.
    const common = {
      units, inputShape: [widths[i]], activation: 'relu' as const, kernelInitializer: 'zeros' as const,
    };
    return isDense ? tfLayers.dense(common) : withoutOffsets(layers.nmDense({...common, pattern, dtype}));
  });
  const model = sequential({layers: made});
  for (const [i, layer] of made.entries()) {
    const matrix = drawMatrix(webgpu, {shape: [widths[i], widths[i + 1]], pattern: parsePattern(pattern), dtype});
    const bias = drawBias(webgpu, widths[i + 1]);
    if (isDense) {
      layer.setWeights([matrix.values, bias]);
    } else {
      (layer as NMDense).setMatrix(matrix, bias);
    }
    matrix.dispose();
    bias.dispose();
  }
  return model;
}

/**
 * Makes a layer start with offsets of zero; setMatrix writes others. Drawing evenly spaced ones for a 2:4 layer of
 * 4096 × 4096 takes 1.5 s on the CPU.
 */
function withoutOffsets(layer: NMDense): NMDense {
  const {addWeight} = layer as unknown as {addWeight: Layer['addWeight']}; // protected
  const replacement: Layer['addWeight'] = (name, shape, dtype, initializer, ...rest) =>
    addWeight.call(layer, name, shape, dtype, name === 'indices' ? initializers.zeros() : initializer, ...rest);
  return Object.assign(layer, {addWeight: replacement});
}

/** Returns a bias of [½, 1): positive, so that relu passes most outputs. */
function drawBias(webgpu: WebGPUBackend, units: number): Tensor1D {
  return tidy(() => reshape(abs(drawX(webgpu, 1, units)), [units]));
}

/** Computes what a sparse model predicts with tf.matMul and the decompressed weights, one layer at a time. */
export function predictDecompressed(model: LayersModel, x: Tensor2D): Tensor2D {
  let y = x;
  for (const layer of model.layers as NMDense[]) {
    const next = tidy(() => {
      const bias = layer.bias!.read() as Tensor1D;
      return relu(add(matMul(y, decompress(layer.matrix())), bias)) as Tensor2D;
    });
    if (y !== x) {
      y.dispose();
    }
    y = next;
  }
  return y;
}
