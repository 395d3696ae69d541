/**
 * The sizes that follow from a `GemmConfig`, so that the program, the candidates, the cost model and the tests count
 * threads and workgroup memory in the same way.
 *
 * Blocking after NM-SpMM (arXiv 2503.01253) section III-A: workgroup tile → subgroup tile → register tile.
 */
import type {GemmConfig, GemmGeometry} from './config.js';
import {STRATEGIES} from './strategies.js';

/** A GPU subgroup as the thread layout assumes it; only speed depends on the guess. */
const SUBGROUP_SIZE = 32;
const SUBGROUP_ROWS = 8;

export function gemmGeometry(config: GemmConfig): GemmGeometry {
  const {strategy, tileRows, tileCols, threadRows, threadCols, block, xPad, buffers, slices, pattern} = config;
  const threadsX = tileCols / threadCols;
  const threadsY = tileRows / threadRows;
  const sliceThreads = threadsX * threadsY;
  const {vectorLength} = pattern;
  const {picksRows, stagesRowNumbers, staged, wLoadsPerThread, loadPassesAreWhole} = STRATEGIES[strategy];
  const groupsInTile = picksRows ? Math.max(1, tileCols / vectorLength) : 1;
  const {keptPerBlock, wRows, xRows} = staged(block, pattern, groupsInTile);
  const indexWords = stagesRowNumbers ? Math.ceil((groupsInTile * keptPerBlock) / sliceThreads) * sliceThreads : 0;
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
    span: picksRows ? Math.min(Math.max(vectorLength, threadCols), tileCols) : tileCols,
    keptPerBlock,
    wRows,
    xRows,
    indexWords,
    loadsPerThread: Math.ceil((xRows * tileRows) / 4 / sliceThreads) + wLoadsPerThread(config, sliceThreads),
    loadPassesAreWhole: loadPassesAreWhole(block, sliceThreads / (tileRows / 4)),
    workgroupBytes: slices * buffers * tileBytes + (slices > 1 ? 4 * tileRows * tileCols : 0),
  };
}

/** Number of K-tiles per slice of a split. Those past the last kept row add nothing. */
export function stepsPerSlice(config: GemmConfig, keptRows: number, splits: number): number {
  return Math.ceil(blockCount(config, keptRows) / (splits * config.slices));
}

/** Number of K-tiles that cover `keptRows` kept rows of W. */
export function blockCount(config: GemmConfig, keptRows: number): number {
  return Math.ceil(keptRows / gemmGeometry(config).keptPerBlock);
}

/** Rows of the transposed x: whole tiles. */
export function paddedRows({tileRows}: GemmConfig, rows: number): number {
  return Math.ceil(rows / tileRows) * tileRows;
}
