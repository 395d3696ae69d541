/**
 * Recognises a saved model in a folder that is to be overwritten, and the files that are its own.
 */
import {existsSync, lstatSync, readFileSync, realpathSync, statSync} from 'node:fs';
import {join} from 'node:path';
import {isInside} from './file_identity.js';

export const MODEL_JSON = 'model.json';

/**
 * The weight files of the saved model in a folder: those that its manifest names and that lie in the folder.
 * @throws Error if there is no saved model.
 */
export function weightFilesOf(folder: string): string[] {
  const path = join(folder, MODEL_JSON);
  if (!existsSync(path)) {
    throw new Error(`it holds files and no ${MODEL_JSON}, so there is no model for --overwrite to replace`);
  }
  const modelJson = statSync(path).isFile() ? readFileSync(path, 'utf8') : '';
  const paths = manifestPaths(modelJson);
  if (!paths) {
    throw new Error(`its ${MODEL_JSON} is not a TensorFlow.js model, so --overwrite does not replace it`);
  }
  const inside = realpathSync(folder);
  return paths.map(name => join(folder, name)).filter(file =>
    lstatSync(file, {throwIfNoEntry: false})?.isFile() && isInside(realpathSync(file), inside));
}

/** The weight files that a model.json names; undefined if it is no tfjs model. */
function manifestPaths(modelJson: string): string[] | undefined {
  try {
    const {modelTopology, format, weightsManifest} = JSON.parse(modelJson) as Record<string, unknown>;
    const isModel = (typeof modelTopology === 'object' && modelTopology !== null) || typeof format === 'string';
    const groups = weightsManifest as {paths: string[]}[];
    const paths = groups.flatMap(group => group.paths);
    return isModel && paths.every(path => typeof path === 'string') ? paths : undefined;
  } catch {
    return undefined;
  }
}
