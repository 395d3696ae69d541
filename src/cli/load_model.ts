/**
 * Loads a saved model with tfjs. Errors of tfjs are reported with the file or class at fault.
 */
import {io} from '@tensorflow/tfjs-core';
import {loadLayersModel, type LayersModel} from '@tensorflow/tfjs-layers';
import {assignWeight} from '../layers/assign_weight.js';
import {reasonOf} from './errors.js';
import {isModelWeight, toArtifacts, type StoredModel} from './model_io/read_model.js';
import {byVariableName} from './model_io/weight_names.js';
import {printable} from './printable.js';

/**
 * Loads a saved model.
 * @throws Error that says what is wrong with it.
 */
export async function loadModel(stored: StoredModel): Promise<LayersModel> {
  let model: LayersModel;
  try {
    model = await loadLayersModel(io.fromMemory(toArtifacts(stored)));
  } catch (error) {
    const reason = plainWords(reasonOf(error));
    const unknown = /^Unknown (\w+): (.*?)\. This may be due/.exec(reason);
    if (unknown) {
      const [, kind, name] = unknown;
      throw new Error(['', AN_OBJECT].includes(name) ?
        `some ${kind} of the model has a class_name that is no name; save or convert the model again` :
        `the model uses the ${kind} class '${printable(name)}', which tfjs does not know; ` +
          'pass --register module.mjs, a module that registers it (tf.serialization.registerClass)', {cause: error});
    }
    const outOfMemory = /allocation/.test(reason);
    if (!outOfMemory && (error instanceof TypeError || error instanceof RangeError)) {
      // tfjs does not check all that it reads, and a class of the user's may do anything.
      throw new Error(`tfjs cannot load the model: its code, or a layer's, stops at what it reads (${reason}); ` +
          'model.json is damaged or was edited, or a class of --register has a fault', {cause: error});
    }
    throw new Error(`tfjs cannot load the model: ${reason}`, {cause: error});
  }
  undoConstraints(model, stored);
  return model;
}

/**
 * tfjs projects each weight by its constraint while it loads it. What is stored must be pruned and written, so that
 * pruning and storage are all that changes a weight.
 */
function undoConstraints(model: LayersModel, {weights}: StoredModel): void {
  const storedFor = byVariableName(weights.filter(isModelWeight));
  for (const variable of model.layers.flatMap(layer => layer.weights)) {
    const stored = storedFor(variable.originalName);
    const {constraint} = variable as unknown as {constraint: unknown};
    if (constraint && stored) {
      const {[stored.entry.name]: value} = io.decodeWeights(new Uint8Array(stored.bytes).buffer, [stored.entry]);
      assignWeight(variable, value);
      value.dispose();
    }
  }
}

const AN_OBJECT = 'an object';

/** Replaces what JavaScript writes for a missing value and for an object: readers of model.json may not know it. */
function plainWords(reason: string): string {
  return reason.replace(/\bundefined\b/g, 'nothing').replaceAll('[object Object]', AN_OBJECT);
}
