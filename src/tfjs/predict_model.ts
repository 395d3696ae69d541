/**
 * Predicts with any object that has `predict`, so that this folder depends on neither layers models nor graph models.
 */
import {
  clone, dispose, keep, tidy, zeros, type DataType, type NamedTensorMap, type Tensor,
} from '@tensorflow/tfjs-core';
import {describeValue} from '../util/options.js';

export type ModelInputs = Tensor | Tensor[] | NamedTensorMap;

/** A tf.LayersModel, a tf.GraphModel, or another object with the same `predict`. */
export interface PredictModel {
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- models differ in what they take; all take tensors
  predict(inputs: any, config?: {batchSize?: number}): unknown;
  /** The inputs as {@link zeroInputs} reads them. */
  inputs?: ReadonlyArray<{name?: string; shape?: ReadonlyArray<number | null>; dtype?: DataType}>;
}

/** @throws Error if it is no model. */
export function checkModel(caller: string, model: unknown): asserts model is PredictModel {
  if (typeof (model as PredictModel | undefined)?.predict !== 'function') {
    throw new Error(`${caller}: model has no method predict; give a tf.LayersModel or a tf.GraphModel.`);
  }
}

/**
 * @param name of the argument, as the message names it.
 * @throws Error if these are no inputs.
 */
export function checkInputs(caller: string, inputs: unknown, name = 'inputs'): void {
  const isTensor = (value: unknown) => typeof value === 'object' && value !== null && 'dataId' in value;
  const isObject = typeof inputs === 'object' && inputs !== null;
  const parts = isObject && !isTensor(inputs) ? Object.entries(inputs) : [];
  const other = parts.find(([, value]) => !isTensor(value));
  if (!isTensor(inputs) && (parts.length === 0 || other)) {
    const shown = Array.isArray(inputs) ? 'an empty list' : isObject ? 'an empty object' : describeValue(inputs);
    throw new Error(`${caller}: ${name} ${other ? `has '${other[0]}', which is no tensor` : `is ${shown}`}; ` +
      'give a tensor, a list of them, or an object of them by name.');
  }
}

/**
 * Inputs of zeros for each of a model's, of `batchSize` samples where the model leaves that open.
 * @throws Error if the model does not say what it takes.
 */
export function zeroInputs(caller: string, {inputs}: PredictModel, batchSize: number): Tensor[] {
  if (!inputs?.length) {
    throw new Error(`${caller}: the model does not say what inputs it takes; give inputs.`);
  }
  const shapes = inputs.map(({name, shape, dtype}) => {
    const sizes = shape?.map((size, i) => size !== null && size >= 0 ? size : i === 0 ? batchSize : -1);
    if (!sizes || sizes.includes(-1) || dtype === 'string') {
      const open = shape ? `shape [${shape.map(size => size === null ? 'null' : size)}]` : 'no known shape';
      throw new Error(`${caller}: the model's input '${name}' has ${open} and dtype ${dtype}; give inputs.`);
    }
    return sizes;
  });
  return shapes.map((shape, i) => zeros(shape, inputs[i].dtype));
}

/**
 * Predicts, and drops the result; stateful layers keep the states that they had. A LayersModel cuts its inputs in
 * batches of `batchSize`, 32 if not given.
 */
export function predictOnce(model: PredictModel, inputs: ModelInputs, batchSize?: number): void {
  // A model with one input takes a tensor, not a list.
  const given = Array.isArray(inputs) && inputs.length === 1 ? inputs[0] : inputs;
  const saved = statefulLayers(model).map(layer => ({layer, states: layer.states_.map(state => keep(clone(state)))}));
  try {
    tidy(() => {
      model.predict(given, batchSize === undefined ? undefined : {batchSize});
    });
  } finally {
    for (const {layer, states} of saved) {
      layer.resetStates(states); // copies them
      dispose(states);
    }
  }
}

/** The weights of a LayersModel (variables) or of a GraphModel (tensors); empty for other objects. */
export function weightsOf(model: object): Tensor[] {
  const {weights} = model as {weights?: unknown};
  if (typeof weights !== 'object' || weights === null) {
    return [];
  }
  const parts = Object.values(weights).flat() as Array<Partial<Tensor> & {val?: Tensor}>;
  return parts.map(part => part?.val ?? part).filter((part): part is Tensor => part?.dataId !== undefined);
}

/** What is used of a stateful recurrent layer of tfjs-layers. */
interface StatefulLayer {
  states_: Tensor[];
  resetStates(states: Tensor[]): void;
}

/** The stateful recurrent layers of a model, those in nested models and in wrappers too. */
export function statefulLayers(part: object): StatefulLayer[] {
  const {layers = [], layer, forwardLayer, backwardLayer} = part as Record<string, object> & {layers?: object[]};
  const inside = [...layers, layer, forwardLayer, backwardLayer].filter(each => typeof each === 'object');
  const {stateful, states_} = part as Partial<StatefulLayer> & {stateful?: boolean};
  return [...(stateful && Array.isArray(states_) ? [part as StatefulLayer] : []), ...inside.flatMap(statefulLayers)];
}

/** Predicts zeros, as a batch of `batchSize` samples, or of as many as the model insists on. */
export function predictZeros(caller: string, model: PredictModel, batchSize: number): void {
  const zeros = zeroInputs(caller, model, batchSize);
  try {
    predictOnce(model, zeros, zeros[0].shape[0]);
  } finally {
    zeros.forEach(each => each.dispose());
  }
}
