/**
 * Which program multiplies: chosen from shape, pattern and device limits alone, before any GPU work, so that the choice
 * can be tested and printed anywhere.
 *
 * Few rows: the GEMV, since reading W is the work. Otherwise the GEMM, with the largest tile that, its kept rows split
 * over workgroups if need be (split-k), still keeps the device busy; and with the strategy that brings fewer rows of x
 * to workgroup memory per kept row: packed brings one for each group of a tile, window M/N. That is the paper's packing
 * threshold (section III-B) without the union, since each group has its own copy.
 */
import type {StorageDtype} from '../../src/format/nm_sparse_matrix.js';
import {indexWordsPerGroup} from '../../src/format/pack.js';
import {keptRowCount, type NMPattern} from '../../src/format/pattern.js';
import type {CompressedConfig} from './compressed_wgsl.js';
import {NO_EPILOGUE, type EpilogueConfig} from './epilogue.js';
import {blockCount, gemmGeometry, MAX_DENSE_ROWS, type GemmConfig, type GemmStrategy} from './gemm_config.js';
import {gemvGeometry, type GemvConfig} from './nm_gemv_webgpu.js';

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
/** Threads that keep a large GPU busy: 512 for each of 128 cores. */
const ENOUGH_THREADS = 65536;
/** Splits of a GEMM; a step count below which a split spends its time starting and ending. */
const MAX_SPLITS = 8;
const MIN_STEPS_PER_SPLIT = 4;
/** A GEMV hides memory latency by workgroups alone, so it wants more of them, each with some rows to read. */
const ENOUGH_GEMV_WORKGROUPS = 1024;
const MAX_GEMV_SPLITS = 16;
const MIN_GEMV_ROWS_PER_SPLIT = 512;
/** Runs of 64 columns, 256 bytes: the best or nearly so for every W measured, however far apart its rows are. */
const GEMV_VEC_COLS = 16;

type Tile = Pick<GemmConfig, 'tileRows' | 'tileCols' | 'threadRows' | 'threadCols'>;

const tile = (tileRows: number, tileCols: number, threadRows: number, threadCols: number): Tile =>
  ({tileRows, tileCols, threadRows, threadCols});

/** Where large tiles would be too few; any strategy. */
const SMALL_TILES: readonly Tile[] = [tile(64, 64, 8, 8), tile(64, 32, 8, 4), tile(32, 32, 4, 4)];

/**
 * From large to small: more reuse to more workgroups. The first of each list was the best of 40 to 75 measured at
 * 4096³ (docs/benchmarks.md).
 */
const TILES: Record<GemmStrategy, readonly Tile[]> = {
  dense: [tile(64, 128, 8, 8), ...SMALL_TILES],
  packed: [tile(128, 64, 16, 4), ...SMALL_TILES],
  window: [tile(64, 128, 16, 4), tile(128, 64, 8, 8), ...SMALL_TILES],
  decompress: [tile(128, 64, 8, 8), ...SMALL_TILES],
};

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
  const vecCols = GEMV_VEC_COLS;
  const tiles = Math.ceil(n / gemvGeometry({vecCols}).tileCols);
  const wanted = Math.max(1, Math.min(
    MAX_GEMV_SPLITS, Math.ceil(ENOUGH_GEMV_WORKGROUPS / tiles), Math.floor(keptRows / MIN_GEMV_ROWS_PER_SPLIT)));
  const keptPerSplit = 4 * Math.ceil(keptRows / wanted / 4);
  const splits = Math.ceil(keptRows / keptPerSplit);
  const partial = splits > 1;
  return {
    kind: 'gemv',
    config: {...compressed(problem), rows: rowsAtOnce, vecCols, partial, epilogue: partial ? NO_EPILOGUE : epilogue},
    splits,
    keptPerSplit,
  };
}

function gemmPlan(problem: MatMulProblem, limits: ProgramLimits): Plan {
  const {rows, shape: [k, n], pattern, epilogue} = problem;
  const keptRows = keptRowCount(k, pattern);
  const plans = candidateConfigs(problem, limits).map(config => {
    const threads = Math.ceil(rows / config.tileRows) * Math.ceil(n / config.tileCols) * gemmGeometry(config).threads;
    const steps = blockCount(config, k, keptRows);
    const wanted = Math.max(1, Math.min(
      MAX_SPLITS, Math.ceil(ENOUGH_THREADS / threads), Math.floor(steps / MIN_STEPS_PER_SPLIT)));
    const stepsPerSplit = Math.ceil(steps / wanted);
    const splits = Math.ceil(steps / stepsPerSplit);
    return {config, splits, stepsPerSplit, threads: threads * splits};
  });
  // A tile twice as tall as x is half wasted.
  const fitting = plans.filter(({config}) => config.tileRows < 2 * rows);
  const busiest = (of: typeof plans) => of.reduce((best, plan) => plan.threads > best.threads ? plan : best);
  const {config, splits, stepsPerSplit} = fitting.find(({threads}) => threads >= ENOUGH_THREADS / 2) ??
      busiest(fitting.length > 0 ? fitting : plans);
  const partial = splits > 1;
  return {
    kind: 'gemm',
    config: {...config, partial, epilogue: partial ? NO_EPILOGUE : epilogue},
    splits,
    stepsPerSplit,
  };
}

/** The configurations within the device's limits, from large tiles to small ones: at least one. */
function candidateConfigs(problem: MatMulProblem, limits: ProgramLimits): GemmConfig[] {
  const of = (strategy: GemmStrategy) =>
    TILES[strategy].map(tile => configFor(problem, strategy, tile, limits)).filter(config => config !== undefined);
  const {n, m, vectorLength} = problem.pattern;
  if (n === m) {
    return of('dense');
  }
  if (vectorLength < 4) {
    return of('decompress');
  }
  // Rows of x a kept row costs: one for each group of the tile (of packed's largest), or M/N.
  const groups = Math.max(1, TILES.packed[0].tileCols / vectorLength);
  const [first, second] = groups <= m / n ? [of('packed'), of('window')] : [of('window'), of('packed')];
  return [first, second, of('decompress')].find(configs => configs.length > 0) as GemmConfig[];
}

/** A tile with a strategy: the largest step that fits, and the inner loop that measured best for it. */
function configFor(
    problem: MatMulProblem, strategy: GemmStrategy, tile: Tile, limits: ProgramLimits): GemmConfig | undefined {
  const {n, m, vectorLength} = problem.pattern;
  const windows = m <= MAX_DENSE_ROWS ? [Math.floor(MAX_DENSE_ROWS / m), 1] : [1];
  const oneGroup = strategy === 'dense' || vectorLength >= tile.tileCols;
  const blocks = {dense: [16, 8, 4], packed: oneGroup ? [16, 8, 4] : [8, 4], window: windows, decompress: windows};
  for (const block of blocks[strategy]) {
    // Long turns pay where the inner loop waits for an index or does nothing but multiply; packed has neither.
    const turn = strategy === 'window' ? block * n : strategy === 'decompress' ? denseRowsOf(block * m) : 1;
    const unroll = [8, 4, 2].find(count => turn % count === 0) ?? 1;
    const xPad = strategy === 'packed' && !oneGroup || strategy === 'window' && vectorLength < 8 ? 1 : 0;
    const config: GemmConfig = {
      ...compressed(problem), ...tile, strategy, block, unroll: xPad ? 1 : unroll, xPad, partial: false,
      epilogue: problem.epilogue,
    };
    if (fits(config, limits)) {
      return config;
    }
  }
  return undefined;
}

/** Rows of the dense tile that decompress makes: past the limit it works in chunks. */
function denseRowsOf(rows: number): number {
  return Math.min(rows, MAX_DENSE_ROWS);
}

function fits(config: GemmConfig, limits: ProgramLimits): boolean {
  const {threads, workgroupBytes} = gemmGeometry(config);
  return threads <= limits.maxComputeInvocationsPerWorkgroup && workgroupBytes <= limits.maxComputeWorkgroupStorageSize;
}

/** Words of packed offsets a group takes: a uniform of every program that reads indices. */
export function wordsPerGroup({shape: [k], pattern}: {shape: [number, number]; pattern: NMPattern}): number {
  return indexWordsPerGroup(keptRowCount(k, pattern), pattern);
}
