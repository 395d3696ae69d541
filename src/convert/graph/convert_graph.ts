/**
 * Converts a graph model as data: topology and stored weights in, the same out. Products are found (find.ts), their
 * weights pruned (prune_kernels.ts), and the topology rewritten (rewrite.ts). What is not converted stays as it is,
 * byte for byte.
 */
import {reshape, tidy, transpose, type Tensor2D} from '@tensorflow/tfjs-core';
import type {NMSparseMatrix} from '../../format/nm_sparse_matrix.js';
import {formatPattern, type NMPattern} from '../../format/pattern.js';
import type {StorageDtype} from '../../format/storage.js';
import {bytesOf, quantizeExactly, readWeight, type StoredWeight} from '../../format/stored_weights.js';
import {CRITERIA, type CriterionName} from '../../pruning/options.js';
import type {LayerPlan} from '../../pruning/plan.js';
import {pruneKernel, type PrunedKernel} from '../prune_kernels.js';
import type {LayerReport, PruneReport} from '../report.js';
import {findProducts, type Found, type Product} from './find.js';
import type {GraphDef, NodeDef} from './graph_def.js';
import {compressedNodes, graphOp, rewriteGraph, type CompressedWeight} from './rewrite.js';
import {addTo, scopesOf, type Scope, type Signature} from './scope.js';

export interface GraphFiles {
  topology: GraphDef;
  signatures: Signature[];
  initializer?: GraphDef;
  weights: StoredWeight[];
}

export interface GraphRequest {
  /** The verdict on a product. */
  planFor(product: Product): LayerPlan;
  criterion: CriterionName;
  dtype?: StorageDtype;
  onProgress(progress: {layer: string; done: number; total: number; fraction: number}): void;
}

export interface ConvertedGraph {
  topology: GraphDef;
  weights: StoredWeight[];
  report: PruneReport;
}

/** A weight, compressed, with what its products report. */
interface Outcome {
  pruned?: {figures: Pick<PrunedKernel, 'keptEnergy' | 'note'>; pattern: NMPattern; bytes: number};
  reason?: string;
  stored?: StoredWeight[];
  compressed?: CompressedWeight;
}

export interface FoundInGraph extends Found {
  scopes: Scope[];
}

/** All nodes that read weights, before anything is decided. */
export function findInGraph({topology, signatures, initializer, weights}: GraphFiles): FoundInGraph {
  const scopes = scopesOf(topology, signatures, initializer);
  const infos = new Map(weights.map(({entry: {name, shape, dtype}}) => [name, {shape, dtype}]));
  return {scopes, ...findProducts(scopes, infos)};
}

/**
 * Converts the products of a graph model.
 * @param found in these files.
 * @throws what onProgress throws, and Error if products that share a weight get different plans.
 */
export async function convertGraph(
    files: GraphFiles, found: FoundInGraph, request: GraphRequest): Promise<ConvertedGraph> {
  const {products, scopes} = found;
  const plans = new Map(products.map(product => [product, request.planFor(product)]));
  const stored = new Map(files.weights.map(weight => [weight.entry.name, weight]));
  const names = new Set([...stored.keys(), ...scopes.flatMap(({nodes}) => nodes.map(({name}) => name))]);
  const byWeight = new Map<string, Product[]>();
  products.forEach(product => addTo(byWeight, product.weight, product));
  const outcomes = new Map<string, Outcome>();
  const chosen = [...byWeight].filter(([, [first, ...others]]) => {
    const plan = plans.get(first)!;
    const other = others.find(each => JSON.stringify(plans.get(each)) !== JSON.stringify(plan));
    if (other) {
      throw new Error(`pruneGraphModel: '${first.path}' and '${other.path}' share their weights, but the options ` +
        'give them different patterns; match both nodes or neither.');
    }
    return 'pattern' in plan;
  });
  const sizeOf = ({matrix: {shape: [k, n]}}: Product) => k * n;
  const all = chosen.reduce((sum, [, [first]]) => sum + sizeOf(first), 0);
  let before = 0;
  for (const [done, [weight, [first, ...others]]] of chosen.entries()) {
    const report = (fraction: number) => request.onProgress({
      layer: first.path, done, total: chosen.length, fraction: (before + fraction * sizeOf(first)) / all,
    });
    report(0);
    const {pattern} = plans.get(first) as {pattern: NMPattern};
    outcomes.set(weight, await compressWeight(
      stored.get(weight)!, [first, ...others], pattern, names, {...request, onProgress: report}));
    before += sizeOf(first);
  }
  request.onProgress({layer: '', done: chosen.length, total: chosen.length, fraction: 1});
  const compressed = new Map([...outcomes].flatMap(([weight, outcome]) =>
    outcome.compressed ? [[weight, outcome.compressed] as const] : []));
  return {
    topology: rewriteGraph(files.topology, scopes, products, compressed),
    weights: files.weights.flatMap(weight => outcomes.get(weight.entry.name)?.stored ?? [weight]),
    report: reportOf(found, plans, outcomes, files.weights),
  };
}

interface WeightRequest extends Pick<GraphRequest, 'criterion' | 'dtype'> {
  onProgress(fraction: number): void;
}

/** Prunes and stores one weight, unless that would take more bytes than it takes now. */
async function compressWeight(
    weight: StoredWeight, products: Product[], pattern: NMPattern, names: Set<string>,
    {criterion, dtype, onProgress}: WeightRequest): Promise<Outcome> {
  const {quantization} = weight.entry;
  const {matrix: {shape, isTransposed}} = products[0];
  const unique = (suffix: string) => {
    let name = `${weight.entry.name}/${suffix}`;
    while (names.has(name)) {
      name += '_';
    }
    return name;
  };
  const [valuesName, indicesName] = [unique('nm_values'), unique('nm_indices')];
  const kernel = tidy(() => {
    const tensor = readWeight(weight);
    return isTransposed ? transpose(tensor as Tensor2D) : reshape(tensor, shape);
  });
  let made: {compressed: CompressedWeight; stored: StoredWeight[]} | undefined;
  const store = async (matrix: NMSparseMatrix) => {
    const {values, indices} = matrix;
    const entry = {name: valuesName, shape: values.shape, dtype: values.dtype as 'float32' | 'int32'};
    const data = await values.data() as Float32Array | Int32Array;
    const again = quantization && data instanceof Float32Array ?
      quantizeExactly(entry, data, quantization) : undefined;
    const words = await indices.data() as Int32Array;
    made = {
      compressed: {
        values: entry, indices: {name: indicesName, shape: indices.shape},
        attrs: {pattern: formatPattern(matrix.pattern), storage: matrix.dtype},
      },
      stored: [again ?? {entry, bytes: copied(bytesOf(data))},
        {entry: {name: indicesName, shape: indices.shape, dtype: 'int32'}, bytes: copied(bytesOf(words))}],
    };
    return made.stored.reduce((sum, {bytes}) => sum + bytes.length, 0) + topologyGrowth(weight, products, made);
  };
  try {
    const outcome = await pruneKernel(kernel as Tensor2D, {
      pattern, criterion: CRITERIA[criterion], replaced: false, bytesNow: weight.bytes.length, bytesOf: store,
      onProgress,
      // A float16 value takes two bytes, more than a uint8 one.
      dtype: quantization?.dtype === 'uint8' ? 'float32' : dtype,
    });
    if ('reason' in outcome) {
      return outcome;
    }
    const {matrix, keptEnergy, note} = outcome;
    const {bytes} = matrix;
    matrix.dispose();
    names.add(valuesName).add(indicesName);
    return {...made!, pruned: {figures: {keptEnergy, note}, pattern, bytes}};
  } finally {
    kernel.dispose();
  }
}

/** Bytes by which model.json grows: small weights must not shrink less than that. */
function topologyGrowth(
    weight: StoredWeight, products: Product[],
    {compressed, stored}: {compressed: CompressedWeight; stored: StoredWeight[]}): number {
  const length = (value: unknown) => JSON.stringify(value).length;
  const nodesNow = products.flatMap(({node, followers}) => [node, ...followers]);
  const nodesThen = products.map(product => graphOp(product, compressed));
  const constNow = products[0].scope.node(weight.entry.name);
  return length([...nodesThen, ...compressedNodes(compressed), ...stored.map(({entry}) => entry)]) -
    length([...nodesNow, constNow, weight.entry]);
}

function copied(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

/** Every node that reads weights; weights that several read count where they are read first. */
function reportOf(
    {products, remaining}: Found, plans: Map<Product, LayerPlan>, outcomes: Map<string, Outcome>,
    weights: readonly StoredWeight[]): PruneReport {
  const memoryBytes = new Map(weights.map(({entry: {name, shape, dtype}}) =>
    [name, shape.reduce((a, b) => a * b, 1) * (dtype === 'bool' ? 1 : 4)]));
  const counted = new Set<string>();
  const bytes = (name: string) => {
    const first = !counted.has(name);
    counted.add(name);
    return first ? memoryBytes.get(name) ?? 0 : 0;
  };
  const layers = new Map<NodeDef, LayerReport>();
  for (const product of products) {
    const {path, node, weight, matrix: {shape}} = product;
    const plan = plans.get(product)!;
    const {pruned, reason} = outcomes.get(weight) ?? {};
    const before = bytes(weight);
    layers.set(node, {
      name: path, className: node.op, converted: pruned !== undefined, shape, multiplyAdds: shape[0] * shape[1],
      bytesBefore: before, bytesAfter: pruned && before > 0 ? pruned.bytes : before,
      ...(pruned && {pattern: formatPattern(pruned.pattern), keptEnergy: pruned.figures.keptEnergy}),
      ...('reason' in plan ? {reason: plan.reason} : reason ? {reason} : {}),
      ...(pruned?.figures.note && {reason: pruned.figures.note}),
    });
  }
  const leaderOf = new Map(products.flatMap(({node, followers}) => followers.map(each => [each, node] as const)));
  for (const {node, path, weight, reason} of remaining) {
    const size = bytes(weight);
    const leader = leaderOf.get(node) ?? node;
    const of = layers.get(leader);
    if (of) {
      of.bytesBefore += size;
      of.bytesAfter += size;
    } else {
      layers.set(leader, {
        name: path, className: node.op, converted: false, multiplyAdds: 0, bytesBefore: size, bytesAfter: size, reason,
      });
    }
  }
  const list = [...layers.values()];
  const rest = [...memoryBytes].filter(([name]) => !counted.has(name)).reduce((sum, [, size]) => sum + size, 0);
  const total = (of: (layer: LayerReport) => number) => list.reduce((sum, layer) => sum + of(layer), rest);
  return {layers: list, bytesBefore: total(layer => layer.bytesBefore), bytesAfter: total(layer => layer.bytesAfter)};
}
