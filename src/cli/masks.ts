/**
 * --masks: which weights to keep, from a file that another pruner wrote. It is a weights manifest, as tfjs and the
 * Python package tensorflowjs write them: a list of {paths, weights}, the weight files beside it. Each weight is the
 * mask of one layer's kernel, under the layer's name; non-zero keeps.
 */
import {basename, dirname, resolve} from 'node:path';
import {io, type Tensor2D} from '@tensorflow/tfjs-core';
import {canonicalEntry} from './model_io/file_identity.js';
import {folderSource} from './model_io/file_source.js';
import {reasonOf} from './errors.js';
import {readManifest} from './model_io/read_model.js';
import {printable} from './printable.js';

/**
 * Reads the masks of a manifest.
 * @param file if undefined, there are no masks.
 * @returns layer name → mask, to be disposed by the caller; and the paths of the files that were read.
 * @throws Error that names the file and says what is wrong with it.
 */
export async function readMasks(
    file: string | undefined,
    allowOutsideFiles = false): Promise<{masks: Record<string, Tensor2D>; files: string[]}> {
  if (file === undefined) {
    return {masks: {}, files: []};
  }
  try {
    const source = folderSource(file, allowOutsideFiles);
    await source.size(basename(file)); // refuses what is not a file
    const text = await source.read(basename(file));
    const manifest = JSON.parse(new TextDecoder().decode(text)) as io.WeightsManifestConfig;
    if (!Array.isArray(manifest)) {
      throw new Error('it is not a weights manifest, a list of {paths, weights}');
    }
    const weights = await readManifest(source, 'it', manifest);
    const folder = dirname(canonicalEntry(file));
    // Without a prototype: a layer may be called __proto__.
    const masks = Object.create(null) as Record<string, Tensor2D>;
    for (const {entry, bytes} of weights) {
      const {mask} = io.decodeWeights(new Uint8Array(bytes).buffer, [{...entry, name: 'mask'}]);
      masks[entry.name] = mask as Tensor2D;
    }
    return {masks, files: [file, ...manifest.flatMap(({paths}) => paths.map(path => resolve(folder, path)))]};
  } catch (error) {
    throw new Error(`--masks ${printable(file)}: ${reasonOf(error)}`, {cause: error});
  }
}
