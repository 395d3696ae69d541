/**
 * The fused activations, composed of public tfjs ops. The composite kernel uses them. The op uses them while a gradient
 * is recorded, because the tape then has each of these ops.
 *
 * Second derivatives are correct here; in tfjs 4.22 they are not. Its gradients of tanh, sigmoid and exp use the saved
 * output, through which no second gradient flows. Those of elu, relu6, leakyRelu and prelu use ops without a gradient.
 * So each of them gets a derivative here that is computed from its input.
 */
import {
  add, customGrad, elu, erf, exp, leakyRelu, mul, neg, relu, relu6, sigmoid, square, step, sub, tanh, tidy,
  type Tensor,
} from '@tensorflow/tfjs-core';
import type {FusedActivation} from '../contract.js';

export interface ActivationOptions {
  activation: FusedActivation;
  /** Slope below zero, for 'leakyrelu'. */
  leakyreluAlpha: number;
  /** Slopes below zero, for 'prelu'; broadcasts to z. */
  preluActivationWeights?: Tensor;
}

type Elementwise = (z: Tensor) => Tensor;

/** f with the derivative `slope`, which may be such a function itself. */
function withSlope(f: Elementwise, slope: Elementwise): Elementwise {
  return z => customGrad((input, save) => {
    (save as (saved: Tensor[]) => void)([input as Tensor]);
    return {value: f(input as Tensor), gradFunc: (dy, [saved]) => mul(dy, slope(saved))};
  })(z);
}

const smoothExp = withSlope(exp, z => smoothExp(z));
const smoothTanh = withSlope(tanh, z => sub(1, square(smoothTanh(z))));
const smoothErf = withSlope(erf, z => mul(smoothExp(neg(square(z))), 2 / Math.sqrt(Math.PI)));
const smoothElu = withSlope(elu, z => smoothExp(neg(relu(neg(z)))));
const smoothSigmoid = withSlope(sigmoid, z => {
  const y = smoothSigmoid(z);
  return mul(y, sub(1, y));
});
const steppedRelu6 = withSlope(relu6, z => mul(step(z), sub(1, step(sub(z, 6)))));

/** activation(z), of z's shape. */
export function applyActivation(
    z: Tensor, {activation, leakyreluAlpha, preluActivationWeights}: ActivationOptions): Tensor {
  switch (activation) {
    case 'linear': return z;
    case 'relu': return relu(z);
    case 'relu6': return steppedRelu6(z);
    case 'elu': return smoothElu(z);
    case 'sigmoid': return smoothSigmoid(z);
    case 'tanh': return smoothTanh(z);
    case 'gelu': return tidy(() => mul(mul(z, 0.5), add(smoothErf(mul(z, Math.SQRT1_2)), 1)));
    case 'gelu_new': return tidy(() => {
      const cubed = mul(z, mul(z, z));
      return mul(mul(z, 0.5), add(smoothTanh(mul(add(z, mul(cubed, 0.044715)), Math.sqrt(2 / Math.PI))), 1));
    });
    case 'leakyrelu': return withSlope(
      input => leakyRelu(input, leakyreluAlpha), input => add(mul(step(input), 1 - leakyreluAlpha), leakyreluAlpha))(z);
    case 'prelu': return tidy(() => {
      const positive = step(z);
      return mul(z, add(positive, mul(sub(1, positive), preluActivationWeights as Tensor)));
    });
  }
}
