/**
 * How the rows of x that a K-tile of W needs are staged in workgroup memory (paper, section III-B). One object per
 * strategy says all that distinguishes it: which patterns it takes, which tiles are worth trying, what is staged and
 * how it is loaded, how the inner loop finds a row of x, and what that costs. To add a strategy, add an object here.
 */
import type {NMPattern} from '../../../src/format/pattern.js';
import type {GemmConfig} from './config.js';
import {contiguousX, keptW, keptX, rowNumbers, zeroFilledW, type MakeLoads} from './loads.js';

export type Tile = [tileRows: number, tileCols: number, threadRows: number, threadCols: number];
/** The K-tile depth (`block`) and the number of buffers. */
export type KTile = Pick<GemmConfig, 'block' | 'buffers'>;

export interface Strategy {
  /** Whether it can multiply weights of this pattern. */
  supports(pattern: NMPattern): boolean;
  /** Whether a configuration is worth a program. */
  accepts(config: GemmConfig): boolean;
  /** Tiles worth trying: the fastest at 4096³ first (docs/benchmarks.md), then smaller ones for smaller products. */
  tiles: readonly Tile[];
  /** K-tiles worth trying with a tile. A second buffer saves one barrier per K-tile, and takes workgroup memory. */
  kTiles(tile: Tile, pattern: NMPattern): KTile[];
  /** Whether the columns of a tile pick rows of x by group, so that a vec4 must not span several groups. */
  picksRows: boolean;
  /** Whether the program reads the packed offsets. */
  readsIndices: boolean;
  /** Whether the row of x that a kept row meets is staged, for the inner loop to look up. */
  stagesRowNumbers: boolean;
  /** Whether each column group of the tile has a copy of x of its own. */
  copiesX: boolean;
  /** Kept rows of W in a K-tile, rows of W and rows of x in workgroup memory. */
  staged(block: number, pattern: NMPattern, groupsInTile: number):
    {keptPerBlock: number; wRows: number; xRows: number};
  /** vec4s of W that a thread loads per K-tile. */
  wLoadsPerThread(config: GemmConfig, threads: number): number;
  /** Whether the load passes of x fit a K-tile. */
  loadPassesAreWhole(block: number, xRowsPerPass: number): boolean;
  /** K-tiles, of all rows, that need no check for the last row. */
  wholeKTiles(size: {depth: number; keptRows: number}, block: number, keptPerBlock: number): number;
  loads: readonly MakeLoads[];
  /** WGSL: the row of x in workgroup memory for kept row kk + u and the group of column chunk c. */
  xRow(group: string, c: number, u: number): string;
  /** For the cost model: row numbers looked up per kept row, and vec4s stored per K-tile beyond those loaded. */
  picksPerRow(config: GemmConfig): number;
  extraStores(config: GemmConfig, threads: number): number;
}

/** Tiles of the strategies in which all columns share one x. */
const SHARED_X_TILES: readonly Tile[] = [
  [128, 128, 16, 8], [128, 64, 8, 8], [64, 64, 8, 8], [64, 32, 8, 4], [32, 128, 8, 8], [32, 64, 8, 4],
  [32, 32, 4, 4], [16, 128, 8, 8], [16, 64, 8, 4], [16, 32, 4, 4],
];

const isSparse = ({n, m}: NMPattern) => n !== m;
const keptLoads = (keptPerBlock: number, tileCols: number, threads: number) =>
  Math.ceil((keptPerBlock * tileCols) / 4 / threads);

/** All columns share one x, and W is staged as it is stored: what `packed`, `window` and `spread` start from. */
const DENSE: Strategy = {
  supports: () => true,
  accepts: () => true,
  tiles: SHARED_X_TILES,
  kTiles: ([, , threadRows, threadCols]) => threadRows * threadCols > 64 ?
    [{block: 8, buffers: 2}, {block: 8, buffers: 1}] : [{block: 16, buffers: 1}, {block: 8, buffers: 1}],
  picksRows: false,
  readsIndices: false,
  stagesRowNumbers: false,
  copiesX: false,
  staged: block => ({keptPerBlock: block, wRows: block, xRows: block}),
  wLoadsPerThread: ({block, tileCols}, threads) => keptLoads(block, tileCols, threads),
  loadPassesAreWhole: () => true,
  wholeKTiles: ({keptRows}, _block, keptPerBlock) => keptRows / keptPerBlock,
  loads: [contiguousX, keptW],
  xRow: (_group, _c, u) => `xTile[slice][buffer][0][kk + ${u}u]`,
  picksPerRow: () => 0,
  extraStores: () => 0,
};

/** Packing: for each column group of the tile only its kept rows of x are staged; the inner loop is dense. */
const PACKED: Strategy = {
  ...DENSE,
  supports: pattern => isSparse(pattern) && pattern.vectorLength >= 4,
  // A thread whose columns lie in several groups would need a row of x for each.
  accepts: ({pattern, threadCols}) => pattern.vectorLength >= threadCols,
  tiles: [
    [256, 32, 16, 8], [128, 32, 16, 8], [128, 64, 16, 8], [128, 128, 16, 8], [128, 32, 8, 8], [64, 64, 8, 8],
    [64, 32, 8, 8], [64, 32, 8, 4], [32, 64, 8, 4], [32, 32, 4, 4], [16, 64, 8, 4], [16, 32, 4, 4],
  ],
  kTiles: () => [{block: 16, buffers: 1}, {block: 8, buffers: 1}],
  picksRows: true,
  readsIndices: true,
  copiesX: true,
  staged: (block, _pattern, groupsInTile) => ({keptPerBlock: block, wRows: block, xRows: groupsInTile * block}),
  loadPassesAreWhole: (block, xRowsPerPass) => block % xRowsPerPass === 0 || xRowsPerPass % block === 0,
  loads: [keptX, keptW],
  xRow: (group, _c, u) => `xTile[slice][buffer][${group}][kk + ${u}u]`,
};

/** Non-packing: whole windows of x are staged once for all column groups; the inner loop gathers rows by number. */
const WINDOW: Strategy = {
  ...DENSE,
  supports: PACKED.supports,
  tiles: [[64, 256, 16, 8], [128, 128, 16, 8], [64, 128, 8, 8], [32, 64, 4, 8], [32, 32, 4, 4]],
  // Whole windows: about 32 rows of x, and at least 4 kept rows.
  kTiles: (_tile, {n, m}) => [
    {block: Math.max(1, Math.floor(32 / m), Math.min(Math.ceil(4 / n), Math.floor(64 / m))), buffers: 1},
  ],
  picksRows: true,
  readsIndices: true,
  stagesRowNumbers: true,
  staged: (block, {n, m}) => ({keptPerBlock: block * n, wRows: block * n, xRows: block * m}),
  wLoadsPerThread: ({block, tileCols, pattern}, threads) => keptLoads(block * pattern.n, tileCols, threads),
  loads: [contiguousX, keptW, rowNumbers],
  xRow: (_group, c, u) => `xTile[slice][buffer][0][row${c}_${u}]`,
  picksPerRow: ({threadCols, pattern}) => Math.max(1, threadCols / pattern.vectorLength),
};

/**
 * Zero-filled windows: whole windows of x are staged, and W's kept rows are scattered into windows of zeros. For groups
 * so narrow that each column of a thread would need a row of x of its own. As in a dense product, an infinite x makes
 * NaN of a dropped weight.
 */
const SPREAD: Strategy = {
  ...DENSE,
  // The offsets of a K-tile lie in one word, if a window's do.
  supports: ({n, m, vectorLength}) => n !== m && vectorLength < 4 && m <= 16 && [1, 2, 4].includes(n),
  // With a second buffer, K-tiles of 16 rows leave a large tile no registers: up to 1.9 times slower.
  kTiles: ([, , threadRows, threadCols], {m}) => ([
    {block: 16, buffers: 1}, {block: 8, buffers: threadRows * threadCols > 64 ? 2 : 1},
  ] as const).filter(({block}) => block % m === 0),
  readsIndices: true,
  staged: (block, {n, m}) => ({keptPerBlock: (block / m) * n, wRows: block, xRows: block}),
  wLoadsPerThread: ({block, tileCols, pattern: {n, m}}, threads) =>
    1 + n * Math.ceil(((block / m) * tileCols) / 4 / threads),
  // x is read to the end of a window.
  wholeKTiles: ({depth}, block) => depth / block,
  loads: [contiguousX, zeroFilledW],
  extraStores: ({block, tileCols, pattern: {n, m, vectorLength}}, threads) =>
    ((block - (block / m) * n) * tileCols) / 4 / threads + 4 / vectorLength,
};

/** In the order in which they are offered. */
export const STRATEGIES = {packed: PACKED, window: WINDOW, spread: SPREAD, dense: DENSE} as const satisfies
  Record<string, Strategy>;
