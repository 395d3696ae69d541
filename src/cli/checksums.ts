/**
 * Checksums of weight files. Each group of a weightsManifest that nm-prune writes has one for each of its `paths`, in a
 * field that tfjs ignores. A file that was cut, damaged, or left over from another version of the model is then found.
 */
import {createHash} from 'node:crypto';
import type {io} from '@tensorflow/tfjs-core';

/** The field of a manifest group: a list of SHA-256 sums in hexadecimal, as long as `paths`. */
export const CHECKSUMS = 'sha256';

export function checksum(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** The checksums of a group's files; undefined if it has none, as models that tfjs saved. */
export function checksumsOf(group: io.WeightsManifestConfig[number]): unknown {
  return (group as unknown as Record<string, unknown>)[CHECKSUMS];
}
