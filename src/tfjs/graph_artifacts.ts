/** The artifacts that a GraphModel was loaded from; tfjs-converter (4.22) keeps them in a private field. */
import type {GraphModel} from '@tensorflow/tfjs-converter';
import {io, type NamedTensorMap} from '@tensorflow/tfjs-core';

/** @returns the topology, all that describes the model, and the weights as they were loaded. */
export async function graphArtifacts(model: GraphModel): Promise<io.ModelArtifacts & {weightData: io.WeightData}> {
  const {artifacts} = model as unknown as {artifacts: io.ModelArtifacts};
  if (artifacts.weightData !== undefined && artifacts.weightSpecs) {
    return {...artifacts, getWeightStream: undefined, weightData: artifacts.weightData};
  }
  // The weights were streamed: they are tensors only.
  const tensors: NamedTensorMap = Object.fromEntries(
    Object.entries(model.weights).map(([name, [tensor]]) => [name, tensor]));
  const {data, specs} = await io.encodeWeights(tensors);
  return {...artifacts, getWeightStream: undefined, weightData: data, weightSpecs: specs};
}

/** Whether a GraphModel is loaded. */
export function hasTopology(model: GraphModel): boolean {
  return (model as unknown as {artifacts?: io.ModelArtifacts}).artifacts?.modelTopology != null;
}
