/**
 * Which file a path means. Links, `..`, mounts and file systems that ignore case give one file many paths, so paths are
 * never compared as text where a file could be lost or read by mistake.
 */
import {realpathSync, statSync} from 'node:fs';
import {basename, dirname, isAbsolute, join, relative, sep} from 'node:path';

/** The file or folder that a path leads to, links followed; undefined if there is none. */
export function identityOf(path: string): string | undefined {
  try {
    const {dev, ino} = statSync(path, {bigint: true});
    return `${dev}:${ino}`;
  } catch {
    return undefined;
  }
}

/**
 * The real path of a file that need not exist: links are followed as the system follows them. `link/..` is the folder
 * above the link's target, while path.resolve would take it for the folder that holds the link.
 */
export function canonicalPath(path: string): string {
  try {
    return realpathSync.native(path);
  } catch {
    return canonicalEntry(path);
  }
}

/** {@link canonicalPath}, but that the last part of the path is not followed if it is a link. */
export function canonicalEntry(path: string): string {
  const folder = dirname(path);
  return folder === path ? path : join(canonicalPath(folder), basename(path));
}

/**
 * What a file is at this moment: another file of the same name, or other contents, give another fingerprint.
 * @returns undefined if there is none.
 */
export function fingerprintOf(path: string): string | undefined {
  const stat = statSync(path, {bigint: true, throwIfNoEntry: false});
  return stat && `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}`;
}

/** Whether a real path lies in a folder's real path, or is it. */
export function isInside(realPath: string, realFolder: string): boolean {
  const path = relative(realFolder, realPath);
  return path.split(sep)[0] !== '..' && !isAbsolute(path);
}
