/**
 * pruneGraphModel: makes a graph model with N:M-sparse products from a GraphModel, which is not changed. The work is
 * done on data (graph/convert_graph.ts), not on the loaded model: what is not converted keeps its bytes.
 */
import {loadGraphModel, type GraphModel} from '@tensorflow/tfjs-converter';
import {io} from '@tensorflow/tfjs-core';
import {storedBytes, type StoredWeight} from '../format/stored_weights.js';
import {globMatcher, PRUNE_OPTION_NAMES, type PruneOptions} from '../pruning/options.js';
import {planLayers, type LayerPlan} from '../pruning/plan.js';
import {graphArtifacts, hasTopology} from '../tfjs/graph_artifacts.js';
import {checkCallback, checkOptionNames, describeValue} from '../util/options.js';
import {convertGraph, findInGraph, type GraphFiles, type GraphRequest} from './graph/convert_graph.js';
import type {Found, Product} from './graph/find.js';
import type {GraphDef} from './graph/graph_def.js';
import type {Signature} from './graph/scope.js';
import type {PruneProgress} from './layers_model.js';
import type {PruneReport} from './report.js';

export interface PruneGraphModelOptions extends PruneOptions {
  onProgress?: (progress: PruneProgress) => void;
}

/** Input channels of an image: a convolution of so few is the first. */
const IMAGE_CHANNELS = 4;
/** Products with fewer weights stay dense: they are a small part of every model. */
const TINY_WEIGHTS = 2048;
/** The last product stays dense if it has at most this share of all weights of products. */
const HEAD_SHARE = 0.05;

/**
 * Converts the matrix products and convolutions of a graph model to N:M: MatMul, BatchMatMul and Einsum with a constant
 * right operand, and Conv2D, fused or not. The model is pruned by magnitude; weights that fit the pattern already lose
 * nothing. Load the result with tf.loadGraphModel in a page that imports this package.
 *
 * ```ts
 * const {model: sparse, report} = await pruneGraphModel(model, {pattern: '8:32v32'});
 * await sparse.save('downloads://model');
 * ```
 *
 * Unless `include` or `perLayer` names them, these stay dense: convolutions of up to four input channels, products of
 * under 2048 weights, and a last product with at most 5 % of the weights. The report says for every node that reads
 * weights what became of it.
 *
 * @param model as tf.loadGraphModel returns it.
 * @returns a new model, and the report. The model given is not changed; dispose it if it is no longer needed.
 * @throws Error (as a rejection) naming the argument or option that is wrong, before any work is done.
 */
export async function pruneGraphModel(
    model: GraphModel, options: PruneGraphModelOptions): Promise<{model: GraphModel; report: PruneReport}> {
  checkArguments(model, options);
  const artifacts = await graphArtifacts(model);
  const files = graphFiles(artifacts, splitWeightData(artifacts));
  const found = findInGraph(files);
  const {topology, weights, report} = await convertGraph(files, found, graphRequest(found, options));
  const pruned = await loadGraphModel(io.fromMemory({
    ...artifacts, modelTopology: topology, weightSpecs: weights.map(({entry}) => entry),
    weightData: joined(weights.map(({bytes}) => bytes)),
  }));
  return {model: pruned, report};
}

/** A model's parts, as the conversion takes them. */
export function graphFiles(
    {modelTopology, signature, userDefinedMetadata, modelInitializer, initializerSignature}: io.ModelArtifacts,
    weights: StoredWeight[]): GraphFiles {
  const {signature: inMetadata} = (userDefinedMetadata ?? {}) as {signature?: Signature};
  const signatures = [signature, inMetadata, initializerSignature].filter(each => each != null) as Signature[];
  const initializer = modelInitializer as GraphDef | undefined;
  return {
    topology: modelTopology as GraphDef, signatures, weights,
    ...(Array.isArray(initializer?.node) && {initializer}),
  };
}

/** @throws Error naming the option that is wrong. */
export function graphRequest(found: Found, options: PruneGraphModelOptions): GraphRequest {
  const {products, remaining} = found;
  const names = [...products, ...remaining].map(({node: {name}, path}) => ({name, path}));
  const planFor = planLayers('pruneGraphModel', options, names);
  const named = options.perLayer === undefined ? () => false : globMatcher(
    (Array.isArray(options.perLayer) ? options.perLayer.map(([glob]: [string, unknown]) => glob) :
      Object.keys(options.perLayer)) as string[]);
  return {
    criterion: options.criterion ?? 'magnitude',
    dtype: options.dtype,
    onProgress: options.onProgress ?? (() => undefined),
    planFor(product) {
      const plan = planFor({name: product.node.name, path: product.path});
      const isAskedFor = options.include !== undefined || named(product.node.name) || named(product.path);
      return isAskedFor || 'reason' in plan ? plan : denseByDefault(product, found) ?? plan;
    },
  };
}

/** Why a product stays dense unless it is asked for: it holds few bytes, and pruning it costs much accuracy. */
function denseByDefault(product: Product, {products}: Found): LayerPlan | undefined {
  const {matrix: {shape: [k, n], op}, followers, node} = product;
  const {op: kind} = node;
  const hint = 'name it in include to convert it';
  if (op.kind === 'conv2d' && k / (op.attrs.filter_size[0] * op.attrs.filter_size[1]) <= IMAGE_CHANNELS) {
    return {reason: `${kind}: it reads an image, of at most ${IMAGE_CHANNELS} channels; ${hint}`};
  }
  if (k * n < TINY_WEIGHTS) {
    return {reason: `${kind}: it has only ${k * n} weights; ${hint}`};
  }
  const all = products.reduce((sum, {matrix: {shape}}) => sum + shape[0] * shape[1], 0);
  const last = (followers[followers.length - 1] ?? node).name;
  return k * n <= HEAD_SHARE * all && leadsToOutput(last, product) ?
    {reason: `${kind}: it is the last product, with ${(100 * k * n / all).toFixed(1)} % of the weights; ${hint}`} :
    undefined;
}

/** Nodes between the last product and an output. */
const AFTER_LAST = ['BiasAdd', 'Add', 'AddV2', 'Softmax', 'LogSoftmax', 'Sigmoid', 'Identity', 'Reshape', 'Squeeze',
  'ArgMax'];

/** Whether all that is computed from a node is an output, but for the nodes after a last product. */
function leadsToOutput(name: string, {scope}: Product): boolean {
  const reached = new Set([name]);
  for (const each of reached) { // grows meanwhile
    if (!scope.isPinned(each)) {
      for (const reader of scope.readersOf(each)) {
        if (!AFTER_LAST.includes(reader.op)) {
          return false;
        }
        reached.add(reader.name);
      }
    }
  }
  return scope.path === '';
}

function splitWeightData({weightSpecs, weightData}: io.ModelArtifacts): StoredWeight[] {
  const data = new Uint8Array(io.CompositeArrayBuffer.join(weightData));
  let offset = 0;
  return (weightSpecs ?? []).map(entry => {
    const length = storedBytes(entry, data.subarray(offset));
    offset += length;
    return {entry, bytes: data.subarray(offset - length, offset)};
  });
}

function joined(parts: readonly Uint8Array[]): ArrayBuffer {
  const whole = new Uint8Array(parts.reduce((sum, {length}) => sum + length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole.buffer;
}

function checkArguments(model: GraphModel, options: PruneGraphModelOptions): void {
  const fail = (why: string): never => {
    throw new Error(`pruneGraphModel: ${why}`);
  };
  if (typeof (model as {toJSON?: unknown} | undefined)?.toJSON === 'function') {
    fail('model is a tf.LayersModel; call pruneLayersModel.');
  }
  if (typeof model?.executeAsync !== 'function' || !hasTopology(model)) {
    fail(`model is ${describeValue(model)}; give a tf.GraphModel, as tf.loadGraphModel loads one.`);
  }
  checkOptionNames('pruneGraphModel', options, [...PRUNE_OPTION_NAMES, 'onProgress'], "{pattern: '8:32v32'}");
  checkCallback('pruneGraphModel', 'onProgress', options.onProgress);
}
