/**
 * A `GemmConfig` fully determines the text of a GEMM shader, so its JSON is the shader's cache key. What it does not
 * hold (rows, columns, k) are uniforms.
 */
import type {CompressedConfig} from '../wgsl/compressed.js';
import type {EpilogueConfig} from '../wgsl/epilogue.js';

/**
 * How the rows of x that a K-tile of W needs are staged in workgroup memory (paper, section III-B):
 * - packed: only the kept rows of each column group of the tile. The inner loop is dense.
 * - window: whole windows, once for all groups. The inner loop gathers rows by number.
 * - spread (zero-filled): whole windows, and W's kept rows are scattered into windows of zeros. For groups so narrow
 *   that each column of a thread would need its own row of x. An infinite x times a dropped weight is NaN, as in a
 *   dense product.
 * - dense: N = M. The same program as packed with one group, without indices.
 */
export type GemmStrategy = 'packed' | 'window' | 'spread' | 'dense';

/**
 * How x lies in memory. row-major: [rows, k], as tfjs has it. k-major: transposed to [k][padded rows] by a dispatch of
 * its own, so that every load is a vec4 along rows.
 */
export type XLayout = 'row-major' | 'k-major';

export interface GemmConfig extends CompressedConfig {
  strategy: GemmStrategy;
  xLayout: XLayout;
  /** Workgroup tile: rows × columns of y per workgroup. */
  tileRows: number;
  tileCols: number;
  /** Register tile: rows × columns of y per thread; multiples of 4. */
  threadRows: number;
  threadCols: number;
  /** K-tile depth. packed, dense: kept rows. window: windows. spread: rows of whole windows. */
  block: number;
  /**
   * Unroll factor of the inner loop, in rows of W; 1 means not unrolled. Divides the number of rows in a K-tile.
   */
  unroll: number;
  /**
   * One loop over K-tiles, with checks, in place of a fast one and one with checks: half of the code. It compiles in
   * half the time and runs 3 to 19 % slower (measured).
   */
  compact: boolean;
  /** vec4s of padding per row of x in workgroup memory, against bank conflicts. */
  xPad: 0 | 1;
  /**
   * Buffers in workgroup memory. With 2 (double buffering) the next K-tile is stored while this one is read, so one
   * barrier per K-tile is enough.
   */
  buffers: 1 | 2;
  /**
   * Intra-workgroup split-K: groups of threads that take alternate K-tiles, each with buffers and accumulators of its
   * own, which are added up at the end. It fills the GPU if there are few tiles, without split-K's second dispatch.
   */
  slices: 1 | 2 | 4;
  /** Whether it writes partial sums [splits, rows, n], without the epilogue, for a second dispatch. */
  partial: boolean;
  epilogue: EpilogueConfig;
}

/** Everything a configuration implies. */
export interface GemmGeometry {
  threads: number;
  /** Threads per slice. */
  sliceThreads: number;
  /** Threads along columns and rows of the tile, and the patch of them that a subgroup covers. */
  threadsX: number;
  threadsY: number;
  patchX: number;
  patchY: number;
  /** Column groups per tile (1 if a group is as wide as the tile or wider). */
  groupsInTile: number;
  /** Width in columns within which the vec4s of threads are interleaved: at most one column group. */
  span: number;
  /** Kept rows of W per K-tile, and rows of W in workgroup memory: with spread, zeros are among them. */
  keptPerBlock: number;
  wRows: number;
  /** Rows of x in workgroup memory. */
  xRows: number;
  /** Row numbers in workgroup memory: padded to a multiple of the threads, so that no load of them needs a guard. */
  indexWords: number;
  /** vec4s a thread prefetches per K-tile and holds in registers until the next. */
  loadsPerThread: number;
  /** Whether every load pass of x is whole, as the packed strategy requires. */
  loadPassesAreWhole: boolean;
  workgroupBytes: number;
}
