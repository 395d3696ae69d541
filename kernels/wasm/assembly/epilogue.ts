// Bias and activation of a product, in place. NaN stays NaN.

import {loadPart, storePart} from './simd';

/** Activations by their place in ACTIVATIONS (kernels/contract.ts). */
const RELU = 1, RELU6 = 2, ELU = 3, SIGMOID = 4, TANH = 5, GELU = 6, GELU_NEW = 7, LEAKY_RELU = 8, PRELU = 9;

/**
 * y [rows, n] = activation(y + bias).
 * @param bias address of n floats, or 0 for none
 * @param slopes address of the slopes below zero, n of them if slopeStep is 4, one if it is 0; 0 for `slope`
 */
export function epilogue(
    y: usize, rows: i32, n: i32, bias: usize, activation: i32, slopes: usize, slopeStep: i32, slope: f32): void {
  const scalar = f32x4.splat(slopes !== 0 && slopeStep === 0 ? load<f32>(slopes) : slope);
  for (let row = 0; row < rows; ++row) {
    for (let col = 0; col < n; col += 4, y += 16) {
      const count = n - col;
      let z = vector(y, count);
      if (bias !== 0) {
        z = f32x4.add(z, vector(bias + <usize>col * 4, count));
      }
      const below = slopeStep !== 0 ? vector(slopes + <usize>col * 4, count) : scalar;
      storePart(y, activate(z, activation, below), count);
    }
    y -= <usize>((4 - (n & 3)) & 3) * 4;
  }
}

// @ts-ignore: decorator
@inline
function vector(at: usize, count: i32): v128 {
  return count >= 4 ? v128.load(at) : loadPart(at, count);
}

function activate(z: v128, activation: i32, below: v128): v128 {
  const zero = f32x4.splat(0);
  const negative = f32x4.lt(z, zero);
  switch (activation) {
    case RELU: return v128.andnot(z, negative);
    case RELU6: return v128.bitselect(f32x4.splat(6), v128.andnot(z, negative), f32x4.gt(z, f32x4.splat(6)));
    case ELU: return v128.bitselect(expm1(z), z, negative);
    case SIGMOID: {
      const e = expm1(f32x4.neg(z));
      return f32x4.div(f32x4.splat(1), f32x4.add(e, f32x4.splat(2)));
    }
    case TANH: return tanh(z);
    case GELU: return gelu(z);
    case GELU_NEW: {
      const cubed = f32x4.mul(f32x4.mul(z, z), z);
      const inner = f32x4.mul(
        f32x4.add(z, f32x4.mul(cubed, f32x4.splat(0.044715))), f32x4.splat(<f32>0.7978845608028654));
      return f32x4.mul(f32x4.mul(f32x4.splat(0.5), z), f32x4.add(tanh(inner), f32x4.splat(1)));
    }
    case LEAKY_RELU:
    case PRELU: return v128.bitselect(f32x4.mul(z, below), z, negative);
    default: return z;
  }
}

/**
 * exp(z) - 1 by z = m · ln 2 + r and Cephes' polynomial for exp(r) (expf.c), without cancellation near 0. Saturates at
 * exp(88), finite.
 */
function expm1(z: v128): v128 {
  const x = f32x4.max(f32x4.min(z, f32x4.splat(88)), f32x4.splat(-87));
  const m = f32x4.nearest(f32x4.mul(x, f32x4.splat(<f32>1.4426950408889634)));
  let r = f32x4.sub(x, f32x4.mul(m, f32x4.splat(<f32>0.693359375)));
  r = f32x4.add(r, f32x4.mul(m, f32x4.splat(<f32>2.12194440e-4)));
  let p = f32x4.splat(<f32>1.9875691500e-4);
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>1.3981999507e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>8.3334519073e-3));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>4.1665795894e-2));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>1.6666665459e-1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(<f32>5.0000001201e-1));
  const e = f32x4.add(f32x4.mul(f32x4.mul(r, r), p), r); // exp(r) - 1
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(m), i32x4.splat(127)), 23); // 2^m
  return f32x4.add(f32x4.mul(power, e), f32x4.sub(power, f32x4.splat(1)));
}

function tanh(z: v128): v128 {
  const e = expm1(f32x4.mul(f32x4.abs(z), f32x4.splat(-2)));
  const size = f32x4.div(f32x4.neg(e), f32x4.add(e, f32x4.splat(2)));
  return v128.or(size, v128.and(z, i32x4.splat(0x80000000)));
}

/** 0.5 · z · (1 + erf(z / √2)), erf by Abramowitz and Stegun 7.1.26, as tf.erf: absolute error below 1.5e-7. */
function gelu(z: v128): v128 {
  const v = f32x4.mul(z, f32x4.splat(<f32>0.7071067811865476));
  const size = f32x4.abs(v);
  const t = f32x4.div(f32x4.splat(1), f32x4.add(f32x4.splat(1), f32x4.mul(size, f32x4.splat(<f32>0.3275911))));
  let p = f32x4.splat(<f32>1.061405429);
  p = f32x4.sub(f32x4.mul(p, t), f32x4.splat(<f32>1.453152027));
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(<f32>1.421413741));
  p = f32x4.sub(f32x4.mul(p, t), f32x4.splat(<f32>0.284496736));
  p = f32x4.add(f32x4.mul(p, t), f32x4.splat(<f32>0.254829592));
  p = f32x4.mul(p, t);
  const e = f32x4.add(expm1(f32x4.neg(f32x4.mul(v, v))), f32x4.splat(1));
  const erf = v128.or(f32x4.sub(f32x4.splat(1), f32x4.mul(p, e)), v128.and(z, i32x4.splat(0x80000000)));
  return f32x4.mul(f32x4.mul(f32x4.splat(0.5), z), f32x4.add(erf, f32x4.splat(1)));
}
