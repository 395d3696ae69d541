/**
 * pruneLayersModel: makes a model with N:M-sparse layers from a LayersModel, which is not changed.
 *
 * The topology is rewritten as configuration, with NMDense where Dense was (layers/find.ts), kernels are pruned
 * (prune_kernels.ts), and a new model is made of both (layers/rebuild.ts).
 *
 * TimeDistributed(Dense) becomes one NMDense, which multiplies all time steps in one product. The wrapper would run the
 * layer once per time step.
 */
import type {LayersModel} from '@tensorflow/tfjs-layers';
import type {NMSparseMatrix} from '../format/nm_sparse_matrix.js';
import {formatPattern} from '../format/pattern.js';
import {NMDense} from '../layers/nm_dense.js';
import {CRITERIA, PRUNE_OPTION_NAMES, type PruneOptions} from '../pruning/options.js';
import {planLayers, type LayerPlan} from '../pruning/plan.js';
import {checkCallback, checkOptionNames, describeValue, UnfitMaskError} from '../util/options.js';
import {findLayers, hasBias, kernelShape, topologyOf, weightCount, type Found, type Layer} from './layers/find.js';
import {rebuild, rewrite} from './layers/rebuild.js';
import {WeightSnapshot} from './layers/snapshot.js';
import {assignMasks, type Masks, type NamedMask} from './masks.js';
import {multiplyAdds} from './multiply_adds.js';
import {
  memoryStorage, pruneKernel, type KernelStorage, type PrunedKernel, type StoredKernel,
} from './prune_kernels.js';
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
   * Layer name or path → mask [k, n], as {@link compress} takes it: non-zero keeps a weight. The layer must also get a
   * pattern, and the mask must fit it.
   */
  masks?: Masks;
  onProgress?: (progress: PruneProgress) => void;
}

/** A layer with all that its conversion needs. */
interface Planned {
  at: Found;
  plan: LayerPlan;
  kernel?: StoredKernel;
  /** Bytes that the kernel takes now. */
  bytesNow?: number;
  mask?: NamedMask;
}

/**
 * Converts a model's dense layers to N:M. Sequential and functional models, nested models, shared layers and
 * TimeDistributed(Dense) are understood. NMDense layers are converted again, so a float32 model that was trained
 * further can be stored as float16. Weights are pruned by magnitude or by masks; weights that fit the pattern already
 * lose nothing. All others are carried over exactly: constraints are not applied.
 *
 * ```ts
 * const {model: sparse, report} = await pruneLayersModel(model, {pattern: '8:32v32', dtype: 'float16'});
 * ```
 *
 * A layer whose matrix would not be smaller stays as it is, and the report says so. The exception is a float16 layer
 * with dtype 'float32': it is converted, so that it can be trained, and the report says that it grows.
 *
 * @param model All its weights are read at the moment of the call, so that it may be trained or disposed meanwhile.
 * @returns the new model, not compiled (call compile before fit or evaluate), and a report on every layer. The model
 *     given is not changed; dispose it if it is no longer needed.
 * @throws Error (as a rejection) naming the argument or option that is wrong, before any work is done; or the mask that
 *     does not fit its pattern.
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
  const topology = topologyOf(model);
  const found = findLayers(model, topology);
  const names = found.map(({layer, path}) => ({name: layer.name, path}));
  const planFor = planLayers('pruneLayersModel', options, names);
  const planned: Planned[] = found.map((at, i) => ({at, plan: at.dense ? planFor(names[i]) : notDense(at)}));
  refuseDivergingPlans(planned);
  const snapshot = new WeightSnapshot('pruneLayersModel', found.map(({layer}) => layer));
  const matrices = new Map<Layer, NMSparseMatrix>();
  try {
    const masks = assignMasks('pruneLayersModel', options.masks === undefined ? {} : options.masks, planned);
    for (const each of planned) {
      each.kernel = each.at.dense && snapshot.kernelOf(each.at.dense);
      each.mask = masks.get(each.at.layer);
      each.bytesNow = each.at.dense && storage.bytesNow(each.at.dense);
    }
    const reports = await pruneAll(planned, options, storage, matrices);
    return {model: rebuild(model, topology, {matrices, snapshot}), report: summarize(reports)};
  } finally {
    snapshot.dispose();
    matrices.forEach(matrix => matrix.dispose());
  }
}

/** Prunes every layer that is to be converted, rewrites its JSON and adds its matrix to `matrices`. */
async function pruneAll(
    planned: Planned[], {onProgress, criterion = 'magnitude'}: PruneLayersModelOptions, storage: KernelStorage,
    matrices: Map<Layer, NMSparseMatrix>): Promise<LayerReport[]> {
  const convertible = planned.filter(({plan}) => 'pattern' in plan);
  const total = convertible.length;
  const before = planned.map(reportBefore);
  const weights = planned.map(({at}) => weightCount(at.layer));
  const allWeights = planned.reduce((sum, {plan}, i) => sum + ('pattern' in plan ? weights[i] : 0), 0);
  const reports: LayerReport[] = [];
  let doneWeights = 0;
  let done = 0;
  for (const [i, {at: {layer, json, path, dense}, plan, kernel, bytesNow = 0, mask}] of planned.entries()) {
    if ('reason' in plan || !dense || !kernel) {
      reports.push({...before[i], ...plan as {reason: string}});
      continue;
    }
    const {pattern} = plan;
    const progress = (fraction: number) => onProgress?.(
      {layer: path, done, total, fraction: (doneWeights + fraction * weights[i]) / allWeights});
    progress(0);
    const outcome = await pruneKernel(kernel, {
      pattern, dtype: storage.dtypeOf(dense), criterion: CRITERIA[criterion], mask: mask?.mask,
      replaced: dense !== layer, bytesNow, bytesOf: matrix => storage.bytesOf(dense, matrix), onProgress: progress,
    }).catch((error: unknown) => {
      throw error instanceof UnfitMaskError ? new Error(
        `pruneLayersModel: masks[${describeValue(mask?.key)}]: ${error.problem}`, {cause: error}) : error;
    });
    doneWeights += weights[i];
    done++;
    if ('matrix' in outcome) {
      // A layer that two nested models share stands in both, and becomes one in each.
      matrices.get(layer)?.dispose();
      matrices.set(layer, outcome.matrix);
      rewrite(json, pattern, outcome.matrix.dtype);
    }
    reports.push({...before[i], ...('matrix' in outcome ? reportAfter(outcome, dense, layer) : outcome)});
  }
  onProgress?.({layer: '', done, total, fraction: 1});
  return reports;
}

/** The report on a layer that stays as it is. All dtypes of weights take four bytes an element. */
function reportBefore({at: {layer, path, dense}}: Planned): LayerReport {
  const bytes = 4 * weightCount(layer);
  const shape = dense && kernelShape(dense);
  return {
    name: path, className: layer.getClassName(), converted: false, bytesBefore: bytes, bytesAfter: bytes,
    multiplyAdds: multiplyAdds(layer, shape), ...(shape && {shape}),
    ...(dense instanceof NMDense ? {pattern: formatPattern(dense.pattern)} : {}),
  };
}

/** What is different in the report on a layer that was converted. */
function reportAfter({matrix, keptEnergy, note}: PrunedKernel, dense: Layer, layer: Layer): Partial<LayerReport> {
  const notes = [
    ...(dense === layer ? [] : ['the wrapper became one NMDense over all time steps']), ...(note ? [note] : []),
  ];
  return {
    converted: true,
    pattern: formatPattern(matrix.pattern),
    bytesAfter: matrix.bytes + (hasBias(dense) ? 4 * matrix.shape[1] : 0),
    keptEnergy,
    ...(notes.length > 0 ? {reason: notes.join('; ')} : {}),
  };
}

function checkArguments(model: LayersModel, options: PruneLayersModelOptions): void {
  const fail = (why: string): never => {
    throw new Error(`pruneLayersModel: ${why}`);
  };
  if (typeof (model as {executeAsync?: unknown} | undefined)?.executeAsync === 'function') {
    fail('model is a tf.GraphModel; call pruneGraphModel.');
  }
  if (typeof model?.toJSON !== 'function' || !Array.isArray(model.layers)) {
    fail(`model is ${describeValue(model)}; give a tf.LayersModel, as tf.loadLayersModel loads one.`);
  }
  if (model.layers.length === 0) {
    fail(`model ${describeValue(model.name)} has no layers; add some, the first of them with an inputShape.`);
  }
  checkOptionNames('pruneLayersModel', options, [...PRUNE_OPTION_NAMES, 'masks', 'onProgress'], "{pattern: '8:32v32'}");
  checkCallback('pruneLayersModel', 'onProgress', options.onProgress);
}

/** tfjs saves a layer that two nested models share once for each. Both copies become one pattern, or both stay. */
function refuseDivergingPlans(planned: Planned[]): void {
  const seen = new Map<Layer, {path: string; plan: string}>();
  for (const {at: {layer, path}, plan} of planned) {
    const first = seen.get(layer);
    if (first && first.plan !== JSON.stringify(plan)) {
      throw new Error(`pruneLayersModel: '${first.path}' and '${path}' are the same shared layer, but the options ` +
          'give them different patterns; match both paths or neither.');
    }
    seen.set(layer, {path, plan: JSON.stringify(plan)});
  }
}

function notDense({layer}: Found): {reason: string} {
  return {reason: `${layer.getClassName()}: only Dense layers are converted`};
}
