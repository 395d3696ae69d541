/**
 * The files of the converted model, in memory: model.json and shards. Made before anything is written, so that exactly
 * these bytes can be verified.
 */
import {io} from '@tensorflow/tfjs-core';
import type {LayersModel} from '@tensorflow/tfjs-layers';
import {CHECKSUMS, sha256} from '../../format/checksums.js';
import {splitWeights, type StoredWeight} from './read_model.js';

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

/** Names as tfjs gives them; with a number at the end where one of those is taken. */
function shardNames(count: number, takenNames: ReadonlySet<string>): string[] {
  for (let version = 1; ; ++version) {
    const suffix = version === 1 ? '' : `-${version}`;
    const names = Array.from({length: count}, (_, i) => `group1-shard${i + 1}of${count}${suffix}.bin`);
    if (!names.some(name => takenNames.has(name))) {
      return names;
    }
  }
}
