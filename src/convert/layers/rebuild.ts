/**
 * Makes the new model. tfjs has no cloneModel, and layers cannot be exchanged inside a model. So a model is made of the
 * rewritten configuration, and the weights are carried over layer by layer, side by side through both models: by
 * position in the tree, not by weight name, since names need be unique only in files.
 *
 * Weights are assigned as they are. Constraints would change those that lie outside them.
 */
import type {LayersModel, LayerVariable} from '@tensorflow/tfjs-layers';
import type {NMSparseMatrix} from '../../format/nm_sparse_matrix.js';
import type {StorageDtype} from '../../format/storage.js';
import {formatPattern, type NMPattern} from '../../format/pattern.js';
import {assignWeight} from '../../layers/assign_weight.js';
import {NMDense} from '../../layers/nm_dense.js';
import {isContainer, isDense, wrapped, type Container, type Layer, type LayerJson} from './find.js';
import type {WeightSnapshot} from './snapshot.js';

/** What LayersModel and Sequential have as classes; their types don't say it. */
interface ModelClass {
  fromConfig(cls: unknown, config: object, customObjects: object, fastWeightInit: boolean): LayersModel;
}

/** What the new model's weights are. */
export interface NewWeights {
  /** The kernels of the layers that were converted. */
  matrices: Map<Layer, NMSparseMatrix>;
  /** Everything else. */
  snapshot: WeightSnapshot;
}

/** Makes a layer's JSON that of an NMDense; of a wrapper, in the wrapper's place and under its name. */
export function rewrite(json: LayerJson, pattern: NMPattern, dtype: StorageDtype): void {
  const {layer: inner, ...own} = json.config;
  json.className = NMDense.className;
  json.config = {...inner?.config, ...own, pattern: formatPattern(pattern), storage: dtype};
}

/** A new model of the rewritten topology. */
export function rebuild(model: LayersModel, topology: LayerJson, weights: NewWeights): LayersModel {
  // fromConfig, not modelFromJSON: only here can the initializers be skipped, whose work the weights would undo.
  const {fromConfig} = model.constructor as unknown as ModelClass;
  const pruned = fromConfig(model.constructor, topology.config, {}, true);
  try {
    carryWeights(model, pruned, weights);
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

function carryWeights(from: Container, to: Container, weights: NewWeights): void {
  for (const source of from.layers) {
    const target = to.layers.find(({name}) => name === source.name) as Layer;
    const matrix = weights.matrices.get(source);
    const [inner, targetInner] = [wrapped(source), wrapped(target)];
    if (matrix) {
      const dense = isDense(source) ? source : inner as Layer;
      const {bias} = dense as unknown as {bias: LayerVariable | null};
      (target as NMDense).setMatrix(matrix, bias ? weights.snapshot.of(bias) : undefined);
    } else if (isContainer(source)) {
      carryWeights(source, target as Container, weights);
    } else if (inner && isContainer(inner)) {
      carryWeights(inner, targetInner as Container, weights);
    } else {
      carryLayer(source, target, weights.snapshot);
    }
  }
  // Whether a layer is frozen is saved with it; whether a whole model is, is not.
  if (!from.trainable) {
    to.trainable = false;
  }
}

function carryLayer(source: Layer, target: Layer, snapshot: WeightSnapshot): void {
  const [own, made] = [source.weights, target.weights];
  if (own.length !== made.length) {
    throw new Error(`pruneLayersModel: layer '${source.name}' has ${own.length} weights, but ${made.length} when ` +
        `made again from its configuration; getConfig() of ${source.getClassName()} must return all of it.`);
  }
  own.forEach((variable, i) => assignWeight(made[i], snapshot.of(variable)));
}
