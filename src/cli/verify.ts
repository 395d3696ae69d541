/**
 * Verification before writing: the bytes to be written are loaded as a model, which must predict the same as the
 * converted model in memory. This checks that the files hold that model. It does not measure the accuracy lost by
 * pruning.
 */
import {tensor, type Tensor} from '@tensorflow/tfjs-core';
import type {layers, LayersModel, SymbolicTensor} from '@tensorflow/tfjs-layers';
import {reasonOf} from './errors.js';
import {loadModel} from './load_model.js';
import type {StoredModel} from './model_io/read_model.js';

/** What came of it. `verified` false means that it could not be tried; a model that differs is an Error. */
export type Verification =
    {verified: true; maxRelativeDifference: number; bound: number} | {verified: false; reason: string};

/** Bounds on max |difference| / max |y|: nothing but quantizing weights may differ, and that by little. */
const BOUND = 1e-3;
const FLOAT16_BOUND = 1e-2;

const BATCH = 2;
const FREE_SIZE = 8;
const SEED = 20;

type Layer = layers.Layer;

/**
 * Compares stored bytes with the model they are to hold.
 * @param float16 whether weights outside the sparse layers were rounded to float16.
 * @throws Error if the bytes do not load, or predict something else.
 */
export async function verify(model: LayersModel, stored: StoredModel, float16: boolean): Promise<Verification> {
  const reloaded = await reload(stored);
  const inputs: Tensor[] = [];
  try {
    let wanted: Float32Array[];
    try {
      inputs.push(...randomInputs(model));
      wanted = await predict(model, inputs);
    } catch (error) {
      return {verified: false, reason: `predicting on random inputs fails: ${reasonOf(error)}`};
    }
    if (!wanted.every(values => values.every(Number.isFinite))) {
      return {verified: false, reason: 'on random inputs the converted model predicts values that are not finite'};
    }
    const got = await predict(reloaded, inputs);
    const difference = Math.max(...wanted.map((values, i) => relativeDifference(values, got[i])));
    const bound = float16 ? FLOAT16_BOUND : BOUND;
    if (!(difference <= bound)) {
      const again = await predict(model, inputs);
      if (Math.max(...wanted.map((values, i) => relativeDifference(values, again[i]))) > 0) {
        return {verified: false, reason: 'the model predicts something else each time it is asked'};
      }
      throw new Error('verification failed: loaded again, the converted model differs by ' +
          `${difference.toExponential(1)} of its largest output; ${bound} is allowed. Nothing was written` +
          (float16 ? '; --quantize_float16 with globs leaves out weights that must stay float32' : ''));
    }
    return {verified: true, maxRelativeDifference: difference, bound};
  } finally {
    inputs.forEach(input => input.dispose());
    disposeModel(reloaded);
  }
}

/** Disposes a model and what its own dispose() forgets: a shared layer's weights, and an optimizer made at loading. */
export function disposeModel(model: LayersModel | undefined): void {
  if (!model) {
    return;
  }
  const weights = model.weights.map(weight => weight.read());
  model.optimizer?.dispose();
  model.dispose();
  weights.forEach(weight => weight.dispose()); // those that are disposed stay so
}

async function reload(stored: StoredModel): Promise<LayersModel> {
  try {
    return await loadModel(stored);
  } catch (error) {
    throw new Error(`verification failed: the converted model does not load again: ${reasonOf(error)}`, {cause: error});
  }
}

async function predict(model: LayersModel, inputs: Tensor[]): Promise<Float32Array[]> {
  const outputs = [model.predict(inputs.length === 1 ? inputs[0] : inputs, {batchSize: inputs[0].shape[0]})].flat();
  try {
    return await Promise.all(outputs.map(async output => Float32Array.from(await output.data())));
  } finally {
    outputs.forEach(output => output.dispose());
  }
}

function relativeDifference(wanted: Float32Array, got: Float32Array): number {
  if (got.length !== wanted.length) {
    return Infinity;
  }
  let largest = 0;
  let difference = 0;
  for (let i = 0; i < wanted.length; ++i) {
    largest = Math.max(largest, Math.abs(wanted[i]));
    difference = Math.max(difference, Math.abs(wanted[i] - got[i])); // NaN stays NaN, and is over every bound
  }
  return difference === 0 ? 0 : difference / largest;
}

/** A small batch: floats in -1 … 1; where an Embedding reads them, or the input is int32, whole numbers it takes. */
function randomInputs(model: LayersModel): Tensor[] {
  const random = seededRandom(SEED);
  return model.inputs.map(input => {
    const shape = input.shape.map((size, axis) => size ?? (axis === 0 ? BATCH : FREE_SIZE));
    const count = shape.reduce((product, size) => product * size, 1);
    const vocabulary = embeddedVocabulary(input, model.layers) ?? (input.dtype === 'float32' ? undefined : 2);
    return tensor(
        Float32Array.from({length: count}, () =>
          vocabulary === undefined ? 2 * random() - 1 : Math.floor(vocabulary * random())),
        shape, input.dtype);
  });
}

/** The vocabulary size of the Embedding that reads this input, directly or as the first layer of a nested model. */
function embeddedVocabulary(input: SymbolicTensor, readers: Layer[]): number | undefined {
  for (const layer of readers) {
    for (const node of layer.inboundNodes) {
      const at = node.inputTensors.indexOf(input);
      if (at < 0) {
        continue;
      }
      const inner = layer as Layer & {layers?: Layer[]; inputs?: SymbolicTensor[]; layer?: Layer};
      const embedding = [layer, inner.layer].find(one => one?.getClassName() === 'Embedding');
      const size = embedding ? (embedding as unknown as {inputDim: number}).inputDim :
        inner.layers && inner.inputs ? embeddedVocabulary(inner.inputs[at], inner.layers) : undefined;
      if (size !== undefined) {
        return size;
      }
    }
  }
  return undefined;
}

/** mulberry32, so that two runs see the same inputs. */
function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
