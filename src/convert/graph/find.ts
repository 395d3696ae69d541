/**
 * Finds the products of a graph model that a compressed matrix can stand in for, and says of all other nodes that read
 * weights why they stay.
 */
import {dataInputs, inputsOf, numberAttr, textAttr, type InputName, type NodeDef} from './graph_def.js';
import {ACTIVATIONS, PRODUCTS, type MatrixForm, type ProductForm} from './products.js';
import {addTo, isPassing, type Scope} from './scope.js';

/** What is known of a weight before its data is read. */
export interface WeightInfo {
  shape: readonly number[];
  dtype: string;
}

/** A node that reads a weight. */
export interface Reader {
  scope: Scope;
  node: NodeDef;
  path: string;
  /** Name of the weight. */
  weight: string;
}

/** A product, with the nodes that can become one with it. */
export interface Product extends Reader {
  form: ProductForm;
  matrix: MatrixForm;
  /** Nodes after it that its graph op computes too; the last one's name is kept. */
  followers: NodeDef[];
}

/** A reader that stays as it is. */
export interface Remaining extends Reader {
  reason: string;
}

export interface Found {
  products: Product[];
  remaining: Remaining[];
}

/** Default slope of a LeakyRelu node in tfjs 4.22 (op_list/basic_math). */
const LEAKY_RELU_ALPHA = 0.2;

/**
 * @param weights of the model by name.
 * @returns each reader of a float weight once.
 */
export function findProducts(scopes: readonly Scope[], weights: ReadonlyMap<string, WeightInfo>): Found {
  const readers = scopes.flatMap(scope => scope.nodes.flatMap(node => readersIn(scope, node, weights)));
  const judged = readers.map(reader => judge(reader, weights));
  return leaveSharedWeights(judged);
}

/** The weights that a node reads or waits for, directly or through nodes that pass them on. */
function readersIn(scope: Scope, node: NodeDef, weights: ReadonlyMap<string, WeightInfo>): Reader[] {
  if (node.op === 'Const') {
    const isFloat = weights.get(node.name)?.dtype === 'float32';
    return isFloat && scope.isPinned(node.name) ? [{scope, node, path: scope.pathOf(node), weight: node.name}] : [];
  }
  if (isPassing(node) && !scope.isPinned(node.name) && inputsOf(node).every(({isControl}) => !isControl)) {
    return []; // its readers are
  }
  const names = new Set(inputsOf(node).map(input => weightOf(scope, input, weights)));
  return [...names].filter(weight => weight !== undefined)
    .map(weight => ({scope, node, path: scope.pathOf(node), weight}));
}

/** The name of the weight that an input is; undefined if it is none, or not a float one. */
function weightOf(
    scope: Scope, input: InputName, weights: ReadonlyMap<string, WeightInfo>): string | undefined {
  const name = scope.constBehind(input);
  return name !== undefined && weights.get(name)?.dtype === 'float32' ? name : undefined;
}

function judge(reader: Reader, weights: ReadonlyMap<string, WeightInfo>): Product | Remaining {
  const {scope, node, weight} = reader;
  const leave = (reason: string): Remaining => ({...reader, reason: `${node.op}: ${reason}`});
  if (!Object.hasOwn(PRODUCTS, node.op)) {
    return leave('only matrix products and convolutions are converted');
  }
  if (!scope.isRewritable) {
    return leave('it initializes the model');
  }
  if (dataInputs(node).length < 2) {
    return leave('an operand is missing');
  }
  const form = PRODUCTS[node.op](node);
  if ('reason' in form) {
    return leave(form.reason);
  }
  if (weightOf(scope, form.weights, weights) !== weight) {
    return leave('this weight is not its right operand');
  }
  if (weightOf(scope, form.x, weights) === weight) {
    return leave('both of its operands are this weight');
  }
  const matrix = form.matrix(weights.get(weight)!.shape);
  if ('reason' in matrix) {
    return leave(matrix.reason);
  }
  if (matrix.shape.some(size => !(size >= 1))) {
    return leave('its weights are empty');
  }
  return {...reader, matrix, ...followersOf(scope, node, form, matrix, weights)};
}

/** Adds a bias and an activation that follow as nodes of their own, if nothing else reads what lies between. */
function followersOf(
    scope: Scope, product: NodeDef, form: ProductForm, {shape: [, n], op}: MatrixForm,
    weights: ReadonlyMap<string, WeightInfo>): Pick<Product, 'form' | 'followers'> {
  const fused = {...form};
  const followers: NodeDef[] = [];
  const isNCHW = op.kind === 'conv2d' && op.attrs.data_format === 'NCHW';
  /** Whether it is a constant with one element a column, of a rank that broadcasting leaves the product's alone. */
  const isVector = (input: InputName | undefined) => {
    const name = input && weightOf(scope, input, weights);
    const dims = name === undefined ? [] : weights.get(name)!.shape;
    return dims.length >= 1 && dims.length <= form.leastRank && dims[dims.length - 1] === n &&
      dims.slice(0, -1).every(size => size === 1);
  };
  for (let last = product; fused.activation === 'linear';) {
    const [next, ...others] = scope.readersOf(last.name);
    if (!next || others.length > 0 || scope.isPinned(last.name)) {
      break;
    }
    const inputs = dataInputs(next);
    const at = inputs.findIndex(({node, output}) => node === last.name && output === 0);
    if (at < 0 || inputs.filter(({node}) => node === last.name).length > 1 ||
        inputsOf(next).some(({isControl}) => isControl)) {
      break;
    }
    const other = inputs[1 - at];
    const isBias = ['Add', 'AddV2'].includes(next.op) ? !isNCHW : next.op === 'BiasAdd' && at === 0 &&
      (textAttr(next, 'data_format') || 'NHWC') === (isNCHW ? 'NCHW' : 'NHWC');
    if (isBias && !fused.bias && inputs.length === 2 && isVector(other)) {
      fused.bias = other;
    } else if (Object.hasOwn(ACTIVATIONS, next.op) && at === 0) {
      if (next.op === 'Prelu') {
        if (isNCHW || !isVector(other)) {
          break;
        }
        fused.slopes = other;
      }
      fused.activation = ACTIVATIONS[next.op];
      fused.alpha = next.op === 'LeakyRelu' ? numberAttr(next, 'alpha', LEAKY_RELU_ALPHA) : fused.alpha;
    } else {
      break;
    }
    followers.push(next);
    last = next;
  }
  return {form: fused, followers};
}

/** A weight that anything else reads must stay, and a matrix beside it would be a second copy. */
function leaveSharedWeights(judged: Array<Product | Remaining>): Found {
  const formOf = (each: Product | Remaining) => 'reason' in each ? undefined :
    `${each.matrix.shape} ${each.matrix.isTransposed}`;
  const readersOf = new Map<string, Array<Product | Remaining>>();
  judged.forEach(each => addTo(readersOf, each.weight, each));
  const found: Found = {products: [], remaining: []};
  for (const each of judged) {
    const other = readersOf.get(each.weight)!.find(reader => formOf(reader) !== formOf(each));
    if ('reason' in each) {
      found.remaining.push(each);
    } else if (other) {
      const {scope, node, path, weight} = each;
      found.remaining.push({
        scope, node, path, weight, reason: `${node.op}: its weights are also read by ${other.node.op} '${other.path}'`,
      });
    } else {
      found.products.push(each);
    }
  }
  return found;
}
