/**
 * Replaces products in a graph model's topology: the graph op takes the name of the last node that it stands for, and
 * the weight's Const node becomes two. All other nodes are taken over as they are.
 */
import {GRAPH_CONV2D, GRAPH_MAT_MUL, type GraphMatrixAttrs} from '../../ops/graph_ops.js';
import type {Product} from './find.js';
import {attrs, constNode, inputsOf, type AttrValue, type GraphDef, type NodeDef} from './graph_def.js';
import type {Scope} from './scope.js';

/** What stands for a weight now. */
export interface CompressedWeight {
  values: {name: string; shape: number[]; dtype: 'float32' | 'int32'};
  indices: {name: string; shape: number[]};
  attrs: Pick<GraphMatrixAttrs, 'pattern' | 'storage'>;
}

/** The nodes that take a weight's place. */
export function compressedNodes({values, indices}: CompressedWeight, control: string[] = []): NodeDef[] {
  return [constNode(values.name, values, control), constNode(indices.name, {...indices, dtype: 'int32'}, control)];
}

/** The graph op that takes a product's place, and that of its followers. */
export function graphOp({node, form, matrix, followers}: Product, weight: CompressedWeight): NodeDef {
  const {x, bias, activation, alpha, slopes} = form;
  const {shape, op} = matrix;
  const control = inputsOf(node).filter(({isControl}) => isControl);
  const common: Record<string, AttrValue> = {
    pattern: attrs.text(weight.attrs.pattern), shape: attrs.counts(shape), storage: attrs.text(weight.attrs.storage),
    activation: attrs.text(activation), alpha: attrs.number(alpha),
    has_bias: attrs.flag(bias !== undefined), has_slopes: attrs.flag(slopes !== undefined),
  };
  return {
    name: (followers[followers.length - 1] ?? node).name,
    op: op.kind === 'matMul' ? GRAPH_MAT_MUL : GRAPH_CONV2D,
    input: [
      x.text, weight.values.name, weight.indices.name, ...(bias ? [bias.text] : []), ...(slopes ? [slopes.text] : []),
      ...control.map(({text}) => text),
    ],
    attr: {...common, ...(op.kind === 'matMul' ? {
      contracted: attrs.count(op.attrs.contracted), units: attrs.counts(op.attrs.units),
    } : {
      filter_size: attrs.counts(op.attrs.filter_size), strides: attrs.counts(op.attrs.strides),
      dilations: attrs.counts(op.attrs.dilations), padding: attrs.text(op.attrs.padding),
      explicit_padding: attrs.counts(op.attrs.explicit_padding), data_format: attrs.text(op.attrs.data_format),
    })},
  };
}

/**
 * Rewrites a topology, which is not changed.
 * @param compressed by the name of the weight: every product of such a weight is replaced.
 */
export function rewriteGraph(
    graph: GraphDef, scopes: readonly Scope[], products: readonly Product[],
    compressed: ReadonlyMap<string, CompressedWeight>): GraphDef {
  const rewritten = (path: string, nodes: readonly NodeDef[]) => {
    const scope = scopes.find(each => each.path === path)!;
    return rewriteNodes(nodes, scope, products.filter(product => product.scope === scope), compressed);
  };
  const functions = graph.library?.function;
  return {
    ...graph,
    node: rewritten('', graph.node),
    ...(Array.isArray(functions) && {
      library: {...graph.library, function: functions.map(each =>
        Array.isArray(each.nodeDef) ? {...each, nodeDef: rewritten(each.signature.name, each.nodeDef)} : {...each})},
    }),
  };
}

function rewriteNodes(
    nodes: readonly NodeDef[], scope: Scope, products: readonly Product[],
    compressed: ReadonlyMap<string, CompressedWeight>): NodeDef[] {
  const replaced = new Map<NodeDef, NodeDef[]>();
  for (const product of products) {
    const weight = compressed.get(product.weight);
    if (weight) {
      const all = [product.node, ...product.followers];
      all.forEach(node => replaced.set(node, []));
      replaced.set(all[all.length - 1], [graphOp(product, weight)]);
    }
  }
  // From readers to what they read: what passes a weight on to replaced nodes only goes, then the weight.
  const isGone = (node: NodeDef) => replaced.has(node);
  let wentOn = replaced.size > 0;
  while (wentOn) {
    wentOn = false;
    for (const node of nodes) {
      const readers = scope.readersOf(node.name);
      const weightBehind = scope.constBehind({node: node.name, output: 0});
      if (!isGone(node) && !scope.isPinned(node.name) && readers.every(isGone) &&
          weightBehind !== undefined && compressed.has(weightBehind)) {
        const weight = node.op === 'Const' ? compressed.get(node.name) : undefined;
        replaced.set(node, weight ? compressedNodes(weight, node.input) : []);
        wentOn = true;
      }
    }
  }
  return nodes.flatMap(node => replaced.get(node) ?? [{...node}]);
}
