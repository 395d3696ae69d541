/** What tests of captureModel share: random inputs, and the comparison with model.predict. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import type {GraphModel} from '@tensorflow/tfjs-converter';
import {expect} from 'chai';
import type {CapturedModel} from '../../src/index.js';
import {flush} from '../../src/tfjs/recorder.js';
import {mulberry32, seed} from '../support/random.js';
import {randomValues} from '../support/reference.js';
import {constant, graphModel as graphModelOf, input, type Node} from '../support/graphs.js';

export type Outputs = tf.Tensor | tf.Tensor[] | tf.NamedTensorMap;
export type Inputs = Outputs;

export const random = mulberry32(seed);
export const webgpu = () => tf.backend() as WebGPUBackend;

export function samples(...shape: number[]): tf.Tensor {
  return tf.tensor(randomValues(shape.reduce((a, b) => a * b, 1), random), shape);
}

/** Moves a tensor's values to the GPU, so that tfjs runs no op on it on the CPU. */
export function uploaded<T extends tf.Tensor>(tensor: T): T {
  webgpu().uploadToGPU(tensor.dataId);
  return tensor;
}

export function listOf(outputs: Outputs): tf.Tensor[] {
  return 'dataId' in outputs ? [outputs as tf.Tensor] : Object.values(outputs);
}

/** The values of outputs, with their shapes, dtypes and names. */
export async function contents(outputs: Outputs): Promise<unknown> {
  const keys = 'dataId' in outputs ? 'a tensor' : Object.keys(outputs);
  const values = await Promise.all(listOf(outputs).map(async ({dtype, shape, dataId}) => {
    // A clone, because data() keeps the values of the tensor that it reads on the CPU.
    const copy = tf.engine().makeTensorFromTensorInfo({dtype, shape, dataId});
    webgpu().incRef(dataId);
    const data = [...await copy.data()];
    copy.dispose();
    return {dtype, shape, data};
  }));
  return {isList: Array.isArray(outputs), keys, values};
}

interface Predicting {
  predict(inputs: never, config?: {batchSize?: number}): unknown;
}

/** Checks that a captured predict gives what the model does, bit for bit. */
export async function expectSame(
    captured: CapturedModel, model: Predicting, inputs: Inputs, batchSize?: number): Promise<void> {
  const got = captured.predict(inputs);
  const expected = model.predict(inputs as never, {batchSize}) as Outputs;
  expect(await contents(got)).to.deep.equal(await contents(expected));
  tf.dispose([got, expected]);
}

/** Tensors, data and bytes that tfjs holds once the GPU is idle; buffers in its pool are not among them. */
export async function held() {
  flush(webgpu());
  await webgpu().queue.onSubmittedWorkDone();
  await new Promise(resolve => setTimeout(resolve, 10)); // for reads to end
  const {numTensors, numDataBuffers} = tf.memory();
  return {numTensors, numDataBuffers, dataIds: webgpu().numDataIds(), bytes: webgpu().bufferManager.numBytesUsed};
}

/** Runs with console.warn caught. @returns the warnings. */
export async function warnings(run: () => Promise<void>): Promise<string[]> {
  const {warn} = console;
  const caught: string[] = [];
  console.warn = (message: string) => caught.push(message);
  try {
    await run();
  } finally {
    console.warn = warn;
  }
  return caught;
}

/**
 * A GraphModel of these nodes.
 * @param weights by the name of their Const node; they are not disposed.
 */
export function graphModel(
    nodes: Node[], weights: Record<string, tf.Tensor>, outputs: string[]): Promise<GraphModel> {
  const entries = Object.entries(weights);
  return graphModelOf({
    nodes: [...entries.map(([name, {dtype}]) => constant(name, dtype)), ...nodes], outputs,
    weights: Object.fromEntries(entries.map(([name, weight]) => [name, weight.clone()])),
  });
}

export function placeholder(name: string, ...shape: number[]): Node {
  return input(name, shape);
}
