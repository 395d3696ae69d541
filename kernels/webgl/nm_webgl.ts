/**
 * The WebGL program: y [rows, n] = activation(x · W + bias) with W compressed, on packed textures, whose texels hold
 * 2 × 2 elements. A fragment computes 2 rows × 2 columns of y.
 *
 * For two kept rows it fetches one texel of W and half a texel of row numbers, and for each of them one texel of x, of
 * which it uses the column of that row number: 3.5 texels. tfjs's dense program fetches two texels for two rows of W,
 * so this one wins where fewer than 4 of 7 rows are kept. With L = 1 the two columns of y have kept rows of their own;
 * 6 texels then, and a gain below 1 of 3.
 */
import type {GPGPUProgram} from '@tensorflow/tfjs-backend-webgl';
import type {FusedActivation} from '../contract.js';

export interface WebGLEpilogue {
  hasBias: boolean;
  activation: FusedActivation;
  leakyreluAlpha: number;
}

export class NMSparseMatMulPackedProgram implements GPGPUProgram {
  readonly variableNames: string[];
  readonly outputShape: number[];
  readonly packedInputs = true;
  readonly packedOutput = true;
  readonly userCode: string;

  /** @param kept kept rows of W, the rows of the input `w`; `rowIds` is laid out by {@link packRowIds}. */
  constructor([rows, n]: [number, number], kept: number, vectorLength: number, epilogue: WebGLEpilogue) {
    this.outputShape = [rows, n];
    const {hasBias, activation} = epilogue;
    this.variableNames = [
      'x', 'w', 'rowIds', ...(hasBias ? ['bias'] : []), ...(activation === 'prelu' ? ['slopes'] : []),
    ];
    const whole = kept - (kept % 4);
    const columns = vectorLength > 1 ? SHARED_ROWS : ownRows(n);
    this.userCode = `
      // Two rows of x, at the column that a row number selects.
      vec2 xAt(int row, float id) {
        int k = int(id);
        vec4 texel = getX(row, k);
        return (k & 1) == 0 ? texel.xz : texel.yw;
      }

      ${columns.multiply}

      ${ACTIVATION_HELPERS[activation] ?? ''}

      vec4 activate(vec4 z, vec4 slope) {
        ${ACTIVATIONS[activation]}
      }

      void main() {
        ivec2 rc = getOutputCoords();
        int group = 2 * (rc.y / ${vectorLength});
        vec4 sum = vec4(0.0);
        for (int j = 0; j < ${whole}; j += 4) {
          ${columns.loadIds('j / 2')}
          vec4 w0 = getW(j, rc.y);
          vec4 w1 = getW(j + 2, rc.y);
          sum += multiply(rc.x, ${columns.ids('x')}, w0.xy);
          sum += multiply(rc.x, ${columns.ids('y')}, w0.zw);
          sum += multiply(rc.x, ${columns.ids('z')}, w1.xy);
          sum += multiply(rc.x, ${columns.ids('w')}, w1.zw);
        }
        ${lastRows(kept, whole, columns)}
        ${hasBias ? 'sum += getBiasAtOutCoords();' : ''}
        setOutput(activate(sum, ${slopeOf(epilogue)}));
      }`;
  }
}

/** How the two columns of a texel of y find their rows of x. */
interface Columns {
  /** Defines multiply(row, …ids, weights): the products of one kept row. */
  multiply: string;
  /** Declares the row numbers of four kept rows; `at` is their column in the input rowIds. */
  loadIds(at: string): string;
  /** The arguments that are one kept row's numbers. */
  ids(component: string): string;
}

/** L ≥ 2: both columns share kept rows. */
const SHARED_ROWS: Columns = {
  multiply: `
      vec4 multiply(int row, float id, vec2 weights) {
        return xAt(row, id).xxyy * weights.xyxy;
      }`,
  loadIds: at => `vec4 id = getRowIds(group, ${at});`,
  ids: component => `id.${component}`,
};

/** L = 1: each column has its own. Where n is odd, the last texel's second column, past n, takes those of the first. */
function ownRows(n: number): Columns {
  return {
    multiply: `
      vec4 multiply(int row, float left, float right, vec2 weights) {
        vec2 a = xAt(row, left);
        vec2 b = xAt(row, right);
        return vec4(a.x, b.x, a.y, b.y) * weights.xyxy;
      }`,
    loadIds: at => `
          vec4 left = getRowIds(group, ${at});
          vec4 right = getRowIds(min(group + 2, ${2 * (n - 1)}), ${at});`,
    ids: component => `left.${component}, right.${component}`,
  };
}

function slopeOf({activation, leakyreluAlpha}: WebGLEpilogue): string {
  return activation === 'prelu' ? 'getSlopesAtOutCoords()' : `vec4(${leakyreluAlpha.toExponential()})`;
}

/** The kept rows past the last four: no more than there are, because a NaN of x times 0 would be NaN. */
function lastRows(kept: number, whole: number, {loadIds, ids}: Columns): string {
  const count = kept - whole;
  return count === 0 ? '' : `
        ${loadIds(String(whole / 2))}
        vec4 w0 = getW(${whole}, rc.y);
        sum += multiply(rc.x, ${ids('x')}, w0.xy);
        ${count > 1 ? `sum += multiply(rc.x, ${ids('y')}, w0.zw);` : ''}
        ${count > 2 ? `sum += multiply(rc.x, ${ids('z')}, getW(${whole + 2}, rc.y).xy);` : ''}`;
}

/** Bodies of activate(z, slope); NaN stays NaN. */
const ACTIVATIONS: Record<FusedActivation, string> = {
  linear: 'return z;',
  relu: 'return mix(z, vec4(0.0), lessThan(z, vec4(0.0)));',
  relu6: 'return mix(mix(z, vec4(0.0), lessThan(z, vec4(0.0))), vec4(6.0), greaterThan(z, vec4(6.0)));',
  elu: 'return mix(z, exp(min(z, 0.0)) - 1.0, lessThan(z, vec4(0.0)));',
  sigmoid: 'return 1.0 / (1.0 + exp(-z));',
  tanh: 'return stableTanh(z);',
  gelu: 'return 0.5 * z * (1.0 + erf(z * 0.7071067811865476));',
  gelu_new: 'return 0.5 * z * (1.0 + stableTanh(0.7978845608028654 * (z + 0.044715 * z * z * z)));',
  leakyrelu: 'return mix(z, z * slope, lessThan(z, vec4(0.0)));',
  prelu: 'return mix(z, z * slope, lessThan(z, vec4(0.0)));',
};

/** tanh of a driver may overflow. */
const STABLE_TANH = `
      vec4 stableTanh(vec4 z) {
        vec4 e = exp(-2.0 * abs(z));
        return mix(sign(z) * (1.0 - e) / (1.0 + e), z, isnan(z));
      }`;

/** Abramowitz and Stegun 7.1.26, as tf.erf: absolute error below 1.5e-7. */
const ERF = `
      vec4 erf(vec4 v) {
        vec4 t = 1.0 / (1.0 + 0.3275911 * abs(v));
        vec4 p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
        return sign(v) * (1.0 - p * exp(-v * v));
      }`;

const ACTIVATION_HELPERS: Partial<Record<FusedActivation, string>> = {
  tanh: STABLE_TANH, gelu_new: STABLE_TANH, gelu: ERF,
};

/**
 * Row numbers as a matrix whose packed texels hold four successive ones: [2 · groups, 2 · ceil(w / 4)].
 * @param rowIds [groups, w]
 */
export function packRowIds(rowIds: Int32Array, groups: number): {values: Float32Array; shape: [number, number]} {
  const kept = rowIds.length / groups;
  const cols = 2 * Math.ceil(kept / 4);
  const values = new Float32Array(2 * groups * cols);
  for (let group = 0; group < groups; ++group) {
    for (let j = 0; j < kept; ++j) {
      const row = 2 * group + ((j >> 1) & 1);
      values[row * cols + 2 * (j >> 2) + (j & 1)] = rowIds[group * kept + j];
    }
  }
  return {values, shape: [2 * groups, cols]};
}
