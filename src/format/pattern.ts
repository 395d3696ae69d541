/**
 * What an N:M pattern is: in every window of M consecutive rows of a weight matrix `W [k, n]`, N rows are kept,
 * and `vectorLength` consecutive columns (a group) share one choice. This file holds the type, its notation
 * ('8:32v32', '2:4') and the sizes that follow from it; everything else in the package builds on these few functions.
 *
 * Source: NM-SpMM (arXiv 2503.01253), section II; '2:4' element-wise as NVIDIA and TFMOT mean it is vectorLength 1.
 */

import {describeValue} from '../util/options.js';

/** A structured sparsity pattern. Build one with {@link parsePattern}, which checks it. */
export interface NMPattern {
  /** Rows kept in every window, 1 ≤ n ≤ m. */
  readonly n: number;
  /** Rows in a window, 1 ≤ m ≤ 256: offsets inside a window are stored in at most 8 bits. */
  readonly m: number;
  /** Consecutive columns that share one choice of kept rows. */
  readonly vectorLength: number;
}

/** How a pattern may be written: '8:32v32', '2:4' (vectorLength 1), or an object. */
export type PatternLike = string | {n: number; m: number; vectorLength?: number};

/** The vector lengths that the kernels support. */
export const VECTOR_LENGTHS: readonly number[] = [1, 2, 4, 8, 16, 32, 64, 128];

/** The largest window: an offset must fit 8 bits. */
export const MAX_WINDOW = 256;

const FIELDS: readonly string[] = ['n', 'm', 'vectorLength'];
const NOTATION = /^(\d+):(\d+)(?:v(\d+))?$/;
const EXAMPLE = "Write it as 'N:M' or 'N:MvL', e.g. '2:4' or '8:32v32'.";

/**
 * Reads and checks a pattern.
 * @param pattern '8:32v32', '2:4' or `{n, m, vectorLength?}`.
 * @throws Error where the notation, N, M or the vector length is not one that can be stored.
 */
export function parsePattern(pattern: PatternLike): NMPattern {
  return readPattern(pattern, problem => {
    throw new Error(`parsePattern: ${problem}`);
  });
}

/**
 * {@link parsePattern} for callers with error messages of their own.
 * @param refuse throws; gets what is wrong, e.g. "pattern '3' is not an N:M pattern. …".
 */
export function readPattern(pattern: PatternLike, refuse: (problem: string) => never): NMPattern {
  const fail = (why: string): never => refuse(`pattern ${describePattern(pattern)} ${why}`);
  let n: unknown;
  let m: unknown;
  let vectorLength: unknown;
  if (typeof pattern === 'string') {
    const match = NOTATION.exec(pattern.trim());
    if (!match) {
      const plain = pattern.toLowerCase().replace(/\s/g, '');
      return fail('is not an N:M pattern. ' + (NOTATION.test(plain) ? `Write it as '${plain}'.` : EXAMPLE));
    }
    [n, m, vectorLength] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 1)];
  } else if (pattern !== null && typeof pattern === 'object') {
    const unknown = Object.keys(pattern).find(name => !FIELDS.includes(name));
    if (unknown !== undefined) {
      return fail(`has an unknown field ${describeValue(unknown)}; the fields are ${FIELDS.join(', ')}.`);
    }
    ({n, m, vectorLength = 1} = pattern);
  } else {
    return fail(`is not an N:M pattern. ${EXAMPLE}`);
  }
  if (!isPositiveInteger(m) || m > MAX_WINDOW) {
    return fail(`has M=${describeValue(m)}; M must be a whole number from 1 to ${MAX_WINDOW}.`);
  }
  if (!isPositiveInteger(n) || n > m) {
    return fail(`keeps N=${describeValue(n)} of M=${m}; N must be a whole number from 1 to M.`);
  }
  if (!isPositiveInteger(vectorLength) || !VECTOR_LENGTHS.includes(vectorLength)) {
    return fail(`has vectorLength ${describeValue(vectorLength)}; it must be one of ${VECTOR_LENGTHS.join(', ')}.`);
  }
  return Object.freeze({n, m, vectorLength});
}

/** A pattern as messages show it. */
function describePattern(pattern: unknown): string {
  if (pattern === null || typeof pattern !== 'object' || !('n' in pattern || 'm' in pattern)) {
    return describeValue(pattern);
  }
  const shown = Object.entries(pattern).slice(0, 4).map(([name, value]) => `${name}: ${describeValue(value)}`);
  return `{${shown.join(', ')}}`;
}

/**
 * The notation {@link parsePattern} reads: '8:32v32', or '2:4' where vectorLength is 1.
 * @throws Error as parsePattern does.
 */
export function formatPattern(pattern: PatternLike): string {
  const {n, m, vectorLength} = parsePattern(pattern);
  return vectorLength === 1 ? `${n}:${m}` : `${n}:${m}v${vectorLength}`;
}

/** `w`: how many of k rows a pattern keeps. The last window may be short; it keeps min(N, rows left). */
export function keptRowCount(k: number, {n, m}: NMPattern): number {
  const whole = Math.floor(k / m);
  return whole * n + Math.min(n, k - whole * m);
}

/** How many groups of `vectorLength` columns n columns make. The last group may be short. */
export function groupCount(n: number, {vectorLength}: NMPattern): number {
  return Math.ceil(n / vectorLength);
}

function isPositiveInteger(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 1;
}
