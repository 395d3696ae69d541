/**
 * The fused activations from public tfjs ops. Serves the composite kernel, and the op where a gradient is recorded:
 * each step is then on the tape with tfjs's own gradient.
 */
import {
  add, elu, erf, leakyRelu, mul, prelu, relu, relu6, sigmoid, tanh, tidy, type Tensor,
} from '@tensorflow/tfjs-core';
import type {FusedActivation} from '../contract.js';

export interface ActivationOptions {
  activation: FusedActivation;
  /** Slope below zero, for 'leakyrelu'. */
  leakyreluAlpha: number;
  /** Slopes below zero, for 'prelu'; broadcasts to z. */
  preluActivationWeights?: Tensor;
}

/** activation(z), of z's shape. */
export function applyActivation(
    z: Tensor, {activation, leakyreluAlpha, preluActivationWeights}: ActivationOptions): Tensor {
  switch (activation) {
    case 'linear': return z;
    case 'relu': return relu(z);
    case 'relu6': return relu6(z);
    case 'elu': return elu(z);
    case 'sigmoid': return sigmoid(z);
    case 'tanh': return tanh(z);
    case 'gelu': return tidy(() => mul(mul(z, 0.5), add(erf(mul(z, Math.SQRT1_2)), 1)));
    case 'gelu_new': return tidy(() => {
      const cubed = mul(z, mul(z, z));
      return mul(mul(z, 0.5), add(tanh(mul(add(z, mul(cubed, 0.044715)), Math.sqrt(2 / Math.PI))), 1));
    });
    case 'leakyrelu': return leakyRelu(z, leakyreluAlpha);
    case 'prelu': return prelu(z, preluActivationWeights as Tensor);
  }
}
