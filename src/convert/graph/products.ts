/**
 * What each kind of node multiplies: the constant operand as a matrix [k, n], and the attributes of the graph op that
 * can stand for the node. One function per kind; each returns a reason if this node is one that cannot be replaced.
 */
import type {FusedActivation} from '../../../kernels/contract.js';
import type {GraphConv2DAttrs, GraphMatMulAttrs, GraphMatrixAttrs} from '../../ops/graph_ops.js';
import {
  boolAttr, dataInputs, numberAttr, numbersAttr, textAttr, textsAttr, type InputName, type NodeDef,
} from './graph_def.js';

/** A node as a product. */
export interface ProductForm {
  x: InputName;
  weights: InputName;
  /** How the weights are stored, as a matrix. */
  matrix: (shape: readonly number[]) => MatrixForm | {reason: string};
  /** The product has at least this rank. */
  leastRank: number;
  bias?: InputName;
  activation: FusedActivation;
  alpha: number;
  slopes?: InputName;
}

/** Weights as a matrix [k, n]. */
export interface MatrixForm {
  shape: [k: number, n: number];
  /** Whether they are stored as [n, k]. */
  isTransposed: boolean;
  op: {kind: 'matMul'; attrs: Pick<GraphMatMulAttrs, 'contracted' | 'units'>} |
    {kind: 'conv2d'; attrs: Omit<GraphConv2DAttrs, keyof GraphMatrixAttrs>};
}

type Reader = (node: NodeDef) => ProductForm | {reason: string};

const NO_EPILOGUE = {activation: 'linear', alpha: 0.2} as const;

/** TensorFlow's activations, fused or as nodes of their own, by the name of the op → ours. */
export const ACTIVATIONS: Readonly<Record<string, FusedActivation>> = {
  Relu: 'relu', Relu6: 'relu6', Elu: 'elu', Sigmoid: 'sigmoid', Tanh: 'tanh', LeakyRelu: 'leakyrelu', Prelu: 'prelu',
};

/** The matrix of a weight of rank 2. */
function plainMatrix(isTransposed: boolean): ProductForm['matrix'] {
  return shape => {
    if (shape.length !== 2) {
      return {reason: `its weights have the shape [${shape}]; only matrices can be converted`};
    }
    const [k, n] = isTransposed ? [shape[1], shape[0]] : shape;
    return {shape: [k, n], isTransposed, op: {kind: 'matMul', attrs: {contracted: 1, units: [n]}}};
  };
}

const matMul: Reader = node => {
  if (boolAttr(node, 'transpose_a', 'adj_x')) {
    return {reason: 'its left operand is transposed'};
  }
  const [x, weights, ...rest] = dataInputs(node);
  const epilogue = fusedEpilogue(node, rest);
  return 'reason' in epilogue ? epilogue :
    {x, weights, matrix: plainMatrix(boolAttr(node, 'transpose_b', 'adj_y')), leastRank: 2, ...epilogue};
};

/** 'abc,cd->abd': W's first dimensions are the last of x, and the others are the last of y, in the same order. */
const einsum: Reader = node => {
  const equation = textAttr(node, 'equation').replace(/\s/g, '');
  const parts = /^([a-zA-Z]+),([a-zA-Z]+)->([a-zA-Z]+)$/.exec(equation);
  const inputs = dataInputs(node);
  if (!parts || inputs.length !== 2) {
    return {reason: `it is an Einsum of '${equation}', not a matrix product`};
  }
  const [, x, w, y] = parts;
  const contracted = [...w].filter(label => x.includes(label) && !y.includes(label)).length;
  const leading = x.slice(0, x.length - contracted);
  const isProduct = contracted > 0 && w.startsWith(x.slice(x.length - contracted)) &&
    y === leading + w.slice(contracted) && w.length > contracted && new Set(x + w.slice(contracted)).size ===
    x.length + w.length - contracted;
  if (!isProduct) {
    return {reason: `it is an Einsum of '${equation}', not a matrix product`};
  }
  return {
    x: inputs[0], weights: inputs[1], leastRank: y.length, ...NO_EPILOGUE,
    matrix: shape => {
      if (shape.length !== w.length) {
        return {reason: `its weights have the shape [${shape}], which '${equation}' does not fit`};
      }
      const units = shape.slice(contracted);
      const size = (dims: readonly number[]) => dims.reduce((a, b) => a * b, 1);
      return {
        shape: [size(shape.slice(0, contracted)), size(units)], isTransposed: false,
        op: {kind: 'matMul', attrs: {contracted, units}},
      };
    },
  };
};

const conv2d: Reader = node => {
  const [x, weights, ...rest] = dataInputs(node);
  const epilogue = fusedEpilogue(node, rest);
  if ('reason' in epilogue) {
    return epilogue;
  }
  const format = textAttr(node, 'data_format') || 'NHWC';
  const padding = textAttr(node, 'padding').toLowerCase();
  if (format !== 'NHWC' && format !== 'NCHW') {
    return {reason: `its data format is ${format}`};
  }
  if (!['same', 'valid', 'explicit'].includes(padding)) {
    return {reason: `its padding is '${padding}'`};
  }
  const spatial = format === 'NHWC' ? [1, 2] : [2, 3];
  const pick = (name: string) => {
    const all = numbersAttr(node, name);
    return all.length === 4 ? spatial.map(axis => all[axis]) : [1, 1];
  };
  if (format === 'NCHW' && [...pick('strides'), ...pick('dilations')].some(size => size !== 1)) {
    return {reason: 'it is NCHW with strides or dilations, which tfjs reads from the wrong dimensions'};
  }
  const pads = numbersAttr(node, 'explicit_paddings');
  if (padding === 'explicit' && pads.length !== 8) {
    return {reason: `its padding is explicit, with ${pads.length} numbers`};
  }
  if (format === 'NCHW' && epilogue.activation === 'prelu') {
    return {reason: 'it is NCHW, with slopes by channel'};
  }
  const explicit = padding === 'explicit' ? spatial.flatMap(axis => [pads[2 * axis], pads[2 * axis + 1]]) :
    [0, 0, 0, 0];
  return {
    x, weights, leastRank: 4, ...epilogue,
    matrix: shape => {
      if (shape.length !== 4) {
        return {reason: `its filter has the shape [${shape}]`};
      }
      const [height, width, channels, units] = shape;
      return {
        shape: [height * width * channels, units], isTransposed: false,
        op: {kind: 'conv2d', attrs: {
          filter_size: [height, width], strides: pick('strides'), dilations: pick('dilations'), padding,
          explicit_padding: explicit, data_format: format,
        }},
      };
    },
  };
};

/** The kinds of nodes that are products. */
export const PRODUCTS: Readonly<Record<string, Reader>> = {
  MatMul: matMul, _FusedMatMul: matMul, BatchMatMul: matMul, BatchMatMulV2: matMul, BatchMatMulV3: matMul,
  Einsum: einsum, Conv2D: conv2d, _FusedConv2D: conv2d,
};

type Epilogue = Pick<ProductForm, 'bias' | 'activation' | 'alpha' | 'slopes'>;

/** What a fused node applies to its product: the inputs after the operands, in the order of `fused_ops`. */
function fusedEpilogue(node: NodeDef, rest: InputName[]): Epilogue | {reason: string} {
  const ops = textsAttr(node, 'fused_ops').filter(op => op !== '');
  const inputs = rest.slice(0, numberAttr(node, 'num_args', rest.length));
  const epilogue: Epilogue = {...NO_EPILOGUE};
  for (const [i, op] of ops.entries()) {
    if (op === 'BiasAdd' && i === 0 && inputs.length > 0) {
      epilogue.bias = inputs.shift();
    } else if (Object.hasOwn(ACTIVATIONS, op) && i === ops.length - 1) {
      epilogue.activation = ACTIVATIONS[op];
      if (op === 'Prelu') {
        epilogue.slopes = inputs.shift();
      } else if (op === 'LeakyRelu') {
        epilogue.alpha = numberAttr(node, 'leakyrelu_alpha', 0.2);
      }
    } else {
      return {reason: `it fuses ${ops.join(', ')}`};
    }
  }
  return epilogue.activation === 'prelu' && !epilogue.slopes ? {reason: 'its slopes are missing'} : epilogue;
}
