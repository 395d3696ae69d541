/**
 * A `GemmConfig` fully determines the text of a GEMM shader, so its JSON is the shader's cache key; what it does not
 * hold (rows, columns, k) are uniforms. This file also derives the sizes that follow from a configuration, so that the
 * program, the selection and the tests count threads and workgroup memory in the same way.
 *
 * Blocking after NM-SpMM (arXiv 2503.01253) section III-A: workgroup tile → subgroup tile → thread tile.
 */
import type {CompressedConfig} from './compressed_wgsl.js';
import type {EpilogueConfig} from './epilogue.js';

/**
 * How the rows of x that a block of W needs come to workgroup memory (paper, section III-B):
 * - packed: for each group of the tile only its kept rows; the inner loop is dense.
 * - window: whole windows, once for all groups; the inner loop picks rows by index.
 * - decompress: whole windows, and W scattered to a dense tile beside them; for groups narrower than a vec4.
 * - dense: N = M, nothing to pick: the same program as packed with one group, and no indices.
 */
export type GemmStrategy = 'packed' | 'window' | 'decompress' | 'dense';

export interface GemmConfig extends CompressedConfig {
  strategy: GemmStrategy;
  /** Rows × columns of y a workgroup computes. */
  tileRows: number;
  tileCols: number;
  /** Rows × columns of y a thread computes; multiples of 4. */
  threadRows: number;
  threadCols: number;
  /** packed, dense: kept rows a step loads. window, decompress: whole windows (decompress cuts long ones instead). */
  block: number;
  /** Kept rows the inner loop takes a turn, written out: 1 is a plain loop. Divides the kept rows of a step. */
  unroll: number;
  /** vec4s added to a row of x in workgroup memory, so that columns of it spread over the banks. */
  xPad: 0 | 1;
  /** Writes partial sums [splits, rows, n] for a second pass, no epilogue. */
  partial: boolean;
  epilogue: EpilogueConfig;
}

/** The decompress strategy cuts windows longer than this into chunks of it. */
export const MAX_DENSE_ROWS = 32;

/** A GPU subgroup as the thread layout assumes it; only speed depends on the guess. */
const SUBGROUP_COLS = 4;
const SUBGROUP_ROWS = 8;

/** Everything a configuration implies. */
export interface GemmGeometry {
  threads: number;
  /** Threads along columns and rows of the tile, and the patch of them that a subgroup covers. */
  threadsX: number;
  threadsY: number;
  patchX: number;
  patchY: number;
  /** Groups of columns a tile touches (1 where a group is as wide as the tile or wider). */
  groupsInTile: number;
  /** Kept rows of W in a step. */
  keptPerBlock: number;
  /** Rows of x in workgroup memory. */
  xRows: number;
  /** Rows of the weight tile in workgroup memory. */
  wRows: number;
  /** Steps a window is cut into: more than 1 only for decompress with long windows. */
  chunksPerWindow: number;
  /** Devices count each variable in whole 16 bytes. */
  workgroupBytes: number;
}

export function gemmGeometry(config: GemmConfig): GemmGeometry {
  const {strategy, tileRows, tileCols, threadRows, threadCols, block, xPad, pattern} = config;
  const threadsX = tileCols / threadCols;
  const threadsY = tileRows / threadRows;
  const groupsInTile = strategy === 'dense' ? 1 : Math.max(1, tileCols / pattern.vectorLength);
  const gathers = strategy === 'packed' || strategy === 'dense';
  const chunksPerWindow = strategy === 'decompress' ? Math.ceil(pattern.m / MAX_DENSE_ROWS) : 1;
  const denseRows = chunksPerWindow > 1 ? MAX_DENSE_ROWS : block * pattern.m;
  const keptPerBlock = gathers ? block : block * pattern.n;
  const xRows = strategy === 'dense' ? block : strategy === 'packed' ? groupsInTile * block : denseRows;
  const wRows = strategy === 'decompress' ? denseRows : keptPerBlock;
  const indexWords = strategy === 'window' ? groupsInTile * keptPerBlock : 0;
  return {
    threads: threadsX * threadsY,
    threadsX,
    threadsY,
    patchX: Math.min(SUBGROUP_COLS, threadsX),
    patchY: Math.min(SUBGROUP_ROWS, threadsY),
    groupsInTile,
    keptPerBlock,
    xRows,
    wRows,
    chunksPerWindow,
    workgroupBytes: 4 * (xRows * (tileRows + 4 * xPad) + wRows * tileCols + 4 * Math.ceil(indexWords / 4)),
  };
}

/** How many steps cover k rows of W, `keptRows` of them kept. */
export function blockCount(config: GemmConfig, k: number, keptRows: number): number {
  const {keptPerBlock, chunksPerWindow} = gemmGeometry(config);
  return chunksPerWindow > 1 ? Math.ceil(k / config.pattern.m) * chunksPerWindow : Math.ceil(keptRows / keptPerBlock);
}
