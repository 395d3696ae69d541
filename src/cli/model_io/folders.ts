/**
 * Folders and files that are created and removed around the work of write_folder.ts.
 */
import {lstatSync, mkdirSync, rmdirSync, rmSync, unlinkSync} from 'node:fs';
import {dirname} from 'node:path';

/** The folder itself if it exists, else the nearest one above it. */
export function nearestFolder(folder: string): string {
  return lstatSync(folder, {throwIfNoEntry: false}) ? folder : nearestFolder(dirname(folder));
}

/**
 * Creates a folder that must not exist, and those above it that are missing.
 * @param made gets what was created, from the outermost inwards, also if it fails half-way.
 */
export function makeFolder(folder: string, made: string[]): void {
  if (!lstatSync(dirname(folder), {throwIfNoEntry: false})) {
    makeFolder(dirname(folder), made);
  }
  mkdirSync(folder);
  made.push(folder);
}

export function removeStaging(folder: string): void {
  try {
    rmSync(folder, {recursive: true, force: true});
  } catch {
    // It is only in the way; what was to be done is done, or was undone.
  }
}

export function removeIfEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // Somebody else put something in: it stays.
  }
}

export function removeFile(file: string): void {
  try {
    unlinkSync(file);
  } catch {
    // The new model is in place; a weight file of the old one is only in the way.
  }
}
