/**
 * Which program multiplies: chosen from shape, pattern and device limits alone, before any GPU work, so that the choice
 * can be tested and printed anywhere.
 *
 * Few rows: the GEMV, since reading W is the work. Otherwise the GEMM, with the largest tile that still gives the
 * device enough workgroups; where even small tiles are too few, kept rows are split over workgroups (split-k). In a
 * tile, the strategy that brings fewer rows of x to workgroup memory per kept row: packed brings one for each group of
 * the tile, window M/N. That is the paper's packing threshold (section III-B) without the union, since each group has
 * its own copy.
 */
import type {StorageDtype} from '../../src/format/nm_sparse_matrix.js';
import {indexWordsPerGroup} from '../../src/format/pack.js';
import {keptRowCount, type NMPattern} from '../../src/format/pattern.js';
import type {CompressedConfig} from './compressed_wgsl.js';
import {NO_EPILOGUE, type EpilogueConfig} from './epilogue.js';
import {blockCount, gemmGeometry, MAX_DENSE_ROWS, type GemmConfig, type GemmStrategy} from './gemm_config.js';
import {GEMV_TILE_COLS, GEMV_TURN_ROWS, type GemvConfig} from './nm_gemv_webgpu.js';

/** What of GPUSupportedLimits bounds the choice. */
export interface ProgramLimits {
  maxComputeWorkgroupStorageSize: number;
  maxComputeInvocationsPerWorkgroup: number;
}

/** What is multiplied. */
export interface MatMulProblem {
  rows: number;
  /** [k, n] */
  shape: [number, number];
  pattern: NMPattern;
  dtype: StorageDtype;
  epilogue: EpilogueConfig;
}

/** The programs of one product. With more than one split, a reduce pass with the epilogue follows. */
export type Plan =
  {kind: 'gemv'; config: GemvConfig; splits: number; keptPerSplit: number} |
  {kind: 'gemm'; config: GemmConfig; splits: number; stepsPerSplit: number};

/** Up to so many rows the GEMV reads W once for all of them. */
const MAX_GEMV_ROWS = 16;
/** Fewer workgroups than this leave a large GPU idle. */
const ENOUGH_WORKGROUPS = 128;
const MAX_SPLITS = 8;
/** A split shorter than this spends its time starting and ending. */
const MIN_STEPS_PER_SPLIT = 4;

type Tile = Pick<GemmConfig, 'tileRows' | 'tileCols' | 'threadRows' | 'threadCols'>;

/** From large to small: more reuse to more workgroups. */
const TILES: readonly Tile[] = [
  {tileRows: 128, tileCols: 64, threadRows: 8, threadCols: 8},
  {tileRows: 64, tileCols: 64, threadRows: 8, threadCols: 8},
  {tileRows: 64, tileCols: 64, threadRows: 8, threadCols: 4},
  {tileRows: 64, tileCols: 32, threadRows: 8, threadCols: 4},
  {tileRows: 32, tileCols: 32, threadRows: 4, threadCols: 4},
];

export function choosePlan(problem: MatMulProblem, limits: ProgramLimits): Plan {
  return problem.rows <= MAX_GEMV_ROWS ? gemvPlan(problem) : gemmPlan(problem, limits);
}

function compressed({shape: [, n], pattern, dtype}: MatMulProblem): CompressedConfig {
  return {pattern, dtype, alignedCols: n % 4 === 0};
}

function gemvPlan(problem: MatMulProblem): Plan {
  const {rows, shape: [k, n], pattern, epilogue} = problem;
  const keptRows = keptRowCount(k, pattern);
  const rowsAtOnce = ([1, 2, 4, 8, 16] as const).find(size => size >= rows) ?? 16;
  const tiles = Math.ceil(n / GEMV_TILE_COLS);
  const wanted = Math.max(1, Math.min(
    2 * MAX_SPLITS, Math.ceil((2 * ENOUGH_WORKGROUPS) / tiles), Math.floor(keptRows / GEMV_TURN_ROWS)));
  const keptPerSplit = 4 * Math.ceil(keptRows / wanted / 4);
  const splits = Math.ceil(keptRows / keptPerSplit);
  const partial = splits > 1;
  return {
    kind: 'gemv',
    config: {...compressed(problem), rows: rowsAtOnce, partial, epilogue: partial ? NO_EPILOGUE : epilogue},
    splits,
    keptPerSplit,
  };
}

function gemmPlan(problem: MatMulProblem, limits: ProgramLimits): Plan {
  const {rows, shape: [k, n], epilogue} = problem;
  const tilesOf = ({tileRows, tileCols}: Tile) => Math.ceil(rows / tileRows) * Math.ceil(n / tileCols);
  const candidates = TILES.map(tile => configFor(problem, tile, limits)).filter(config => config !== undefined);
  const large = candidates.find(config => tilesOf(config) >= ENOUGH_WORKGROUPS && config.tileRows < 2 * rows);
  const config = large ?? candidates[candidates.length - 1];
  const keptRows = keptRowCount(k, problem.pattern);
  const steps = blockCount(config, k, keptRows);
  const wanted = Math.max(1, Math.min(
    MAX_SPLITS, Math.ceil(ENOUGH_WORKGROUPS / tilesOf(config)), Math.floor(steps / MIN_STEPS_PER_SPLIT)));
  const stepsPerSplit = Math.ceil(steps / wanted);
  const splits = Math.ceil(steps / stepsPerSplit);
  const partial = splits > 1;
  return {
    kind: 'gemm',
    config: {...config, partial, epilogue: partial ? NO_EPILOGUE : epilogue},
    splits,
    stepsPerSplit,
  };
}

/** The best strategy for a tile, or nothing if the tile fits none within the device's limits. */
function configFor(problem: MatMulProblem, tile: Tile, limits: ProgramLimits): GemmConfig | undefined {
  const {n, m, vectorLength} = problem.pattern;
  const base = {...compressed(problem), ...tile, partial: false, epilogue: problem.epilogue};
  const first = (strategy: GemmStrategy, blocks: number[]): GemmConfig | undefined =>
    blocks.map(block => ({...base, strategy, block})).find(config => fits(config, limits));
  if (n === m) {
    return first('dense', [16, 8, 4]);
  }
  const windows = m <= MAX_DENSE_ROWS ? [Math.floor(MAX_DENSE_ROWS / m), 1] : [1];
  if (vectorLength < 4) {
    return first('decompress', windows);
  }
  const groups = Math.max(1, tile.tileCols / vectorLength);
  const packed = () => first('packed', [16, 8, 4]);
  const window = () => first('window', windows);
  return groups <= m / n ? packed() ?? window() ?? first('decompress', windows) :
      window() ?? packed() ?? first('decompress', windows);
}

function fits(config: GemmConfig, limits: ProgramLimits): boolean {
  const {threads, workgroupBytes} = gemmGeometry(config);
  return threads <= limits.maxComputeInvocationsPerWorkgroup && workgroupBytes <= limits.maxComputeWorkgroupStorageSize;
}

/** Words of packed offsets a group takes: a uniform of every program that reads indices. */
export function wordsPerGroup({shape: [k], pattern}: {shape: [number, number]; pattern: NMPattern}): number {
  return indexWordsPerGroup(keptRowCount(k, pattern), pattern);
}
