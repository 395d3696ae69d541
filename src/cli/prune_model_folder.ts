/**
 * nm-prune as a function, without the command line: it checks its arguments, loads and converts the model, makes the
 * files, verifies them and writes them. Nothing on the disk changes before the last step.
 */
import {statSync, type Stats} from 'node:fs';
import {basename, dirname, resolve} from 'node:path';
import {dispose, type Tensor2D} from '@tensorflow/tfjs-core';
import type {LayersModel} from '@tensorflow/tfjs-layers';
import {convertLayersModel} from '../convert/layers_model.js';
import type {LayerReport, PruneLayersModelOptions, PruneProgress} from '../index.js';
import {globMatcher} from '../pruning/options.js';
import {setUpBackend, type BackendChoice} from './backend.js';
import {canonicalEntry} from './model_io/file_identity.js';
import {folderSource, memorySource} from './model_io/file_source.js';
import {reasonOf} from './errors.js';
import {loadModel} from './load_model.js';
import {readMasks} from './masks.js';
import {isModelWeight, readModelFiles, type StoredModel} from './model_io/read_model.js';
import type {StoredWeight} from '../format/stored_weights.js';
import {outputFiles, takeApart} from './model_io/shards.js';
import {OutputFolder} from './model_io/write_folder.js';
import {printable} from './printable.js';
import {registerModule} from './register.js';
import {fileStorage, storeWeights} from './model_io/encode_weights.js';
import {disposeModel, verify, type Verification} from './verify.js';

export const DEFAULT_SHARD_BYTES = 4 * 1024 * 1024;

export interface RunOptions {
  /** Path of the model.json to convert. */
  modelJson: string;
  /** Folder to write; made if it is not there. */
  outDir: string;
  /** Required unless perLayer is given. */
  pattern?: string;
  include?: string[];
  exclude?: string[];
  /** Glob → pattern or 'dense', in the order in which they are tried. */
  perLayer?: PruneLayersModelOptions['perLayer'];
  criterion?: PruneLayersModelOptions['criterion'];
  /** Globs of weights to store as float16. If given, the values of all sparse layers are stored as float16 too. */
  quantizeFloat16?: string[];
  /** Size of the weight files in bytes, but the last. Default 4 MiB. */
  weightShardSizeBytes?: number;
  /** Default: the fastest there is. */
  backend?: BackendChoice;
  /** File to write the report to, as JSON. */
  json?: string;
  /** Replace a model that is in outDir. */
  overwrite?: boolean;
  /** Modules that register custom classes. */
  register?: string[];
  /** A weights manifest with the masks of layers. */
  masks?: string;
  /** Read weight files that model.json names outside its own folder. */
  allowOutsideFiles?: boolean;
  onProgress?: (progress: PruneProgress) => void;
  /** Called when all is ready to be written. If it throws, nothing is written. */
  onReport?: (report: RunReport) => Promise<void> | void;
}

/** What was done; --json writes exactly this. All sizes in bytes. */
export interface RunReport {
  modelJson: string;
  outDir: string;
  backend: string;
  dtype: 'float32' | 'float16';
  layers: LayerReport[];
  /** All weights as they lie in memory, quantized or not in the files. */
  memory: {bytesBefore: number; bytesAfter: number};
  disk: {
    weightsBefore: number;
    weightsAfter: number;
    modelJsonBefore: number;
    modelJsonAfter: number;
    /** Part of weightsBefore. */
    optimizerBytesDropped: number;
  };
  verification: Verification;
}

/**
 * Converts a layers model on the disk.
 * @returns the report; of a model of which no layer could be converted there is none, but an Error.
 * @throws Error that says what is wrong; then nothing was written.
 */
export async function run(options: RunOptions): Promise<RunReport> {
  const {modelJson, outDir, register = [], weightShardSizeBytes = DEFAULT_SHARD_BYTES} = options;
  checkInput(modelJson);
  const outputFolder = new OutputFolder(options);
  outputFolder.protect([modelJson, ...register]);
  const input = await readModelFiles(folderSource(modelJson, options.allowOutsideFiles), basename(modelJson));
  outputFolder.protect(input.files.map(path => resolve(dirname(canonicalEntry(modelJson)), path)));
  const backend = await setUpBackend(options.backend);
  for (const path of register) {
    await registerModule(path);
  }
  const {masks, files: maskFiles} = await readMasks(options.masks, options.allowOutsideFiles);
  let model: LayersModel | undefined;
  let pruned: LayersModel | undefined;
  try {
    outputFolder.protect(maskFiles);
    model = await loadModel(input);
    const dtype = options.quantizeFloat16 ? 'float16' : 'float32';
    const conversion = await convertLayersModel(
      model, pruneOptions(options, masks), fileStorage(input, dtype === 'float16'));
    pruned = conversion.model;
    const {layers, ...memory} = conversion.report;
    checkConverted(layers);

    const {modelTopology, weights} = await takeApart(pruned);
    const stored = storeWeights(weights, input, float16Matcher(options.quantizeFloat16 ?? [], weights));
    const files = await outputFiles(input.json, modelTopology, stored, weightShardSizeBytes, outputFolder.takenNames);
    const output = await readModelFiles(memorySource(files), 'model.json');
    const verification = await verify(pruned, output, options.quantizeFloat16 !== undefined);
    await backend.check();

    const report: RunReport = {
      modelJson, outDir, backend: backend.name, dtype, layers, memory,
      disk: {
        weightsBefore: input.size.weights,
        weightsAfter: output.size.weights,
        modelJsonBefore: input.size.modelJson,
        modelJsonAfter: output.size.modelJson,
        optimizerBytesDropped: optimizerBytes(input),
      },
      verification,
    };
    await options.onReport?.(report);
    await outputFolder.write(files, JSON.stringify(report, null, 2) + '\n');
    return report;
  } finally {
    // What is written is written, or not: a custom layer that fails to be disposed changes nothing.
    for (const each of [pruned, model]) {
      try {
        disposeModel(each);
      } catch {
        // The process is about to end.
      }
    }
    dispose(masks);
  }
}

/** @throws Error if there is no model.json to read. */
function checkInput(modelJson: string): void {
  const fail = (why: string): never => {
    throw new Error(`model.json '${printable(modelJson)}': ${why}`);
  };
  if (/^[a-z][a-z\d+.-]+:\/\//i.test(modelJson)) {
    fail('it is a URL, and nm-prune reads files; download the model.json and its weight files');
  }
  if (/\.(h5|hdf5|keras)$/i.test(modelJson)) {
    fail('it is a Keras file; convert it first: tensorflowjs_converter --input_format keras ' +
        '--output_format tfjs_layers_model FILE FOLDER');
  }
  let found: Stats | undefined;
  try {
    found = statSync(modelJson, {throwIfNoEntry: false});
  } catch (error) {
    fail(reasonOf(error));
  }
  if (!found?.isFile()) {
    fail(found?.isDirectory() ? 'it is a folder; give the model.json in it' :
      found ? 'it is not a file' : 'there is no such file');
  }
}

function pruneOptions(
    {pattern, include, exclude, perLayer, criterion, onProgress}: RunOptions,
    masks: Record<string, Tensor2D>): PruneLayersModelOptions {
  const given = Object.entries({pattern, include, exclude, perLayer, criterion, masks, onProgress});
  return Object.fromEntries(given.filter(([, value]) => value !== undefined));
}

function checkConverted(layers: LayerReport[]): void {
  if (layers.some(({converted}) => converted)) {
    return;
  }
  const reasons = layers.filter(({bytesBefore}) => bytesBefore > 0)
    .map(({name, reason}) => `\n  ${printable(name)}: ${reason}`);
  throw new Error(`no layer was converted, so nothing was written${reasons.join('')}`);
}

/** @throws Error if a glob matches no weight: it is a misspelt name. */
function float16Matcher(globs: string[], weights: StoredWeight[]): (name: string) => boolean {
  for (const glob of globs) {
    if (!weights.some(({entry}) => globMatcher(glob)(entry.name))) {
      throw new Error(`--quantize_float16 has the glob '${printable(glob)}', which matches no weight; the weights ` +
          `are ${weights.map(({entry}) => printable(entry.name)).join(', ')}`);
    }
  }
  return globMatcher(globs);
}

function optimizerBytes({weights}: StoredModel): number {
  return weights.filter(weight => !isModelWeight(weight)).reduce((sum, {bytes}) => sum + bytes.length, 0);
}
