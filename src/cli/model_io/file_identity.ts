/**
 * Which file a path means. Links, `..`, mounts and file systems that ignore case give one file many paths, so paths are
 * never compared as text where a file could be lost or read by mistake.
 */
import {statSync} from 'node:fs';
import {isAbsolute, relative, sep} from 'node:path';

/** The file or folder that a path leads to, links followed; undefined if there is none. */
export function identityOf(path: string): string | undefined {
  try {
    const {dev, ino} = statSync(path, {bigint: true});
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/** Whether a real path lies in a folder's real path, or is it. */
export function isInside(realPath: string, realFolder: string): boolean {
  const path = relative(realFolder, realPath);
  return path.split(sep)[0] !== '..' && !isAbsolute(path);
}
