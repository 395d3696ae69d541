/**
 * pruneLayersModel: a LayersModel in, one with N:M-sparse layers out; the old one is left as it was.
 *
 * tfjs has no cloneModel, and layers cannot be exchanged inside a model. So the topology is rewritten as
 * configuration, with NMDense where Dense was, a new model is made of it, and the weights are carried over layer by
 * layer, side by side through both models: by position in the tree, not by weight name, since names need be unique
 * only in files.
 *
 * TimeDistributed(Dense) becomes one NMDense: it does the same for all time steps in one product, where the wrapper
 * would run the layer once a step.
 */
import {type Tensor, type Tensor2D} from '@tensorflow/tfjs-core';
import type {layers, LayersModel} from '@tensorflow/tfjs-layers';
import {compress} from '../format/compress.js';
import type {NMSparseMatrix, StorageDtype} from '../format/nm_sparse_matrix.js';
import {formatPattern, type NMPattern} from '../format/pattern.js';
import {NMDense} from '../layers/nm_dense.js';
import {decompress} from '../ops/nm_sparse_mat_mul.js';
import {planLayers, PRUNE_OPTION_NAMES, type LayerPlan, type PruneOptions} from '../pruning/plan.js';
import {multiplyAdds} from './multiply_adds.js';
import {summarize, type LayerReport, type PruneReport} from './report.js';

export interface PruneProgress {
  /** Path of the layer at work. */
  layer: string;
  /** Layers finished, of the layers to convert. */
  done: number;
  total: number;
  /** 0 … 1, by number of weights. */
  fraction: number;
}

export interface PruneLayersModelOptions extends PruneOptions {
  onProgress?: (progress: PruneProgress) => void;
}

type Layer = layers.Layer;
type Container = Layer & {layers: Layer[]};

/** A layer as getConfig writes it into a container's. */
interface LayerJson {
  className: string;
  config: Record<string, unknown> & {name?: string; layers?: LayerJson[]; layer?: LayerJson};
}

/** What LayersModel and Sequential have as classes; their types don't say it. */
interface ModelClass {
  fromConfig(cls: unknown, config: object, customObjects: object, fastWeightInit: boolean): LayersModel;
}

/** A layer, where it stands in the topology, and the Dense in it if it is one or wraps one. */
interface Found {
  layer: Layer;
  json: LayerJson;
  path: string;
  dense?: Layer;
}

/**
 * Converts a model's dense layers to N:M. Sequential and functional models, nested models, shared layers and
 * TimeDistributed(Dense) are understood; NMDense layers are compressed anew, so a float32 model that was trained
 * further can be stored as float16. Weights are pruned by magnitude; weights that fit the pattern already lose
 * nothing.
 *
 * const {model: sparse, report} = await pruneLayersModel(model, {pattern: '8:32v32', dtype: 'float16'});
 *
 * @returns the new model, not compiled (call compile before fit or evaluate), and a report on every layer. The model
 *     given is not changed; dispose it if it is no longer needed.
 * @throws Error naming the option that is wrong, before any work is done.
 */
export async function pruneLayersModel(
    model: LayersModel, options: PruneLayersModelOptions): Promise<{model: LayersModel; report: PruneReport}> {
  checkArguments(model, options);
  const {dtype = 'float32', onProgress} = options;
  const configuration = {className: model.getClassName(), config: model.getConfig()};
  const topology = JSON.parse(JSON.stringify(configuration)) as LayerJson;
  const found = findLayers(model, topology, '');
  const planFor = planLayers('pruneLayersModel', options, found.map(({layer, path}) => ({name: layer.name, path})));
  const reports: LayerReport[] = [];
  const matrices = new Map<Layer, NMSparseMatrix>();
  const planned = found.map(at => ({at, plan: at.dense ? planFor(at.layer.name, at.path) : notDense(at)}));
  refuseDivergingPlans(planned);
  const convertible = planned.filter(({plan}) => 'pattern' in plan);
  const allWeights = convertible.reduce((sum, {at}) => sum + weightCount(at.layer), 0);
  let doneWeights = 0;
  let done = 0;
  try {
    for (const {at, plan} of planned) {
      const {layer, json, path, dense} = at;
      const bytesBefore = weightBytes(layer);
      const asBefore: LayerReport = {
        name: path, className: layer.getClassName(), converted: false, bytesBefore, bytesAfter: bytesBefore,
        multiplyAdds: multiplyAdds(layer, kernelShape(dense).shape), ...kernelShape(dense),
      };
      if ('reason' in plan || !dense) {
        reports.push({...asBefore, ...plan as {reason: string}});
        continue;
      }
      const progress = (fraction: number) => onProgress?.({
        layer: path,
        done,
        total: convertible.length,
        fraction: (doneWeights + fraction * weightCount(layer)) / allWeights,
      });
      progress(0);
      const outcome = await compressKernel(dense, plan.pattern, dtype, progress);
      doneWeights += weightCount(layer);
      done++;
      if ('reason' in outcome) {
        reports.push({...asBefore, reason: outcome.reason});
        continue;
      }
      // A layer that two nested models share stands in both, and becomes one in each.
      matrices.get(layer)?.dispose();
      matrices.set(layer, outcome.matrix);
      rewrite(json, plan.pattern, dtype);
      reports.push({
        ...asBefore,
        converted: true,
        pattern: formatPattern(plan.pattern),
        bytesAfter: outcome.matrix.bytes + (hasBias(dense) ? 4 * outcome.matrix.shape[1] : 0),
        keptEnergy: outcome.keptEnergy,
        ...(dense === layer ? {} : {reason: 'the wrapper became one NMDense over all time steps'}),
      });
    }
    onProgress?.({layer: '', done, total: convertible.length, fraction: 1});
    return {model: rebuild(model, topology, matrices), report: summarize(reports)};
  } finally {
    matrices.forEach(matrix => matrix.dispose());
  }
}

function checkArguments(model: LayersModel, options: PruneLayersModelOptions): void {
  if (typeof model?.toJSON !== 'function' || !Array.isArray(model.layers)) {
    throw new Error('pruneLayersModel: model is not a tf.LayersModel; load one with tf.loadLayersModel.');
  }
  if (options === null || typeof options !== 'object') {
    throw new Error("pruneLayersModel: options is missing; give at least {pattern: '8:32v32'}.");
  }
  const unknown = Object.keys(options).find(name => name !== 'onProgress' && !PRUNE_OPTION_NAMES.includes(name));
  if (unknown !== undefined) {
    throw new Error(`pruneLayersModel: there is no option '${unknown}'; ` +
        `the options are ${[...PRUNE_OPTION_NAMES, 'onProgress'].join(', ')}.`);
  }
  if (options.onProgress !== undefined && typeof options.onProgress !== 'function') {
    throw new Error(`pruneLayersModel: onProgress is ${JSON.stringify(options.onProgress)}; give a function.`);
  }
}

/** tfjs saves a layer that two nested models share once for each; so they can both be converted, but only alike. */
function refuseDivergingPlans(planned: {at: Found; plan: LayerPlan}[]): void {
  const seen = new Map<Layer, {path: string; plan: string}>();
  for (const {at: {layer, path}, plan} of planned) {
    const first = seen.get(layer);
    if (first && first.plan !== JSON.stringify(plan)) {
      throw new Error(`pruneLayersModel: '${first.path}' and '${path}' are one layer, but the options treat them ` +
          'differently; name both or neither.');
    }
    seen.set(layer, {path, plan: JSON.stringify(plan)});
  }
}

function notDense({layer}: Found): {reason: string} {
  return {reason: `${layer.getClassName()}: only Dense layers are converted`};
}

/** Every layer of a container that is not a container itself, with its JSON, in order. */
function findLayers(container: Container, json: LayerJson, prefix: string): Found[] {
  return container.layers.flatMap(layer => {
    const at = json.config.layers?.find(({config}) => config.name === layer.name) as LayerJson;
    const path = prefix + layer.name;
    if (isContainer(layer)) {
      return findLayers(layer, at, `${path}/`);
    }
    const inner = wrapped(layer);
    if (inner && isContainer(inner)) {
      return findLayers(inner, at.config.layer as LayerJson, `${path}/`);
    }
    const dense = isDense(layer) ? layer : layer.getClassName() === 'TimeDistributed' && inner && isDense(inner) ?
      inner : undefined;
    return [{layer, json: at, path, dense}];
  });
}

function isContainer(layer: Layer): layer is Container {
  return Array.isArray((layer as {layers?: unknown}).layers);
}

/** The layer inside a wrapper (TimeDistributed, Bidirectional). */
function wrapped(layer: Layer): Layer | undefined {
  return (layer as {layer?: Layer}).layer;
}

/** Dense or NMDense themselves; a subclass of the user's may multiply otherwise. */
function isDense(layer: Layer): boolean {
  return ['Dense', NMDense.className].includes(layer.getClassName());
}

function hasBias(dense: Layer): boolean {
  return (dense as unknown as {useBias: boolean}).useBias;
}

function kernelShape(dense: Layer | undefined): {shape?: [number, number]} {
  if (!dense?.built) {
    return {};
  }
  return {shape: dense instanceof NMDense ? dense.matrix().shape : dense.weights[0].shape as [number, number]};
}

function weightCount(layer: Layer): number {
  return layer.weights.reduce((sum, {shape}) => sum + shape.reduce((a, b) => (a as number) * (b as number), 1)!, 0);
}

/** All dtypes of weights take four bytes an element. */
function weightBytes(layer: Layer): number {
  return 4 * weightCount(layer);
}

/** A layer's kernel, compressed; or why it is better left alone. */
async function compressKernel(
    dense: Layer, pattern: NMPattern, dtype: StorageDtype,
    onProgress: (fraction: number) => void): Promise<{matrix: NMSparseMatrix; keptEnergy: number} | {reason: string}> {
  const kernel = dense instanceof NMDense ? decompress(dense.matrix()) : dense.weights[0].read() as Tensor2D;
  const disposable: {dispose(): void}[] = dense instanceof NMDense ? [kernel] : [];
  try {
    const matrix = await compress(kernel, {pattern, dtype, onProgress});
    const bytesNow = dense instanceof NMDense ? Infinity : 4 * kernel.size;
    if (matrix.bytes >= bytesNow) {
      disposable.push(matrix);
      return {reason: `${formatPattern(pattern)} would take ${matrix.bytes} bytes, dense takes ${bytesNow}`};
    }
    const kept = decompress(matrix);
    disposable.push(kept);
    const keptEnergy = energy(await kept.data()) / energy(await kernel.data());
    return {matrix, keptEnergy: Number.isNaN(keptEnergy) ? 1 : keptEnergy};
  } catch (error) {
    // What compress says of the weights concerns this layer alone; all else (a lost GPU, a callback) the caller.
    const {message} = error as Error;
    if (!message.startsWith('compress: ')) {
      throw error;
    }
    return {reason: message};
  } finally {
    disposable.forEach(each => each.dispose());
  }
}

function energy(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; ++i) {
    sum += values[i] * values[i];
  }
  return sum;
}

/** Makes a layer's JSON that of an NMDense; of a wrapper, in the wrapper's place and under its name. */
function rewrite(json: LayerJson, pattern: NMPattern, dtype: StorageDtype): void {
  const {layer: inner, ...own} = json.config;
  json.className = NMDense.className;
  json.config = {...inner?.config, ...own, pattern: formatPattern(pattern), storage: dtype};
}

/** A new model of the rewritten topology, with the old one's weights. */
function rebuild(model: LayersModel, topology: LayerJson, matrices: Map<Layer, NMSparseMatrix>): LayersModel {
  // fromConfig, not modelFromJSON: only here can the initializers be skipped, whose work the weights would undo.
  const {fromConfig} = model.constructor as unknown as ModelClass;
  const pruned = fromConfig(model.constructor, topology.config, {}, true);
  try {
    carryWeights(model, pruned, matrices);
  } catch (error) {
    pruned.dispose();
    throw error;
  }
  const metadata = (model as unknown as {userDefinedMetadata?: object}).userDefinedMetadata;
  if (metadata) {
    pruned.setUserDefinedMetadata(metadata);
  }
  return pruned;
}

function carryWeights(from: Container, to: Container, matrices: Map<Layer, NMSparseMatrix>): void {
  for (const source of from.layers) {
    const target = to.layers.find(({name}) => name === source.name) as Layer;
    const matrix = matrices.get(source);
    const [inner, targetInner] = [wrapped(source), wrapped(target)];
    if (matrix) {
      const dense = isDense(source) ? source : inner as Layer;
      const bias = (dense as unknown as {bias: {read(): Tensor} | null}).bias;
      (target as NMDense).setMatrix(matrix, bias?.read());
    } else if (isContainer(source)) {
      carryWeights(source, target as Container, matrices);
    } else if (inner && isContainer(inner)) {
      carryWeights(inner, targetInner as Container, matrices);
    } else if (source.weights.length > 0) {
      target.setWeights(source.getWeights());
    }
  }
  // Whether a layer is frozen is saved with it; whether a whole model is, is not.
  if (!from.trainable) {
    to.trainable = false;
  }
}
