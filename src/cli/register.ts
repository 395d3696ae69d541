/**
 * --register: a module of the user's that makes custom layer classes known to tfjs before the model is loaded.
 *
 * Importing it is enough if it gets the same copy of tfjs as this script. A module that lies elsewhere may not; it can
 * export a function as default, which is called with this script's tfjs.
 */
import {pathToFileURL} from 'node:url';
import * as core from '@tensorflow/tfjs-core';
import * as layersApi from '@tensorflow/tfjs-layers';
import {reasonOf} from './errors.js';
import {canonicalPath} from './model_io/file_identity.js';
import {printable} from './printable.js';

/** @throws Error if the module cannot be loaded, or throws. */
export async function registerModule(path: string): Promise<void> {
  try {
    const module = await import(pathToFileURL(canonicalPath(path)).href) as {default?: unknown};
    if (typeof module.default === 'function') {
      await (module.default as (tf: object) => unknown)({...core, ...layersApi});
    }
  } catch (error) {
    throw new Error(`--register ${printable(path)}: ${reasonOf(error)}`, {cause: error});
  }
}
