/**
 * What the tests of nm-prune share: folders of their own, models saved into them as tfjs saves them, with the
 * variations that converters add (groups, shards, quantized weights), and a second, simpler reader of what comes out.
 */
import {mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {io, tensor, type Tensor} from '@tensorflow/tfjs-core';
import {loadLayersModel, type LayersModel} from '@tensorflow/tfjs-layers';
import {disposeModel} from '../../src/cli/verify.js';
import {packHalves} from '../../src/format/pack.js';
import {mulberry32, seed} from '../support/random.js';

type Entry = io.WeightsManifestEntry;
type Stored = [entry: Entry, bytes: Uint8Array];

/** Runs a test with a folder that is gone afterwards. */
export async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'nm-prune-test-'));
  try {
    await test(folder);
  } finally {
    rmSync(folder, {recursive: true, force: true});
  }
}

export interface SaveOptions {
  /** How a weight is quantized; undefined leaves it as it is. */
  quantize?: (entry: Entry) => 'uint8' | 'uint16' | 'float16' | undefined;
  /** Bytes of a weight file; default: one file. */
  shardBytes?: number;
  /** Weights of a manifest group; default: one group. */
  groupSize?: number;
  includeOptimizer?: boolean;
  /** What else stands in model.json. */
  json?: object;
}

/** Saves a model into a folder, with random weights, and disposes it. Returns the path of model.json. */
export async function save(model: LayersModel, folder: string, options: SaveOptions = {}): Promise<string> {
  randomize(model);
  const {quantize = () => undefined, shardBytes = Infinity, groupSize = Infinity, includeOptimizer = false} = options;
  let saved: io.ModelArtifacts = {};
  await model.save(io.withSaveHandler(async artifacts => {
    saved = artifacts;
    return {modelArtifactsInfo: io.getModelArtifactsInfoForJSON(artifacts)};
  }), {includeOptimizer});
  const {weightData, weightSpecs, ...rest} = saved;
  const weights = split(weightSpecs!, new Uint8Array(weightData as ArrayBuffer))
    .map(weight => quantized(weight, quantize(weight[0])));
  mkdirSync(folder, {recursive: true});
  const weightsManifest: io.WeightsManifestConfig = [];
  for (let from = 0; from < weights.length; from += groupSize) {
    const group = weights.slice(from, from + groupSize);
    const bytes = Buffer.concat(group.map(([, data]) => data));
    const name = `group${weightsManifest.length + 1}`;
    const size = Math.min(shardBytes, bytes.length);
    const count = Math.ceil(bytes.length / size);
    const paths = Array.from({length: count}, (_, i) => `${name}-shard${i + 1}of${count}.bin`);
    paths.forEach((path, i) => writeFileSync(join(folder, path), bytes.subarray(i * size, (i + 1) * size)));
    weightsManifest.push({paths, weights: group.map(([entry]) => entry)});
  }
  const file = join(folder, 'model.json');
  writeFileSync(file, JSON.stringify({...rest, weightsManifest, ...options.json}));
  disposeModel(model);
  return file;
}

/** tfjs initializes many weights to 0 or 1, which would hide a mix-up. */
function randomize(model: LayersModel): void {
  const random = mulberry32(seed);
  const values = model.weights.filter(({dtype}) => dtype === 'float32').map(({originalName, shape}) => {
    const size = (shape as number[]).reduce((a, b) => a * b, 1);
    const positive = originalName.includes('variance');
    return tensor(Float32Array.from({length: size}, () => positive ? 0.5 + random() : (random() - 0.5) / 4),
      shape as number[]);
  });
  const next = [...values];
  model.setWeights(model.weights.map(weight => weight.dtype === 'float32' ? next.shift()! : weight.read()));
  values.forEach(value => value.dispose());
}

function split(entries: Entry[], bytes: Uint8Array): Stored[] {
  const sizes: Record<string, number> = {uint8: 1, uint16: 2, float16: 2, bool: 1};
  let offset = 0;
  return entries.map(entry => {
    const elements = entry.shape.reduce((a, b) => a * b, 1);
    const length = elements * (sizes[entry.quantization?.dtype ?? entry.dtype] ?? 4);
    offset += length;
    return [entry, bytes.slice(offset - length, offset)];
  });
}

/** Quantizes as tensorflowjs_converter does. */
function quantized([entry, bytes]: Stored, dtype: 'uint8' | 'uint16' | 'float16' | undefined): Stored {
  if (dtype === undefined) {
    return [entry, bytes];
  }
  const values = new Float32Array(new Uint8Array(bytes).buffer);
  if (dtype === 'float16') {
    const halves = new Uint8Array(packHalves(values, 1, values.length).buffer).slice(0, 2 * values.length);
    return [{...entry, quantization: {dtype}}, halves];
  }
  const [min, max] = [Math.min(...values), Math.max(...values)];
  const scale = (max - min) / (dtype === 'uint8' ? 255 : 65535) || 1;
  const elements = Array.from(values, value => Math.round((value - min) / scale));
  const data = dtype === 'uint8' ? Uint8Array.from(elements) : new Uint8Array(Uint16Array.from(elements).buffer);
  return [{...entry, quantization: {dtype, scale, min}}, data];
}

export function readJson(file: string): io.ModelJSON {
  return JSON.parse(readFileSync(file, 'utf8')) as io.ModelJSON;
}

/** Every weight as its file holds it, by name. */
export function storedWeights(modelJson: string): Map<string, Stored> {
  const {weightsManifest} = readJson(modelJson);
  const stored = weightsManifest.flatMap(({paths, weights}) => split(weights, concatFiles(modelJson, paths)));
  return new Map(stored.map(weight => [weight[0].name, weight]));
}

/** Bytes of all weight files. */
export function weightBytes(modelJson: string): number {
  return readJson(modelJson).weightsManifest
    .reduce((sum, {paths}) => sum + concatFiles(modelJson, paths).length, 0);
}

function concatFiles(modelJson: string, paths: string[]): Uint8Array {
  // Not a Buffer: slice() of a Buffer is no copy, and its memory is shared with others.
  return new Uint8Array(Buffer.concat(paths.map(path => readFileSync(join(dirname(modelJson), path)))));
}

/** Loads a model as a page would, by tfjs alone. */
export async function load(modelJson: string): Promise<LayersModel> {
  return loadLayersModel({
    load: async () => io.getModelArtifactsForJSON(readJson(modelJson), async manifest => {
      const bytes = concatFiles(modelJson, manifest.flatMap(({paths}) => paths));
      return [manifest.flatMap(({weights}) => weights), new Uint8Array(bytes).buffer as ArrayBuffer];
    }),
  });
}

/** What a saved model predicts. */
export async function predict(modelJson: string, ...inputs: Tensor[]): Promise<number[][]> {
  const model = await load(modelJson);
  const outputs = [model.predict(inputs.length === 1 ? inputs[0] : inputs)].flat();
  const values = await Promise.all(outputs.map(async output => Array.from(await output.data())));
  outputs.forEach(output => output.dispose());
  disposeModel(model);
  return values;
}

/** A folder's files and their contents, to see whether anything changed. */
export function snapshot(folder: string): Record<string, string> {
  return Object.fromEntries(readdirSync(folder, {withFileTypes: true, recursive: true})
    .filter(entry => entry.isFile())
    .map(({parentPath, name}) => join(parentPath, name))
    .sort()
    .map(file => [file, readFileSync(file, 'latin1')]));
}
