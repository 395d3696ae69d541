/**
 * Where read_model.ts gets a model's files from: a folder on the disk, in plain Node (tfjs reads files only through
 * tfjs-node, which may not be installed), or the files about to be written, which are still in memory.
 */
import {promises as fs, realpathSync} from 'node:fs';
import {basename, dirname, isAbsolute, join, resolve, win32} from 'node:path';
import {reasonOf} from '../errors.js';
import {canonicalEntry, isInside} from './file_identity.js';
import type {FileSource} from './read_model.js';
import {printable} from '../printable.js';

/**
 * The files of a saved model: its model.json, and the files that lie in the same folder or below it.
 *
 * A model.json may come from anybody, and its weight files are copied into the output. So a path that is absolute, or
 * that leads out of the folder (by `..` or by a link), is refused.
 * @param allowOutside whether such paths are read all the same.
 */
export function folderSource(modelJson: string, allowOutside = false): FileSource {
  const folder = dirname(modelJson);
  const entry = canonicalEntry(modelJson);
  const realFolder = dirname(entry);
  const locate = (path: string): string => {
    const file = resolve(realFolder, path);
    if (allowOutside || file === entry) {
      return file;
    }
    const isAbsolutePath = isAbsolute(path) || win32.isAbsolute(path);
    if (!isAbsolutePath && isInside(file, realFolder)) {
      // The path that is judged is the one that is opened, whatever becomes of links in between.
      const real = realpathSync(file);
      if (isInside(real, realFolder)) {
        return real;
      }
    }
    throw new Error("it is outside the model's folder; --allow_outside_files permits that");
  };
  const failing = async <T>(path: string, work: (file: string) => Promise<T>): Promise<T> => {
    try {
      return await work(locate(path));
    } catch (error) {
      const shown = isAbsolute(path) ? path : join(folder, path);
      const hint = (error as NodeJS.ErrnoException).code === 'ENOENT' && basename(modelJson) !== path ?
        `; ${basename(modelJson)} names it as a weight file. Copy the model with all its files` : '';
      throw new Error(`cannot read '${printable(shown)}': ${reasonOf(error)}${hint}`, {cause: error});
    }
  };
  return {
    size: path => failing(path, async file => {
      const stat = await fs.stat(file);
      if (!stat.isFile()) {
        throw new Error('it is not a file');
      }
      return stat.size;
    }),
    read: path => failing(path, file => fs.readFile(file)),
  };
}

/** The files of a model that are not on the disk yet, by name. */
export function memorySource(files: ReadonlyMap<string, Uint8Array>): FileSource {
  const file = async (path: string): Promise<Uint8Array> => {
    const bytes = files.get(path);
    if (!bytes) {
      throw new Error(`cannot read '${path}': it is not among the files to write`);
    }
    return bytes;
  };
  return {size: async path => (await file(path)).length, read: file};
}
