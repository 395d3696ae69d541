/**
 * Reads a saved layers model: model.json and the weight files that its manifest names. Everything is read and checked
 * before tfjs gets any of it. The stored bytes of every weight are kept, so that an unchanged weight can be written
 * again as it was.
 *
 * The files come from a FileSource: a folder on the disk, or the files about to be written, still in memory. So the
 * same code reads the input and the output that is verified.
 */
import {io} from '@tensorflow/tfjs-core';
import {checksumsOf, sha256} from '../../format/checksums.js';
import {storedBytes, type StoredWeight} from '../../format/stored_weights.js';
import {printable} from '../printable.js';
import {checkGroup, parseModelJson} from './check_model_json.js';

const NO_BYTES = new Uint8Array();

/** Where files come from; paths are relative to the folder of model.json. */
export interface FileSource {
  /** In bytes. */
  size(path: string): Promise<number>;
  read(path: string): Promise<Uint8Array>;
}

export interface StoredModel {
  json: io.ModelJSON;
  weights: StoredWeight[];
  /** Paths of the weight files, as the manifest names them. */
  files: string[];
  /** Bytes of model.json and of all weight files. */
  size: {modelJson: number; weights: number};
}

/**
 * Reads and checks a saved layers model.
 * @param jsonPath model.json, as the source knows it.
 * @throws Error saying which file is wrong and how; nothing is returned of a model that is not whole.
 */
export async function readModelFiles(source: FileSource, jsonPath: string): Promise<StoredModel> {
  const text = await source.read(jsonPath);
  const json = parseModelJson(jsonPath, text);
  const weights = await readManifest(source, `${jsonPath}: weightsManifest`, json.weightsManifest);
  weights.filter(isModelWeight).forEach(refuseNaN);
  const files = json.weightsManifest.flatMap(({paths}) => paths);
  const weightBytes = weights.reduce((sum, {bytes}) => sum + bytes.length, 0);
  return {json, weights, files, size: {modelJson: text.length, weights: weightBytes}};
}

/**
 * Reads the weights that a manifest names.
 * @param where opens the errors about the manifest.
 */
export async function readManifest(
    source: FileSource, where: string, manifest: io.WeightsManifestConfig): Promise<StoredWeight[]> {
  const weights: StoredWeight[] = [];
  for (const [index, group] of manifest.entries()) {
    checkGroup(`${where}[${index}]`, group);
    weights.push(...splitWeights(group.weights, await readGroup(source, group), group.paths));
  }
  checkNames(where, weights);
  return weights;
}

/**
 * The model as tfjs loads it: io.fromMemory takes this. Without the optimizer's weights: its moments have the shapes of
 * the dense kernels.
 */
export function toArtifacts({json, weights}: StoredModel): io.ModelArtifacts {
  const loaded = weights.filter(isModelWeight);
  // tfjs reads typed arrays by their whole buffer, whatever part of it they are: each weight needs one of its own.
  const buffers = loaded.filter(({bytes}) => bytes.length > 0).map(({bytes}) => new Uint8Array(bytes).buffer);
  return io.getModelArtifactsForJSONSync(
      json, loaded.map(({entry}) => entry), buffers.length > 0 ? buffers : new ArrayBuffer(0));
}

/** Whether a weight is the model's, not its optimizer's. */
export function isModelWeight({entry}: StoredWeight): boolean {
  return entry.group !== 'optimizer';
}

/** The bytes of a group's files, one after the other. */
async function readGroup(source: FileSource, group: io.WeightsManifestConfig[number]): Promise<Uint8Array> {
  const {paths, weights} = group;
  const sums = checksumsOf(group) as string[] | undefined;
  const sizes: number[] = [];
  for (const path of paths) {
    sizes.push(await source.size(path));
  }
  const total = sizes.reduce((sum, size) => sum + size, 0);
  // Strings say their lengths in the files themselves; splitWeights counts them.
  const expected = weights.some(isString) ? undefined : weights.reduce(
    (sum, entry) => sum + storedBytes(entry, NO_BYTES), 0);
  if (expected !== undefined && expected !== total) {
    throw wrongSize(paths, total, expected);
  }
  const bytes = new Uint8Array(total);
  let offset = 0;
  for (const [index, path] of paths.entries()) {
    const part = await source.read(path);
    if (part.length !== sizes[index]) {
      throw new Error(`weight file '${printable(path)}' changed its size while it was read`);
    }
    if (sums && await sha256(part) !== sums[index]) {
      throw new Error(`weight file '${printable(path)}' does not match its checksum in model.json: it is damaged, or ` +
          'of another version of the model. Copy the model again, all files together');
    }
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

/** Cuts bytes that lie one after the other into the weights they are; `paths` are for the error's reader. */
export function splitWeights(entries: io.WeightsManifestEntry[], bytes: Uint8Array, paths: string[]): StoredWeight[] {
  let offset = 0;
  const stored = entries.map(entry => {
    const length = storedBytes(entry, bytes.subarray(offset));
    offset += length;
    return {entry, bytes: bytes.subarray(offset - length, offset)};
  });
  if (offset !== bytes.length) {
    throw wrongSize(paths, bytes.length, offset);
  }
  return stored;
}

function wrongSize(paths: string[], got: number, expected: number): Error {
  const files = paths.length === 1 ? `weight file '${printable(paths[0])}' holds` :
    `weight files ${paths.map(path => `'${printable(path)}'`).join(', ')} together hold`;
  return new Error(`${files} ${got} bytes, the manifest calls for ${expected}: ` +
      `${got < expected ? 'cut short' : 'too long'}, or of another model. Copy the model again`);
}

function isString({dtype}: io.WeightsManifestEntry): boolean {
  return dtype === 'string';
}

/** tfjs would take the last of two weights of one name, and say nothing. */
function checkNames(where: string, weights: StoredWeight[]): void {
  const seen = new Set<string>();
  for (const {entry} of weights.filter(isModelWeight)) {
    if (seen.has(entry.name)) {
      throw new Error(`${where} has two weights named '${printable(entry.name)}'`);
    }
    seen.add(entry.name);
  }
}

/** @throws Error if a weight holds NaN: whatever is computed from it is NaN, so nothing could be verified. */
function refuseNaN({entry: {name, dtype, quantization}, bytes}: StoredWeight): void {
  const isHalf = quantization?.dtype === 'float16';
  if (dtype !== 'float32' || (quantization && !isHalf)) {
    return;
  }
  // A copy, because a weight may start at any byte of its file.
  const {buffer} = new Uint8Array(bytes);
  const at = isHalf ? new Uint16Array(buffer).findIndex(half => (half & 0x7fff) > 0x7c00) :
    new Float32Array(buffer).findIndex(Number.isNaN);
  if (at >= 0) {
    throw new Error(`weight '${printable(name)}' holds NaN at element ${at}: the model is damaged, or its training ` +
        'diverged');
  }
}
