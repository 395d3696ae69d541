/**
 * A `GemvConfig` fully determines the text of a GEMV shader, so its JSON is the shader's cache key. What it does not
 * hold (rows, columns, k) are uniforms. This file also derives the sizes that follow from a configuration, for the
 * program, the candidates, the cost model and the tests.
 */
import type {CompressedConfig} from '../wgsl/compressed.js';
import type {EpilogueConfig} from '../wgsl/epilogue.js';

export interface GemvConfig extends CompressedConfig {
  /** Rows of y a workgroup computes; rows beyond the last are computed again and not stored. */
  rows: 1 | 2 | 4 | 8 | 16;
  /** vec4 columns a workgroup computes: how long the runs are that it reads of W's rows. */
  vecCols: 4 | 8 | 16 | 32;
  /** Kept rows a slice takes in one turn. */
  turn: 4 | 8;
  threads: 256 | 512 | 1024;
  /** Writes partial sums [splits, rows, n] for a second pass, no epilogue. */
  partial: boolean;
  epilogue: EpilogueConfig;
}

/** Splits start at multiples of this: the offsets of a turn then lie in whole words, or in one. */
const SPLIT_ROWS = 8;
/** vec4s of sums in workgroup memory at once: the default limit of 16 KB. */
const MAX_SUMS = 1024;

/** Sums that the thread which stores one adds up: a level of the tree would be another barrier. */
const MAX_LAST_SUMS = 8;

/** Rows of a window for each kept one, up to which multiplying by zeros is cheaper than four gathers of x. */
const MAX_SPREAD = 4;

/** What a configuration implies. */
export function gemvGeometry({vecCols, turn, rows, threads, pattern: {n, m, vectorLength}}: GemvConfig) {
  const slices = threads / vecCols;
  const levels: number[] = [];
  let left = slices;
  while (left > MAX_LAST_SUMS) {
    left /= 4;
    levels.push(left);
  }
  return {
    slices,
    /** Slices left after each level of the tree, where four meet, and those that meet where they are stored. */
    levels,
    lastSlices: left,
    /** Columns of y a workgroup computes. */
    tileCols: 4 * vecCols,
    /** Kept rows all slices of a workgroup cover in one turn. */
    turnRows: slices * turn,
    /** Whether x comes transposed, [k][rows rounded up to `rows`]. */
    kMajor: rows >= 4,
    /** Whether a window's weights are spread to its rows, zeros between them, and all of its x read. */
    spread: rows >= 4 && n !== m && vectorLength < 4 && turn % n === 0 && m <= MAX_SPREAD * n,
    /** Rows whose sums meet in workgroup memory at once. */
    rowsAtOnce: Math.min(rows, MAX_SUMS / threads),
  };
}

/** Kept rows of each split: whole turns, so that the offsets of a turn begin and end within words. */
export function keptPerSplit(keptRows: number, splits: number): number {
  return SPLIT_ROWS * Math.ceil(keptRows / splits / SPLIT_ROWS);
}
