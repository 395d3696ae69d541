/**
 * Moves staged files to where they belong, all of them or none.
 *
 * A file that must not exist yet is placed by a hard link: that fails where something exists, while a rename would
 * replace it. A file that is replaced is renamed over, so readers find the old one or the new one, and a second link to
 * the old one is kept until all is done.
 */
import {constants, copyFileSync, existsSync, linkSync, renameSync, unlinkSync} from 'node:fs';

export interface Placement {
  /** A file on the target's file system, under a name of its own. */
  staged: string;
  target: string;
  /** Whether a file at the target may be replaced. */
  replace: boolean;
}

/**
 * Places files in the order given. Synchronous: nothing else of this process runs in between.
 * @throws the system's error; then every target is as it was.
 */
export function placeFiles(placements: readonly Placement[]): void {
  const undo: (() => void)[] = [];
  try {
    for (const {staged, target, replace} of placements) {
      if (replace && existsSync(target)) {
        const old = `${staged}.old`;
        linkExclusively(target, old);
        renameSync(staged, target);
        undo.push(() => renameSync(old, target));
      } else {
        linkExclusively(staged, target);
        undo.push(() => unlinkSync(target));
      }
    }
  } catch (error) {
    undo.reverse().forEach(step => step());
    throw error;
  }
}

/** A second name for a file; a copy where the file system has no hard links. */
function linkExclusively(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') {
      throw error;
    }
    copyFileSync(from, to, constants.COPYFILE_EXCL);
  }
}
