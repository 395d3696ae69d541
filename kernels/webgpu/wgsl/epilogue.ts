/**
 * The epilogue: bias, then activation, applied to an output between the last addition and the store. It works in
 * registers, so it costs no pass over memory. `T` stands for `f32` or `vec4<f32>`. NaN stays NaN, as in tf.matMul.
 *
 * Formulas after tfjs-backend-webgpu's unary and binary ops; gelu after tfjs-layers/src/activations.ts.
 */
import type {FusedActivation} from '../../contract.js';

/** The part of a shader's configuration that the epilogue depends on. */
export interface EpilogueConfig {
  activation: FusedActivation;
  hasBias: boolean;
  /** prelu weights: none, one for all columns, or one per column. */
  prelu: 'none' | 'scalar' | 'column';
}

/** The epilogue of a program that writes raw partial sums. */
export const NO_EPILOGUE: EpilogueConfig = {activation: 'linear', hasBias: false, prelu: 'none'};

/** Names of the extra inputs, in binding order. */
export function epilogueInputs({hasBias, prelu}: EpilogueConfig): string[] {
  return [...(hasBias ? ['bias'] : []), ...(prelu !== 'none' ? ['preluActivationWeights'] : [])];
}

/** Number of components per load of each of {@link epilogueInputs}. */
export function epilogueComponents({hasBias, prelu}: EpilogueConfig, component: 1 | 4): number[] {
  return [...(hasBias ? [component] : []), ...(prelu === 'column' ? [component] : prelu === 'scalar' ? [1] : [])];
}

/** Uniforms the epilogue reads; the data comes from {@link epilogueUniformData}. */
export function epilogueUniforms({activation}: EpilogueConfig): string {
  return activation === 'leakyrelu' ? ', leakyreluAlpha : f32' : '';
}

export function epilogueUniformData({activation}: EpilogueConfig, leakyreluAlpha: number) {
  return activation === 'leakyrelu' ? [{type: 'float32', data: [leakyreluAlpha]}] : [];
}

/**
 * `fn epilogue(sum: T, col: u32) -> T`, where col counts in units of T (vec4 columns or single ones).
 */
export function epilogueSnippet(config: EpilogueConfig, component: 1 | 4): string {
  const T = component === 4 ? 'vec4<f32>' : 'f32';
  const slope = config.prelu === 'column' ? 'T(preluActivationWeights[col])' : 'T(f32(preluActivationWeights[0]))';
  const bodies: Record<FusedActivation, string> = {
    linear: 'return z;',
    relu: 'return select(z, T(0.0), z < T(0.0));',
    relu6: 'return select(select(z, T(0.0), z < T(0.0)), T(6.0), z > T(6.0));',
    elu: 'return select(z, exp(z) - T(1.0), z < T(0.0));',
    // exp(NaN) is infinite on some devices; a NaN is neither below zero nor above.
    sigmoid: `
      let s = T(1.0) / (T(1.0) + exp(-z));
      return select(select(z, s, z >= T(0.0)), s, z < T(0.0));`,
    tanh: 'return stableTanh(z);',
    gelu: 'return 0.5 * z * (T(1.0) + erfApproximation(z * 0.7071067811865476));',
    gelu_new: 'return 0.5 * z * (T(1.0) + stableTanh(0.7978845608028654 * (z + 0.044715 * z * z * z)));',
    leakyrelu: 'return select(z, z * uniforms.leakyreluAlpha, z < T(0.0));',
    prelu: `return select(z, z * ${slope}, z < T(0.0));`,
  };
  // exp of a positive argument overflows; of -2|z| it cannot.
  const stableTanh = `
    fn stableTanh(z: T) -> T {
      let e = exp(-2.0 * abs(z));
      return sign(z) * (T(1.0) - e) / (T(1.0) + e);
    }`;
  // Abramowitz and Stegun 7.1.26, absolute error below 1.5e-7: the formula tf.erf uses.
  const erf = `
    fn erfApproximation(v: T) -> T {
      let a = abs(v);
      let t = T(1.0) / (T(1.0) + 0.3275911 * a);
      let cubic = (1.061405429 * t - T(1.453152027)) * t + T(1.421413741);
      let poly = ((cubic * t - T(0.284496736)) * t + T(0.254829592)) * t;
      return sign(v) * (T(1.0) - poly * exp(-a * a));
    }`;
  const helpers = config.activation === 'tanh' || config.activation === 'gelu_new' ? stableTanh :
      config.activation === 'gelu' ? erf : '';
  return `${helpers}
    fn epilogue(sum: T, col: u32) -> T {
      let z = sum${config.hasBias ? ' + T(bias[col])' : ''};
      ${bodies[config.activation]}
    }`.replace(/\bT\b/g, T);
}
