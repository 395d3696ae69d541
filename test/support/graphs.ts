/** Graph models made of a few nodes, as tensorflowjs_converter would write them. */
import * as tf from '@tensorflow/tfjs-core';
import {loadGraphModel, type GraphModel} from '@tensorflow/tfjs-converter';

type Attr = Record<string, unknown>;

export interface Node {
  name: string;
  op: string;
  input?: string[];
  attr?: Record<string, Attr>;
}

/** Attributes as model.json has them. */
export const attr = {
  text: (value: string) => ({s: btoa(value)}),
  flag: (b: boolean) => ({b}),
  number: (f: number) => ({f}),
  count: (i: number) => ({i}),
  counts: (...i: number[]) => ({list: {i: i.map(String)}}),
  texts: (...values: string[]) => ({list: {s: values.map(btoa)}}),
  float: {type: 'DT_FLOAT'},
};

export function input(name: string, shape: number[]): Node {
  return {name, op: 'Placeholder', attr: {
    dtype: attr.float, shape: {shape: {dim: shape.map(size => ({size: String(size)}))}},
  }};
}

export function constant(name: string, dtype: tf.DataType = 'float32'): Node {
  return {name, op: 'Const', attr: {dtype: dtype === 'int32' ? {type: 'DT_INT32'} : attr.float}};
}

export interface GraphParts {
  nodes: Node[];
  weights: Record<string, tf.Tensor>;
  /** Names of the nodes that are the outputs. */
  outputs: string[];
  inputs?: string[];
  library?: unknown;
}

/** The artifacts of a model; the weights are disposed. */
export async function graphArtifacts({nodes, weights, outputs, inputs, library}: GraphParts):
    Promise<tf.io.ModelArtifacts & {weightData: ArrayBuffer}> {
  const {data, specs} = await tf.io.encodeWeights(weights);
  tf.dispose(weights);
  const placeholders = inputs ?? nodes.filter(({op}) => op === 'Placeholder').map(({name}) => name);
  const named = (names: string[]) => Object.fromEntries(
    names.map(name => [name, {name: `${name}:0`, dtype: 'DT_FLOAT'}]));
  return {
    modelTopology: {node: nodes, ...(library ? {library} : {}), versions: {producer: 1, minConsumer: 0}},
    signature: {inputs: named(placeholders), outputs: named(outputs)},
    weightSpecs: specs, weightData: data, format: 'graph-model', generatedBy: 'a test',
    userDefinedMetadata: {kept: ['as', 'it', 'is']},
  };
}

export async function graphModel(parts: GraphParts): Promise<GraphModel> {
  return loadGraphModel(tf.io.fromMemory(await graphArtifacts(parts)));
}
