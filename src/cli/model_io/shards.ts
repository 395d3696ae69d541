/**
 * The files of the converted model, in memory: model.json and shards. Made before anything is written, so that exactly
 * these bytes can be verified.
 */
import {io} from '@tensorflow/tfjs-core';
import type {LayersModel} from '@tensorflow/tfjs-layers';
import {CHECKSUMS, sha256} from '../../format/checksums.js';
import type {StoredWeight} from '../../format/stored_weights.js';
import {splitWeights} from './read_model.js';

/** A model's topology, and every weight with its bytes, none quantized. */
export async function takeApart(model: LayersModel): Promise<{modelTopology: object; weights: StoredWeight[]}> {
  let artifacts: io.ModelArtifacts = {};
  await model.save(io.withSaveHandler(async saved => {
    artifacts = saved;
    return {modelArtifactsInfo: io.getModelArtifactsInfoForJSON(saved)};
  }));
  const {modelTopology, weightSpecs, weightData} = artifacts as Required<io.ModelArtifacts>;
  return {
    modelTopology,
    weights: splitWeights(weightSpecs, new Uint8Array(weightData as ArrayBuffer), ['the converted model']),
  };
}

/**
 * Names and contents of the files to write, model.json first.
 * @param inputJson the model that was read: all its fields but topology and weights are kept, those tfjs does not know
 *     too. trainingConfig still holds; the optimizer's weights do not.
 * @param shardBytes the size of every weight file but the last.
 * @param takenNames names, in lower case, that no weight file may get.
 */
export async function outputFiles(
    inputJson: io.ModelJSON, modelTopology: object, weights: StoredWeight[], shardBytes: number,
    takenNames: ReadonlySet<string>): Promise<Map<string, Uint8Array>> {
  const all = Buffer.concat(weights.map(({bytes}) => bytes));
  const paths = shardNames(Math.ceil(all.length / shardBytes), takenNames);
  const shards = paths.map((path, i) => ({path, bytes: all.subarray(i * shardBytes, (i + 1) * shardBytes)}));
  const json = {
    ...inputJson,
    modelTopology,
    weightsManifest: [{
      paths,
      weights: weights.map(({entry}) => entry),
      [CHECKSUMS]: await Promise.all(shards.map(({bytes}) => sha256(bytes))),
    }],
  };
  return new Map([
    ['model.json', new TextEncoder().encode(JSON.stringify(json))],
    ...shards.map(({path, bytes}): [string, Uint8Array] => [path, bytes]),
  ]);
}

/** Name of a weight file as tfjs gives it; from the second version on with its number at the end. */
function shardName(at: number, count: number, version: number): string {
  return `group1-shard${at}of${count}${version === 1 ? '' : `-${version}`}.bin`;
}

/** Longest name of a written file. It allows for 100,000 shards and 100 versions, more than any model has. */
export const LONGEST_NAME = shardName(100_000, 100_000, 100);

/** Names of the first version of which none is taken. */
function shardNames(count: number, takenNames: ReadonlySet<string>): string[] {
  for (let version = 1; ; ++version) {
    const names = Array.from({length: count}, (_, i) => shardName(i + 1, count, version));
    if (!names.some(name => takenNames.has(name))) {
      return names;
    }
  }
}
