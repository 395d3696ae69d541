/**
 * Files on the disk, in plain Node: tfjs itself reads and writes them only through tfjs-node, which may not be there.
 *
 * Writing is all or nothing. The files go to a folder with a temporary name beside the wanted one, and that is renamed
 * when all of them are there: whoever looks, at whatever moment, finds no model or a whole one.
 */
import {randomBytes} from 'node:crypto';
import {existsSync, promises as fs, renameSync, rmdirSync, rmSync} from 'node:fs';
import {basename, dirname, isAbsolute, join, relative, resolve, sep} from 'node:path';
import {reasonOf} from './errors.js';
import type {FileSource} from './model_files.js';

/** The files of a folder, and of those below it. */
export function folderSource(folder: string): FileSource {
  const failing = async <T>(path: string, work: (file: string) => Promise<T>): Promise<T> => {
    try {
      return await work(resolve(folder, path));
    } catch (error) {
      throw new Error(`cannot read '${join(folder, path)}': ${reasonOf(error)}`, {cause: error});
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

export interface OutputOptions {
  /** Whether a model that is there already may be replaced. */
  overwrite: boolean;
  /** Folder of the model that is read: it must survive. */
  inputFolder: string;
  /** Files that may lie in the folder to replace beside a model's own. */
  mayHold?: string[];
}

/**
 * Whether a folder may be written, asked before the work is done.
 * @throws Error if it is there and holds something, unless that is a model and `overwrite` is set.
 */
export async function checkOutputFolder(outDir: string, {overwrite, inputFolder, mayHold = []}: OutputOptions):
    Promise<void> {
  let names: string[];
  try {
    names = await fs.readdir(outDir);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
      return;
    }
    throw new Error(`outDir '${outDir}' cannot be used: ${reasonOf(error)}`, {cause: error});
  }
  const toInput = relative(await fs.realpath(outDir), await fs.realpath(inputFolder));
  if (toInput.split(sep)[0] !== '..' && !isAbsolute(toInput)) {
    throw new Error(`outDir '${outDir}' holds the model to convert, which is never altered; give another folder`);
  }
  if (names.length === 0) {
    return;
  }
  if (!overwrite) {
    throw new Error(`outDir '${outDir}' is not empty; give another folder, or --overwrite to replace the model in it`);
  }
  const foreign = names.find(name => name !== 'model.json' && !name.endsWith('.bin') && !mayHold.includes(name));
  if (foreign !== undefined) {
    throw new Error(`outDir '${outDir}' holds '${foreign}', which is no part of a model, and --overwrite replaces ` +
        'the whole folder; move it away or give another folder');
  }
}

/**
 * Writes files into a folder that has none of them, or all. A folder that is there is replaced: ask checkOutputFolder
 * first.
 * @throws Error if that fails; then everything is as it was.
 */
export async function writeFolder(outDir: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  // A link stays a link: what it points to is replaced.
  const target = existsSync(outDir) ? await fs.realpath(outDir) : resolve(outDir);
  const parent = dirname(target);
  const mark = `${process.pid}-${randomBytes(4).toString('hex')}`;
  const fresh = join(parent, `.${basename(target)}.new-${mark}`);
  const old = join(parent, `.${basename(target)}.old-${mark}`);
  let madeParent: string | undefined;
  const cleanUp = () => {
    rmSync(fresh, {recursive: true, force: true});
    removeEmpty(parent, madeParent);
  };
  const stop = (signal: NodeJS.Signals) => {
    cleanUp();
    process.kill(process.pid, signal);
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  try {
    madeParent = await fs.mkdir(parent, {recursive: true});
    await fs.mkdir(fresh);
    for (const [name, bytes] of files) {
      await fs.writeFile(join(fresh, name), bytes, {flush: true});
    }
    putInPlace(fresh, target, old);
  } catch (error) {
    cleanUp();
    throw new Error(`cannot write '${outDir}': ${reasonOf(error)}; nothing was written`, {cause: error});
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop);
  }
}

/** Removes the folders that were made, from the innermost to `outermost`, unless somebody else put something in. */
function removeEmpty(innermost: string, outermost: string | undefined): void {
  for (let folder = innermost; outermost !== undefined && folder.startsWith(outermost); folder = dirname(folder)) {
    try {
      rmdirSync(folder);
    } catch {
      return;
    }
  }
}

/** Synchronous, so that no signal's handler runs while there is neither the old folder nor the new one. */
function putInPlace(fresh: string, target: string, old: string): void {
  if (!existsSync(target)) {
    renameSync(fresh, target);
    return;
  }
  renameSync(target, old);
  try {
    renameSync(fresh, target);
  } catch (error) {
    renameSync(old, target);
    throw error;
  }
  try {
    rmSync(old, {recursive: true, force: true});
  } catch {
    // The new model is in place; what is left of the old one is only in the way.
  }
}

/**
 * Writes one file, whole or not at all.
 * @throws Error if that fails.
 */
export async function writeWhole(file: string, text: string): Promise<void> {
  const fresh = `${file}.new-${process.pid}`;
  try {
    await fs.writeFile(fresh, text, {flush: true});
    await fs.rename(fresh, file);
  } catch (error) {
    rmSync(fresh, {force: true});
    throw new Error(`cannot write '${file}': ${reasonOf(error)}`, {cause: error});
  }
}
