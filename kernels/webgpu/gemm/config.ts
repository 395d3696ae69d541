/**
 * A `GemmConfig` fully determines the text of a GEMM shader, so its JSON is the shader's cache key; what it does not
 * hold (rows, columns, k) are uniforms. This file also derives the sizes that follow from a configuration, so that the
 * program, the selection, the cost model and the tests count threads and workgroup memory in the same way.
 *
 * Blocking after NM-SpMM (arXiv 2503.01253) section III-A: workgroup tile → subgroup tile → thread tile.
 */
import type {CompressedConfig} from '../wgsl/compressed.js';
import type {EpilogueConfig} from '../wgsl/epilogue.js';

/**
 * How the rows of x that a block of W needs come to workgroup memory (paper, section III-B):
 * - packed: for each group of the tile only its kept rows; the inner loop is dense.
 * - window: whole windows, once for all groups; the inner loop picks rows by index.
 * - spread: whole windows, and W's kept rows are spread to them, zeros between: for groups so narrow that each column
 *   of a thread would need an x of its own. As in a dense product, an infinite x makes NaN of what was dropped.
 * - dense: N = M, nothing to pick: the same program as packed with one group, and no indices.
 */
export type GemmStrategy = 'packed' | 'window' | 'spread' | 'dense';

export interface GemmConfig extends CompressedConfig {
  strategy: GemmStrategy;
  /** Rows × columns of y a workgroup computes. */
  tileRows: number;
  tileCols: number;
  /** Rows × columns of y a thread computes; multiples of 4. */
  threadRows: number;
  threadCols: number;
  /** packed, dense: kept rows a step loads. window: whole windows. spread: rows of whole windows. */
  block: number;
  /** Rows of W the inner loop takes a turn, written out: 1 is a plain loop. Divides those of a step. */
  unroll: number;
  /** vec4s added to a row of x in workgroup memory, so that columns of it spread over the banks. */
  xPad: 0 | 1;
  /**
   * Copies of the tiles in workgroup memory. With 2 the next step is stored while this one is read, so one barrier a
   * step is enough.
   */
  buffers: 1 | 2;
  /**
   * Parts of a workgroup's threads that take turns at the steps, each with tiles and sums of its own, which meet at the
   * end: keeps cores busy where there are few tiles, without the second pass of split-k.
   */
  slices: 1 | 2 | 4;
  /** Writes partial sums [splits, rows, n] for a second pass, no epilogue. */
  partial: boolean;
  epilogue: EpilogueConfig;
}

/** A GPU subgroup as the thread layout assumes it; only speed depends on the guess. */
const SUBGROUP_SIZE = 32;
const SUBGROUP_ROWS = 8;

/** Everything a configuration implies. */
export interface GemmGeometry {
  threads: number;
  /** Of one slice. */
  sliceThreads: number;
  /** Threads along columns and rows of the tile, and the patch of them that a subgroup covers. */
  threadsX: number;
  threadsY: number;
  patchX: number;
  patchY: number;
  /** Groups of columns a tile touches (1 where a group is as wide as the tile or wider). */
  groupsInTile: number;
  /** Columns that share an index as far as a thread's vec4s reach: they are interleaved within it. */
  span: number;
  /** Kept rows of W in a step, and rows of W in workgroup memory: spread has zeros there too. */
  keptPerBlock: number;
  wRows: number;
  /** Rows of x in workgroup memory. */
  xRows: number;
  /** Indices in workgroup memory: rounded up to whole threads, so that no load of them needs a guard. */
  indexWords: number;
  /** vec4s a thread loads for a step, and holds in registers until the next. */
  loadsPerThread: number;
  /** Whether what threads load in a turn and a step's kept rows divide one another, as the loads of packed need. */
  turnsAreWhole: boolean;
  workgroupBytes: number;
}

export function gemmGeometry(config: GemmConfig): GemmGeometry {
  const {strategy, tileRows, tileCols, threadRows, threadCols, block, xPad, buffers, slices, pattern} = config;
  const threadsX = tileCols / threadCols;
  const threadsY = tileRows / threadRows;
  const sliceThreads = threadsX * threadsY;
  const {n, m, vectorLength} = pattern;
  // As far as x goes, spread is dense.
  const isPicked = strategy === 'packed' || strategy === 'window';
  const groupsInTile = isPicked ? Math.max(1, tileCols / vectorLength) : 1;
  const keptPerBlock = strategy === 'window' ? block * n : strategy === 'spread' ? (block / m) * n : block;
  const wRows = strategy === 'spread' ? block : keptPerBlock;
  const xRows = strategy === 'packed' ? groupsInTile * block : strategy === 'window' ? block * m : block;
  const indexWords = strategy === 'window' ? Math.ceil((groupsInTile * keptPerBlock) / sliceThreads) * sliceThreads : 0;
  const xRowsATurn = sliceThreads / (tileRows / 4);
  const tileBytes = 4 * (xRows * (tileRows + 4 * xPad) + wRows * tileCols + indexWords);
  const patchY = Math.min(SUBGROUP_ROWS, threadsY);
  return {
    threads: sliceThreads * slices,
    sliceThreads,
    threadsX,
    threadsY,
    patchX: Math.min(SUBGROUP_SIZE / patchY, threadsX),
    patchY,
    groupsInTile,
    span: isPicked ? Math.min(Math.max(vectorLength, threadCols), tileCols) : tileCols,
    keptPerBlock,
    wRows,
    xRows,
    indexWords,
    loadsPerThread: Math.ceil((xRows * tileRows) / 4 / sliceThreads) +
      (strategy === 'spread' ? 1 + n * Math.ceil(((block / m) * tileCols) / 4 / sliceThreads) :
        Math.ceil((keptPerBlock * tileCols) / 4 / sliceThreads)),
    turnsAreWhole: strategy !== 'packed' || block % xRowsATurn === 0 || xRowsATurn % block === 0,
    workgroupBytes: slices * buffers * tileBytes + (slices > 1 ? 4 * tileRows * tileCols : 0),
  };
}

/** Steps that each slice of a split takes; past the last kept row they add nothing. */
export function stepsPerSlice(config: GemmConfig, keptRows: number, splits: number): number {
  return Math.ceil(blockCount(config, keptRows) / (splits * config.slices));
}

/** How many steps cover `keptRows` kept rows of W. */
export function blockCount(config: GemmConfig, keptRows: number): number {
  return Math.ceil(keptRows / gemmGeometry(config).keptPerBlock);
}

/** Rows of the transposed x: whole tiles. */
export function paddedRows({tileRows}: GemmConfig, rows: number): number {
  return Math.ceil(rows / tileRows) * tileRows;
}
