/**
 * Checks a model.json before tfjs sees any of it: tfjs reads much of it without a check, and its errors name neither
 * file nor layer.
 */
import type {io} from '@tensorflow/tfjs-core';
import {CHECKSUMS, checksumsOf} from '../../format/checksums.js';
import {reasonOf} from '../errors.js';
import {printable} from '../printable.js';

/** What model.json names as format; very old files have none. */
const LAYERS_FORMAT = 'layers-model';
/** Characters of a wrong value that an error shows. */
const MOST_SHOWN = 60;
/** The classes whose config lists layers: tfjs's own, and what Keras calls a Model since 2.3. */
const MODEL_CLASSES = ['Sequential', 'Model', 'Functional'];

/** @throws Error saying what is wrong with the text or with what it describes. */
export function parseModelJson(path: string, text: Uint8Array): io.ModelJSON {
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
    throw new Error(`${path} is a graph model. Convert it in code, by pruneGraphModel(); nm-prune takes layers ` +
        'models, such as model.save() or tensorflowjs_converter --output_format=tfjs_layers_model writes');
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

/**
 * Checks one group of a weightsManifest.
 * @param where opens the error.
 */
export function checkGroup(where: string, group: io.WeightsManifestConfig[number]): void {
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
