/**
 * What a saved layers model is, as files: model.json and the weight files its manifest names. Reads them whole, checks
 * all of it before tfjs sees any, and keeps every weight's bytes as they were stored, so that a weight nobody touched
 * can be written again as it was.
 *
 * The files come through a FileSource: a folder on the disk, or the files about to be written, still in memory. So what
 * is verified before writing goes through the same door as what is read.
 */
import {io} from '@tensorflow/tfjs-core';
import {CHECKSUMS, checksumsOf, sha256} from '../format/checksums.js';
import {reasonOf} from './errors.js';
import {printable} from './printable.js';

/** Where files come from; paths are relative to the folder of model.json. */
export interface FileSource {
  /** In bytes. */
  size(path: string): Promise<number>;
  read(path: string): Promise<Uint8Array>;
}

/** One weight as its file holds it: quantized, if its manifest entry says so. */
export interface StoredWeight {
  entry: io.WeightsManifestEntry;
  bytes: Uint8Array;
}

export interface StoredModel {
  json: io.ModelJSON;
  weights: StoredWeight[];
  /** Paths of the weight files, as the manifest names them. */
  files: string[];
  /** Bytes of model.json and of all weight files. */
  size: {modelJson: number; weights: number};
}

/** What model.json names as format; very old files have none. */
const LAYERS_FORMAT = 'layers-model';
const ELEMENT_BYTES: Record<string, number> = {
  float32: 4, int32: 4, bool: 1, complex64: 8, uint8: 1, uint16: 2, float16: 2,
};
const STRING_LENGTH_BYTES = 4;
/** Characters of a wrong value that an error shows. */
const MOST_SHOWN = 60;
/** The classes whose config lists layers: tfjs's own, and what Keras calls a Model since 2.3. */
const MODEL_CLASSES = ['Sequential', 'Model', 'Functional'];

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

function parseModelJson(path: string, text: Uint8Array): io.ModelJSON {
  let json: Partial<io.ModelJSON>;
  try {
    json = JSON.parse(new TextDecoder('utf-8', {fatal: true}).decode(text)) as Partial<io.ModelJSON>;
  } catch (error) {
    throw new Error(`${path} is not JSON: ${reasonOf(error)}`, {cause: error});
  }
  if (!isObject(json)) {
    throw new Error(`${path} is JSON, but not a saved model: it holds ${inJson(json)}`);
  }
  const topology = json.modelTopology as Record<string, unknown> | undefined;
  if (json.format === 'graph-model' || (isObject(topology) && Array.isArray(topology.node))) {
    throw new Error(`${path} is a graph model. Graph models are not supported yet; give a layers model, such as ` +
        'model.save() or tensorflowjs_converter --output_format=tfjs_layers_model writes');
  }
  if (json.format !== undefined && json.format !== null && json.format !== LAYERS_FORMAT) {
    throw new Error(`${path} has format ${inJson(json.format)}; only '${LAYERS_FORMAT}' can be converted`);
  }
  if (!isObject(topology)) {
    throw new Error(`${path} has no modelTopology: it is not a saved model, or only its weights`);
  }
  const config = topology.model_config ?? topology;
  // Keras 2.1 and older gave a Sequential's layers as a bare list.
  const hasLayers = isObject(config) && (isObject(config.config) || Array.isArray(config.config));
  if (!hasLayers || typeof config.class_name !== 'string') {
    throw new Error(`${path}: modelTopology names no layers (class_name and config are missing)`);
  }
  const where = `modelTopology.${config === topology ? '' : 'model_config.'}config`;
  checkLayers(`${path}: ${where}`, config.class_name, config.config);
  if (!Array.isArray(json.weightsManifest)) {
    throw new Error(`${path} has no weightsManifest: it describes a model without its weights; save it with them`);
  }
  return json as io.ModelJSON;
}

/**
 * Every layer must say which class it is of and how it is configured, those of models within models too: tfjs reads
 * both without a check, and its errors name no layer. A model of a class of its own keeps its layers as it likes.
 */
function checkLayers(where: string, className: string, config: unknown): void {
  if (!MODEL_CLASSES.includes(className)) {
    return;
  }
  const [list, layers] = Array.isArray(config) ? [where, config as unknown[]] :
    [`${where}.layers`, (config as Record<string, unknown>).layers];
  if (!Array.isArray(layers) || layers.length === 0) {
    throw new Error(`${list} must be a list of layers; it is ${inJson(layers)}`);
  }
  layers.forEach((layer: unknown, index) => {
    const wrong = wrongInLayer(layer);
    if (wrong) {
      throw new Error(`${list}[${index}] ${wrong}`);
    }
    const {class_name: ofClass, config: inner} = layer as {class_name: string; config: unknown};
    checkLayers(`${list}[${index}].config`, ofClass, inner);
  });
}

function wrongInLayer(layer: unknown): string | undefined {
  if (!isObject(layer)) {
    return `is ${inJson(layer)}, no layer`;
  }
  const {class_name: className, config} = layer;
  if (typeof className !== 'string' || className === '') {
    return `has class_name ${inJson(className)}; it must name the layer's class`;
  }
  if (!isObject(config) && !Array.isArray(config)) {
    return `(${printable(className)}) has config ${inJson(config)}; it must be an object`;
  }
  const name = isObject(config) ? config.name : undefined;
  if (name !== undefined && name !== null && typeof name !== 'string') {
    return `(${printable(className)}) has config.name ${inJson(name)}; a name is a string`;
  }
  return undefined;
}

function checkGroup(where: string, group: io.WeightsManifestConfig[number]): void {
  if (!isObject(group) || !isListOf(group.paths, path => typeof path === 'string' && path !== '') ||
      !Array.isArray(group.weights)) {
    throw new Error(`${where} must have paths, a list of file names, and weights, a list`);
  }
  const sums = checksumsOf(group);
  if (sums !== undefined && !(isListOf(sums, sum => typeof sum === 'string') &&
      (sums as string[]).length === group.paths.length)) {
    throw new Error(`${where} has ${CHECKSUMS} ${inJson(sums)}; it must list a checksum for each of the paths`);
  }
  group.weights.forEach((entry, index) => {
    const wrong = wrongInEntry(entry);
    if (wrong) {
      const name = isObject(entry) && typeof entry.name === 'string' ? ` ('${printable(entry.name)}')` : '';
      throw new Error(`${where}.weights[${index}]${name} ${wrong}`);
    }
  });
}

function wrongInEntry(entry: io.WeightsManifestEntry): string | undefined {
  if (!isObject(entry) || typeof entry.name !== 'string' || entry.name === '') {
    return 'has no name';
  }
  if (!isListOf(entry.shape, size => Number.isSafeInteger(size) && (size as number) >= 0)) {
    return `has shape ${inJson(entry.shape)}; a shape is a list of whole numbers`;
  }
  if (!['float32', 'int32', 'bool', 'string', 'complex64'].includes(entry.dtype)) {
    return `has dtype ${inJson(entry.dtype)}, which tfjs does not know`;
  }
  if (!('quantization' in entry)) {
    return undefined;
  }
  const {quantization} = entry;
  if (!isObject(quantization) || !['uint8', 'uint16', 'float16'].includes(quantization.dtype)) {
    return `has quantization ${inJson(quantization)}; its dtype must be uint8, uint16 or float16`;
  }
  if (entry.dtype !== 'float32' && (entry.dtype !== 'int32' || quantization.dtype === 'float16')) {
    return `is ${entry.dtype} quantized as ${quantization.dtype}, which tfjs does not know`;
  }
  if (quantization.dtype !== 'float16' && !(Number.isFinite(quantization.scale) && Number.isFinite(quantization.min))) {
    return `is quantized as ${quantization.dtype} without a scale and a min`;
  }
  return undefined;
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
  const expected = weights.some(isString) ? undefined : weights.reduce((sum, entry) => sum + entryBytes(entry), 0);
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
    const length = isString(entry) ? stringBytes(entry, bytes.subarray(offset)) : entryBytes(entry);
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

function entryBytes({shape, dtype, quantization}: io.WeightsManifestEntry): number {
  return shape.reduce((product, size) => product * size, 1) * ELEMENT_BYTES[quantization?.dtype ?? dtype];
}

/** A string tensor's bytes: each string behind its length. More than there are, if they are cut short. */
function stringBytes({shape}: io.WeightsManifestEntry, bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = shape.reduce((product, size) => product * size, 1);
  let length = 0;
  for (let i = 0; i < count && length <= bytes.length; ++i) {
    const fits = length + STRING_LENGTH_BYTES <= bytes.length;
    length += STRING_LENGTH_BYTES + (fits ? view.getUint32(length, true) : 0);
  }
  return length;
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

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isListOf(value: unknown, test: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(test);
}

/** A value as the file has it, its beginning if it is long; a field that is not there has none. */
function inJson(value: unknown): string {
  const text = value === undefined ? 'none' : JSON.stringify(value);
  return printable(text, MOST_SHOWN);
}
