/** The inputs of a captured predict, whichever way they are given: a tensor, a list, or an object by name. */
import type {NamedTensorMap, Tensor} from '@tensorflow/tfjs-core';
import {checkInputs, type ModelInputs, type PredictModel} from '../tfjs/predict_model.js';
import {describeValue} from '../util/options.js';

export class GivenInputs {
  /** @param names in the order of the tensors, sorted; undefined if the inputs are not named. */
  constructor(readonly tensors: readonly Tensor[], readonly names?: readonly string[]) {}

  /** Predicts with other tensors in the place of these. */
  predict(model: PredictModel, tensors: readonly Tensor[], batchSize?: number): unknown {
    const inputs = this.names ? Object.fromEntries(this.names.map((name, i) => [name, tensors[i]])) :
      tensors.length === 1 ? tensors[0] : [...tensors];
    return model.predict(inputs, batchSize === undefined ? undefined : {batchSize});
  }
}

/** @throws Error if these are no inputs, or if one is disposed. */
export function givenInputs(caller: string, inputs: ModelInputs): GivenInputs {
  let given: GivenInputs;
  if (typeof inputs === 'object' && inputs !== null && 'dataId' in inputs) {
    given = new GivenInputs([inputs as Tensor]);
  } else {
    checkInputs(caller, inputs);
    if (Array.isArray(inputs)) {
      given = new GivenInputs(inputs);
    } else {
      const names = Object.keys(inputs).sort();
      given = new GivenInputs(names.map(name => (inputs as NamedTensorMap)[name]), names);
    }
  }
  given.tensors.forEach((tensor, i) => {
    if (tensor.isDisposed) {
      const name = given.names ? `'${given.names[i]}' ` : given.tensors.length > 1 ? `${i} ` : '';
      throw new Error(`${caller}: input ${name}is ${describeValue(tensor)}; give tensors that are not disposed.`);
    }
  });
  return given;
}
