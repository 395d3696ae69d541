/**
 * A `GemmConfig` fully determines the text of a GEMM shader, so its JSON is the shader's cache key. What it does not
 * hold (rows, columns, k) are uniforms.
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
  /** Whether every load pass of x is whole, as the packed strategy requires. */
  loadPassesAreWhole: boolean;
  workgroupBytes: number;
}
