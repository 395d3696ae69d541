/**
 * Dense W → N:M. In every window of M rows and group of L columns, N rows are kept: those that a mask keeps or, without
 * a mask, those of largest L2 norm over the group's columns. `values` gets the values of the kept rows, without gaps;
 * `offsets` gets their positions in the window.
 *
 * In both cases every row gets a score, and the N rows of largest score are kept (choose_rows.ts). If a mask keeps
 * fewer than N rows, the lowest rows that it drops are added; their values are stored as 0.
 *
 * W is read in blocks, so that each cache line is read once although scores belong to columns. A block is one window
 * deep; its width in groups is limited so that the scores stay in a core's cache. The work is a generator
 * (time_slices.ts), so that a page stays responsive.
 */
import {tensor2d, type Tensor2D} from '@tensorflow/tfjs-core';
import {checkCallback, checkOptionNames, describeValue, UnsupportedWeightsError} from '../util/options.js';
import {chooseRows, scoreByEnergy, scoreByMask, type Block} from './choose_rows.js';
import {inOneGo, inTimeSlices, type Work} from './time_slices.js';
import {NMSparseMatrix, partShapes} from './nm_sparse_matrix.js';
import {indexWordsPerGroup, packIndices} from './pack.js';
import {groupCount, keptRowCount, parsePattern, type NMPattern, type PatternLike} from './pattern.js';
import {checkDtype, STORAGE, type StorageDtype} from './storage.js';
import {isMask, readMask, readWeights} from './weights.js';

export interface CompressOptions {
  /** '8:32v32', '2:4' or `{n, m, vectorLength?}`. */
  pattern: PatternLike;
  /**
   * [k, n], bool, int32 or float32: non-zero keeps a weight. It must fit the pattern: within a window all columns of a
   * group keep the same rows, at most N. Without a mask the rows of largest L2 norm are kept.
   */
  mask?: Tensor2D;
  /** How to store the kept values; 'float32' if left out. */
  dtype?: StorageDtype;
  /** Called now and then with the fraction done, at the end with 1. */
  onProgress?: (fraction: number) => void;
}

/** A compressed matrix on plain arrays; the offsets are not packed yet. */
export interface CompressedValues {
  /** [w, n] row-major. */
  values: Float32Array;
  /** [groups, w] row-major: each kept row's offset inside its window, ascending inside a window. */
  offsets: Uint8Array;
}

/**
 * Decides which rows of W [k, n] are kept and which values they get. Pure work on plain arrays.
 * @returns work that yields amounts that add up to k · n.
 */
export type ChooseValues =
    (w: Float32Array, shape: [k: number, n: number], pattern: NMPattern) => Work<CompressedValues>;

/** Scores held at once, 64 KB of them: they stay in a core's cache. */
const BLOCK_SCORES = 8192;

/** Values looked at between two yields, where the work per value is slight. */
const CHUNK = 1 << 16;

/**
 * Compresses a dense weight matrix. Reads W (and the mask) with `await data()`; the matrix' tensors are new and belong
 * to the caller, and W is not disposed. A long compression lets the event loop run about every 50 ms.
 *
 * ```ts
 * const matrix = await compress(W, {pattern: '8:32v32', dtype: 'float16'});
 * const y = nmSparseMatMul(x, matrix);
 * matrix.dispose();
 * ```
 *
 * @param W float32 [k, n], all values finite.
 * @returns the matrix; decompressed, it is W where a weight was kept (rounded to float16 if so stored) and 0 elsewhere.
 * @throws Error (as a rejection) if W, the pattern, the mask's shape or the dtype is wrong, or if the mask does not fit
 *     the pattern. {@link UnsupportedWeightsError} if W holds a NaN or an infinity, or a kept value too large for
 *     float16.
 */
export async function compress(
    W: Tensor2D, options: CompressOptions): Promise<NMSparseMatrix> {
  checkOptionNames('compress', options, ['pattern', 'mask', 'dtype', 'onProgress'], "{pattern: '2:4'}");
  const {pattern: patternLike, mask, dtype = 'float32', onProgress} = options;
  const pattern = parsePattern(patternLike);
  checkDtype('compress', dtype);
  checkCallback('compress', 'onProgress', onProgress);
  // Looked at before W is read, so that a wrong call costs nothing.
  if (mask !== undefined && W?.shape && !isMask(mask, W.shape)) {
    throw new Error(`compress: mask is ${describeValue(mask)}; give a bool, int32 or float32 tensor of W's shape, ` +
        `[${W.shape}], or leave it out to keep the largest weights.`);
  }
  const w = await readWeights('compress', W);
  const keep = mask && await readMask(mask);
  return compressBy(keepingRows(keep), w, [W.shape[0], W.shape[1]], {pattern, dtype, onProgress});
}

/**
 * {@link compress} with another choice of rows and values, on arguments that were checked.
 * @param w [k, n] row-major.
 */
export async function compressBy(
    choose: ChooseValues, w: Float32Array, shape: [number, number],
    {pattern, dtype, onProgress}: {pattern: NMPattern; dtype: StorageDtype; onProgress?: (fraction: number) => void},
): Promise<NMSparseMatrix> {
  const [k, n] = shape;

  function* work(): Work<{values: Float32Array | Int32Array; indices: Int32Array}> {
    yield* refuseNonFinite(w, shape);
    const {values, offsets} = yield* choose(w, shape, pattern);
    return {
      values: yield* encoding(values, offsets, shape, pattern, dtype),
      indices: yield* packingIndices(offsets, shape, pattern),
    };
  }

  const keptRows = keptRowCount(k, pattern);
  const total = 2 * k * n + keptRows * n + groupCount(n, pattern) * keptRows;
  const {values, indices} = await inTimeSlices(work(), total, onProgress);
  const shapes = partShapes(shape, pattern, dtype);
  return new NMSparseMatrix({
    values: tensor2d(values, shapes.values, STORAGE[dtype].tensorDtype),
    indices: tensor2d(indices, shapes.indices, 'int32'),
    pattern,
    shape,
    dtype,
  });
}

/**
 * {@link compress} on plain arrays and in one go.
 * @param w [k, n] row-major, all values finite.
 * @param mask [k, n] row-major, non-zero keeps.
 * @throws Error if the mask does not fit the pattern.
 */
export function compressValues(
    w: Float32Array, shape: [number, number], pattern: NMPattern, mask?: Uint8Array): CompressedValues {
  return inOneGo(keepingRows(mask)(w, shape, pattern));
}

/**
 * The dense matrix again, 0 where nothing was kept.
 * @param values [w, n] row-major.
 * @param keptRows [groups, w] row-major: the row of W that each kept row stands for, from `keptRowIndices`.
 * @param shape [k, n].
 * @returns [k, n] row-major.
 */
export function decompressValues(
    values: Float32Array, keptRows: Int32Array, [k, n]: [number, number], pattern: NMPattern): Float32Array {
  const w = new Float32Array(k * n);
  const {vectorLength} = pattern;
  const kept = keptRowCount(k, pattern);
  for (let j = 0; j < kept; ++j) {
    for (let group = 0, col = 0; col < n; ++group) {
      const row = keptRows[group * kept + j];
      for (const end = Math.min(col + vectorLength, n); col < end; ++col) {
        w[row * n + col] = values[j * n + col];
      }
    }
  }
  return w;
}

/** compress() keeps the rows that a mask keeps; without a mask, the rows of largest L2 norm. */
function keepingRows(mask?: Uint8Array): ChooseValues {
  return (w, shape, pattern) => keepBestRows(w, shape, pattern, mask ?
    block => scoreByMask(block, mask, shape[1], pattern) :
    block => scoreByEnergy(block, w, shape[1], pattern), mask);
}

/**
 * Keeps the N rows of largest score in every window and group, with their values; of equal scores the lowest row.
 * @param score fills the scores of a block.
 * @param mask [k, n] row-major; a row that is kept although the mask drops it is stored as zeros.
 */
export function* keepBestRows(
    w: Float32Array, [k, n]: [number, number], pattern: NMPattern, score: (block: Block) => void,
    mask?: Uint8Array): Work<CompressedValues> {
  const keptRows = keptRowCount(k, pattern);
  const groups = groupCount(n, pattern);
  const values = new Float32Array(keptRows * n);
  const offsets = new Uint8Array(groups * keptRows);
  const scores = new Float64Array(Math.max(BLOCK_SCORES, pattern.m));
  const blockGroups = Math.floor(scores.length / pattern.m);
  for (let topRow = 0, firstKept = 0; topRow < k; topRow += pattern.m, firstKept += pattern.n) {
    const rows = Math.min(pattern.m, k - topRow);
    for (let firstGroup = 0; firstGroup < groups; firstGroup += blockGroups) {
      const block = {topRow, rows, firstGroup, groups: Math.min(blockGroups, groups - firstGroup), scores};
      score(block);
      chooseRows(block, offsets, firstKept, keptRows, pattern);
      storeValues(block, offsets, firstKept, keptRows, w, mask, n, pattern, values);
      const endCol = Math.min((firstGroup + block.groups) * pattern.vectorLength, n);
      yield rows * (endCol - firstGroup * pattern.vectorLength);
    }
  }
  return {values, offsets};
}

/** Copies the chosen rows' values; 0 for a row that the mask drops and that was chosen to fill up. */
function storeValues(
    block: Block, offsets: Uint8Array, firstKept: number, keptRows: number, w: Float32Array,
    mask: Uint8Array | undefined, n: number, {n: perWindow, vectorLength}: NMPattern, values: Float32Array): void {
  const {topRow, rows, firstGroup, groups} = block;
  const keep = Math.min(perWindow, rows);
  for (let j = firstKept; j < firstKept + keep; ++j) {
    for (let group = firstGroup, col = firstGroup * vectorLength; group < firstGroup + groups; ++group) {
      const at = (topRow + offsets[group * keptRows + j]) * n;
      for (const end = Math.min(col + vectorLength, n); col < end; ++col) {
        values[j * n + col] = mask && mask[at + col] === 0 ? 0 : w[at + col];
      }
    }
  }
}

function* refuseNonFinite(w: Float32Array, [, n]: [number, number]): Work<void> {
  for (let start = 0; start < w.length; start += CHUNK) {
    const end = Math.min(start + CHUNK, w.length);
    for (let i = start; i < end; ++i) {
      if (!Number.isFinite(w[i])) {
        throw new UnsupportedWeightsError(
          `compress: W has ${w[i]} at [${Math.floor(i / n)}, ${i % n}]; every weight must be finite.`);
      }
    }
    yield end - start;
  }
}

/** Encodes the kept values as they are stored, some rows at a time. Refuses values that would become infinite. */
function* encoding(
    values: Float32Array, offsets: Uint8Array, [k, n]: [number, number], pattern: NMPattern,
    dtype: StorageDtype): Work<Float32Array | Int32Array> {
  const {tensorDtype, columns, encode, overflow, largest} = STORAGE[dtype];
  const keptRows = keptRowCount(k, pattern);
  const size = keptRows * columns(n);
  const stored = tensorDtype === 'float32' ? new Float32Array(size) : new Int32Array(size);
  const rowsPerChunk = Math.ceil(CHUNK / n);
  for (let start = 0; start < keptRows; start += rowsPerChunk) {
    const end = Math.min(start + rowsPerChunk, keptRows);
    for (let i = start * n; i < end * n; ++i) {
      if (Math.abs(values[i]) >= overflow) {
        const [j, col] = [Math.floor(i / n), i % n];
        const offset = offsets[Math.floor(col / pattern.vectorLength) * keptRows + j];
        const row = Math.floor(j / pattern.n) * pattern.m + offset;
        throw new UnsupportedWeightsError(`compress: dtype '${dtype}' holds magnitudes up to ${largest}, but W has ` +
            `${values[i]} at [${row}, ${col}]; use dtype 'float32'.`);
      }
    }
    stored.set(encode(values.subarray(start * n, end * n), end - start, n), start * columns(n));
    yield (end - start) * n;
  }
  return stored;
}

/** {@link packIndices}, some groups at a time. */
function* packingIndices(offsets: Uint8Array, [k, n]: [number, number], pattern: NMPattern): Work<Int32Array> {
  const keptRows = keptRowCount(k, pattern);
  const groups = groupCount(n, pattern);
  const wordsPerGroup = indexWordsPerGroup(keptRows, pattern);
  const words = new Int32Array(groups * wordsPerGroup);
  const groupsPerChunk = Math.ceil(CHUNK / keptRows);
  for (let start = 0; start < groups; start += groupsPerChunk) {
    const end = Math.min(start + groupsPerChunk, groups);
    const chunk = offsets.subarray(start * keptRows, end * keptRows);
    words.set(packIndices(chunk, end - start, keptRows, pattern), start * wordsPerGroup);
    yield chunk.length;
  }
  return words;
}
