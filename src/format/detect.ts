/**
 * Finds the N:M pattern that the zeros of a matrix satisfy. Models pruned elsewhere (2:4 by TFMOT or NVIDIA's ASP,
 * block patterns by SparseML) show their pattern only by the places of their zeros. Once it is found, they can be
 * compressed without loss.
 *
 * For window M and vector length L, the smallest possible N is the largest number of rows with a non-zero, over all
 * windows and groups. One walk over the rows counts them for all M and L. Each row becomes bits (non-zero or not). The
 * bits for L are those of two neighbours at L/2, OR-ed. A running count per group, less the count at the start of the
 * window, is the count of the window. Each L costs half as much as the previous one, and a window costs only at its
 * last row. So all 64 default patterns take the time of a few passes and the memory of a few rows.
 */
import type {Tensor2D} from '@tensorflow/tfjs-core';
import {checkOptionNames, describeValue} from '../util/options.js';
import {inTimeSlices, type Work} from './time_slices.js';
import {keptRowCount, MAX_WINDOW, parsePattern, VECTOR_LENGTHS, type NMPattern, type PatternLike} from './pattern.js';
import {readWeights} from './weights.js';

export interface DetectOptions {
  /** The windows M to try, each 1 … 256; the powers of two from 2 to 256 if left out. */
  windows?: readonly number[];
  /** The vector lengths to try; all of `VECTOR_LENGTHS` if left out. */
  vectorLengths?: readonly number[];
}

const DEFAULT_WINDOWS: readonly number[] = [2, 4, 8, 16, 32, 64, 128, 256];

/**
 * Finds the tightest pattern that the zeros of W satisfy: the one that keeps the fewest of W's k rows (the lowest N/M,
 * with short windows counted as they are), of those the one with the largest vector length, of those the one
 * with the smallest window. -0 is a zero, NaN is not.
 * @param W float32 [k, n]; read with `await data()`, not disposed.
 * @returns the pattern, or null if none of those tried drops a row.
 * @throws Error (as a rejection) if W is not such a tensor, an option is unknown or holds a number that no pattern has.
 */
export async function detectPattern(
    W: Tensor2D, options: DetectOptions = {}): Promise<NMPattern | null> {
  checkOptionNames('detectPattern', options, ['windows', 'vectorLengths'], '{windows: [4], vectorLengths: [1, 32]}');
  const {windows = DEFAULT_WINDOWS, vectorLengths = VECTOR_LENGTHS} = options;
  requireSome('windows', windows, m => Number.isInteger(m) && m >= 1 && m <= MAX_WINDOW,
      `whole numbers from 1 to ${MAX_WINDOW}`);
  requireSome('vectorLengths', vectorLengths, l => VECTOR_LENGTHS.includes(l), `of ${VECTOR_LENGTHS.join(', ')}`);
  const w = await readWeights('detectPattern', W);
  const k = W.shape[0];
  const found = await inTimeSlices(tightestPatterns(w, [k, W.shape[1]], windows, vectorLengths), w.length);
  const [best] = found.filter(pattern => keptRowCount(k, pattern) < k).sort((a, b) =>
      keptRowCount(k, a) - keptRowCount(k, b) || b.vectorLength - a.vectorLength || a.m - b.m);
  return best ?? null;
}

/**
 * Whether every window and group of W has at most N rows with a non-zero, so that compressing W by the pattern loses
 * nothing.
 * @param W float32 [k, n]; read with `await data()`, not disposed.
 * @throws Error (as a rejection) if W is not such a tensor or the pattern is not one.
 */
export async function checkPattern(W: Tensor2D, pattern: PatternLike): Promise<boolean> {
  const {n, m, vectorLength} = parsePattern(pattern);
  const w = await readWeights('checkPattern', W);
  const [tightest] = await inTimeSlices(tightestPatterns(w, [W.shape[0], W.shape[1]], [m], [vectorLength]), w.length);
  return tightest.n <= n;
}

/** For every window and vector length the pattern of the smallest N that holds W; N is at least 1. */
function* tightestPatterns(
    w: Float32Array, [k, n]: [number, number], windows: readonly number[],
    vectorLengths: readonly number[]): Work<NMPattern[]> {
  // The chain of vector lengths is walked up to the longest wanted; one that is not wanted has no windows to count.
  const levels = VECTOR_LENGTHS.filter(length => length <= Math.max(...vectorLengths)).map(vectorLength => {
    const groups = Math.ceil(n / vectorLength);
    return {
      vectorLength,
      counts: new Int32Array(groups),
      windows: (vectorLengths.includes(vectorLength) ? [...new Set(windows)] : [])
          .map(m => ({m, countsAtStart: new Int32Array(groups), most: 1})),
    };
  });
  const bits = new Uint8Array(n);
  for (let row = 0; row < k; ++row) {
    markNonZeros(w, row * n, bits);
    let count = n;
    for (const {vectorLength, counts, windows} of levels) {
      if (vectorLength > 1) {
        count = orNeighbours(bits, count);
      }
      addInto(counts, bits);
      for (const window of windows) {
        if ((row + 1) % window.m === 0 || row + 1 === k) {
          window.most = Math.max(window.most, largestRise(window.countsAtStart, counts));
          window.countsAtStart.set(counts);
        }
      }
    }
    yield n;
  }
  return levels.flatMap(({vectorLength, windows}) =>
      windows.map(({m, most}) => parsePattern({n: most, m, vectorLength})));
}

function markNonZeros(w: Float32Array, start: number, bits: Uint8Array): void {
  for (let col = 0; col < bits.length; ++col) {
    bits[col] = w[start + col] !== 0 ? 1 : 0;
  }
}

/** Halves the first `count` bits in place, an odd last one staying alone; returns how many are left. */
function orNeighbours(bits: Uint8Array, count: number): number {
  const pairs = count >> 1;
  for (let i = 0; i < pairs; ++i) {
    bits[i] = bits[2 * i] | bits[2 * i + 1];
  }
  if (count & 1) {
    bits[pairs] = bits[count - 1];
  }
  return pairs + (count & 1);
}

function addInto(counts: Int32Array, bits: Uint8Array): void {
  for (let i = 0; i < counts.length; ++i) {
    counts[i] += bits[i];
  }
}

function largestRise(from: Int32Array, to: Int32Array): number {
  let rise = 0;
  for (let i = 0; i < to.length; ++i) {
    rise = Math.max(rise, to[i] - from[i]);
  }
  return rise;
}

function requireSome(
    name: string, given: readonly number[], isGood: (value: number) => boolean, wanted: string): void {
  if (!Array.isArray(given) || given.length === 0 || !given.every(isGood)) {
    const shown = Array.isArray(given) ? `[${given.slice(0, 8).map(describeValue).join(',')}]` : describeValue(given);
    throw new Error(`detectPattern: ${name} is ${shown}; give one or more ${wanted}.`);
  }
}
