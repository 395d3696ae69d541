/**
 * pruneLayersModel: a LayersModel in, one with N:M-sparse layers out; the old one is left as it was.
 *
 * The topology is rewritten as configuration, with NMDense where Dense was, and a new model is made of it (layers/).
 * TimeDistributed(Dense) becomes one NMDense: it does the same for all time steps in one product, where the wrapper
 * would run the layer once a step.
 */
import {clone, type Tensor2D} from '@tensorflow/tfjs-core';
import type {LayersModel} from '@tensorflow/tfjs-layers';
import type {NMSparseMatrix} from '../format/nm_sparse_matrix.js';
import {formatPattern} from '../format/pattern.js';
import {PRUNE_OPTION_NAMES, type PruneOptions} from '../pruning/options.js';
import {planLayers, type LayerPlan} from '../pruning/plan.js';
import {checkOptionNames, describeValue} from '../util/options.js';
import {compressKernel, memoryStorage, type KernelStorage} from './layers/compress_kernel.js';
import {findLayers, kernelShape, type Found, type Layer, type LayerJson} from './layers/find.js';
import {rebuild, rewrite} from './layers/rebuild.js';
import {weightBytes, weightCount, WeightsSnapshot} from './layers/weights.js';
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
  /**
   * Layer name or path → mask [k, n] of its kernel, as compress() takes it: non-zero keeps a weight. Layers without a
   * mask keep their largest weights. Masks are not disposed.
   */
  masks?: Record<string, Tensor2D>;
  onProgress?: (progress: PruneProgress) => void;
}

const OPTION_NAMES = [...PRUNE_OPTION_NAMES, 'masks', 'onProgress'];

interface Planned extends Found {
  plan: LayerPlan;
}

/**
 * Converts a model's dense layers to N:M. Sequential and functional models, nested models, shared layers and
 * TimeDistributed(Dense) are understood. Weights are pruned by magnitude, or by masks; weights that fit the pattern
 * already lose nothing. All weights are read at once, at the start.
 *
 * NMDense layers are compressed again, so a float32 model that was trained further can be stored as float16. Without
 * the option `dtype` they keep the storage that they have.
 *
 * ```ts
 * const {model: sparse, report} = await pruneLayersModel(model, {pattern: '8:32v32', dtype: 'float16'});
 * ```
 *
 * @returns the new model, not compiled (call compile before fit or evaluate), and a report on every layer. A layer
 *     that cannot be converted, or would grow, stays as it is. The model given is not changed; dispose it if it is no
 *     longer needed.
 * @throws Error naming the option that is wrong, before any work is done.
 */
export async function pruneLayersModel(
    model: LayersModel, options: PruneLayersModelOptions): Promise<{model: LayersModel; report: PruneReport}> {
  return convertLayersModel(model, options, memoryStorage(options?.dtype));
}

/** {@link pruneLayersModel} for callers that know how the kernels are stored outside memory. */
export async function convertLayersModel(
    model: LayersModel, options: PruneLayersModelOptions,
    storage: KernelStorage): Promise<{model: LayersModel; report: PruneReport}> {
  checkArguments(model, options);
  const configuration = {className: model.getClassName(), config: model.getConfig()};
  const topology = JSON.parse(JSON.stringify(configuration)) as LayerJson;
  const planned = planFor(findLayers(model, topology), options);
  const masks = masksByLayer(planned, options.masks ?? {});
  const weights = new WeightsSnapshot(model);
  const matrices = new Map<Layer, NMSparseMatrix>();
  try {
    const progress = new Progress(planned, options.onProgress);
    const reports: LayerReport[] = [];
    for (const each of planned) {
      reports.push(await convertLayer(each, masks.get(each.layer), {weights, storage, matrices, progress}));
    }
    progress.finish();
    return {model: rebuild(model, topology, weights, matrices), report: summarize(reports)};
  } finally {
    [weights, ...masks.values(), ...matrices.values()].forEach(each => each.dispose());
  }
}

/** Compresses a layer's kernel into `matrices` and rewrites its JSON, if its plan says so. */
async function convertLayer(
    {layer, json, path, dense, plan}: Planned, mask: Tensor2D | undefined,
    {weights, storage, matrices, progress}: {
      weights: WeightsSnapshot; storage: KernelStorage; matrices: Map<Layer, NMSparseMatrix>; progress: Progress;
    }): Promise<LayerReport> {
  const bytesBefore = weightBytes(layer);
  const shape = dense && kernelShape(dense);
  const asBefore: LayerReport = {
    name: path, className: layer.getClassName(), converted: false, bytesBefore, bytesAfter: bytesBefore,
    multiplyAdds: multiplyAdds(layer, shape), ...(shape && {shape}),
  };
  if ('reason' in plan || !dense) {
    return {...asBefore, ...plan as {reason: string}};
  }
  const {pattern} = plan;
  const outcome = await compressKernel(
    dense, weights, {pattern, mask, storage, onProgress: progress.start(layer, path)});
  progress.end(layer);
  if (!('matrix' in outcome)) {
    return {...asBefore, reason: outcome.reason};
  }
  const {matrix, keptEnergy, reason = dense === layer ? undefined : TIME_DISTRIBUTED} = outcome;
  // A layer that two nested models share stands in both, and becomes one in each.
  matrices.get(layer)?.dispose();
  matrices.set(layer, matrix);
  rewrite(json, pattern, matrix.dtype);
  const biasBytes = (dense as unknown as {useBias: boolean}).useBias ? 4 * matrix.shape[1] : 0;
  return {
    ...asBefore, converted: true, pattern: formatPattern(pattern), bytesAfter: matrix.bytes + biasBytes, keptEnergy,
    ...(reason !== undefined && {reason}),
  };
}

const TIME_DISTRIBUTED = 'the wrapper became one NMDense over all time steps';

/** Tells the caller how far the work is, by number of weights. */
class Progress {
  private readonly total: number;
  private readonly allWeights: number;
  private done = 0;
  private doneWeights = 0;

  constructor(planned: Planned[], private readonly onProgress?: (progress: PruneProgress) => void) {
    const convertible = planned.filter(({plan}) => 'pattern' in plan);
    this.total = convertible.length;
    this.allWeights = convertible.reduce((sum, {layer}) => sum + weightCount(layer), 0);
  }

  /** @returns what to call with the fraction of this layer that is done. */
  start(layer: Layer, path: string): (fraction: number) => void {
    const report = (fraction: number) => this.report(
      path, (this.doneWeights + fraction * weightCount(layer)) / this.allWeights);
    report(0);
    return report;
  }

  end(layer: Layer): void {
    this.doneWeights += weightCount(layer);
    this.done++;
  }

  finish(): void {
    this.report('', 1);
  }

  private report(layer: string, fraction: number): void {
    this.onProgress?.({layer, done: this.done, total: this.total, fraction});
  }
}

function checkArguments(model: LayersModel, options: PruneLayersModelOptions): void {
  checkModel(model);
  checkOptionNames('pruneLayersModel', options, OPTION_NAMES, "{pattern: '8:32v32'}");
  if (options.onProgress !== undefined && typeof options.onProgress !== 'function') {
    throw new Error(`pruneLayersModel: onProgress is ${describeValue(options.onProgress)}; give a function.`);
  }
}

function checkModel(model: LayersModel): void {
  const fail = (why: string): never => {
    throw new Error(`pruneLayersModel: model is ${why}`);
  };
  if (model instanceof Promise) {
    fail('a Promise; await it first, as in await tf.loadLayersModel(url).');
  }
  if (typeof (model as {executeAsync?: unknown} | undefined)?.executeAsync === 'function') {
    fail('a tf.GraphModel, which is not supported yet; give a tf.LayersModel.');
  }
  if (typeof model?.toJSON !== 'function' || !Array.isArray(model.layers)) {
    fail('not a tf.LayersModel; load one with tf.loadLayersModel.');
  }
  if (!(model.outputs?.length > 0)) {
    fail('empty; add layers first.');
  }
  try {
    model.weights.forEach(weight => weight.read());
  } catch {
    fail('disposed; load it again.');
  }
}

/** The plan for each layer. */
function planFor(found: Found[], options: PruneLayersModelOptions): Planned[] {
  const names = found.map(({layer, path}) => ({name: layer.name, path}));
  const judge = planLayers('pruneLayersModel', options, names);
  const planned = found.map((each, i) => ({
    ...each,
    plan: each.dense ? judge(names[i]) :
      {reason: `${each.layer.getClassName()}: only Dense layers are converted`},
  }));
  refuseDivergingPlans(planned);
  return planned;
}

/** tfjs saves a layer that two nested models share once for each. Both copies become one pattern, or both stay. */
function refuseDivergingPlans(planned: Planned[]): void {
  const seen = new Map<Layer, {path: string; plan: string}>();
  for (const {layer, path, plan} of planned) {
    const first = seen.get(layer);
    if (first && first.plan !== JSON.stringify(plan)) {
      throw new Error(`pruneLayersModel: '${first.path}' and '${path}' are the same shared layer, but the options ` +
          'give them different patterns; match both paths or neither.');
    }
    seen.set(layer, {path, plan: JSON.stringify(plan)});
  }
}

/** Checks the masks and finds the layer of each. They are copied, so that a caller may dispose them at once. */
function masksByLayer(planned: Planned[], masks: Record<string, Tensor2D>): Map<Layer, Tensor2D> {
  const fail = (why: string): never => {
    throw new Error(`pruneLayersModel: masks${why}`);
  };
  if (typeof masks !== 'object' || masks === null || 'dataId' in masks) {
    fail(` is ${describeValue(masks)}; give an object {layer name: tensor [k, n]}.`);
  }
  const checked = Object.entries(masks).flatMap(([name, mask]) => {
    const named = planned.filter(({layer, path}) => layer.name === name || path === name);
    if (named.length === 0) {
      fail(`['${name}'] matches no layer; the layers are ${planned.map(({path}) => path).join(', ')}.`);
    }
    return named.map(({layer, dense, plan}): [Layer, Tensor2D] => {
      const shape = dense && kernelShape(dense);
      if (!shape || 'reason' in plan) {
        return fail(`['${name}'] is for a layer that is not converted` +
            ('reason' in plan ? ` (${plan.reason}).` : ' (it is not built).'));
      }
      if (String(mask?.shape) !== String(shape) || mask.isDisposed) {
        fail(`['${name}'] is ${describeValue(mask)}; the layer's kernel is [${shape}].`);
      }
      return [layer, mask];
    });
  });
  return new Map([...new Map(checked)].map(([layer, mask]) => [layer, clone(mask)]));
}
