/**
 * Which programs can multiply: the plans worth considering for a shape and pattern on a device, before any GPU work, so
 * that they can be tested and printed anywhere. Which of them is best is for src/tuning to say, by its model or by
 * measurement.
 *
 * Few rows: the GEMV, since reading W is the work. Otherwise the GEMM, its kept rows split over workgroups if need be
 * (split-k). Packed brings one row of x to workgroup memory for each kept row and group of a tile, window M/N rows for
 * each kept row: that is the paper's packing (section III-B) without the union, since each group has its own copy.
 * Groups narrower than a vec4 have no load of x of their own; where their windows are short, W's kept rows are spread
 * to whole windows on the way to workgroup memory. And any W can be expanded to dense by a pass of its own, and
 * multiplied so: the pass moves a few bytes for each element of W, the product computes 2·rows. That is the way where
 * sparse would lose, and of narrow groups with long windows.
 */
import type {StorageDtype} from '../../src/format/nm_sparse_matrix.js';
import {indexWordsPerGroup} from '../../src/format/pack.js';
import {keptRowCount, type NMPattern} from '../../src/format/pattern.js';
import {isDense, type CompressedConfig} from './wgsl/compressed.js';
import {NO_EPILOGUE, type EpilogueConfig} from './wgsl/epilogue.js';
import {
  blockCount, gemmGeometry, paddedRows, stepsPerSlice, type GemmConfig, type GemmStrategy,
} from './gemm/config.js';
import {gemvGeometry, keptPerSplit, type GemvConfig} from './gemv/nm_gemv_webgpu.js';
import {largestTensor, type BufferLimits} from './run_passes.js';

/** What of GPUSupportedLimits bounds the choice. */
export interface ProgramLimits extends BufferLimits {
  maxComputeWorkgroupStorageSize: number;
  maxComputeInvocationsPerWorkgroup: number;
  maxComputeWorkgroupSizeX: number;
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

/**
 * The programs of one product. With more than one split, a reduce pass with the epilogue follows. `expand`: W is
 * brought to dense float32 [k, n] first, which `config` then multiplies.
 */
export type Plan =
  {kind: 'gemv'; config: GemvConfig; splits: number} |
  {kind: 'gemm'; config: GemmConfig; splits: number; expand: boolean};

/** The pattern of every dense configuration, so that all share their shaders. */
const DENSE_PATTERN: NMPattern = {n: 1, m: 1, vectorLength: 1};

/** From one row on a GEMV is worth trying, up to the rows that it takes W four times for; a GEMM from some on. */
const MAX_GEMV_ROWS = 64;
const MIN_GEMM_ROWS = 9;
/** Threads that keep any GPU busy: kept rows are split over workgroups up to there. */
const ENOUGH_THREADS = 2 ** 18;
const GEMM_SPLITS = [1, 2, 3, 4, 6, 8, 16];
/** In place of splits: both at once were never within a twentieth of the best plan, nor were eight slices. */
const GEMM_SLICES = [1, 2, 4] as const;
/** Threads of a workgroup that slices may fill up to. */
const MAX_SLICED_THREADS = 256;
/** Multiply-adds of a thread in a step, beyond which slices measured up to four times slower: no registers are left. */
const MAX_SLICED_STEP = 512;
/** vec4s of the next step that a thread has registers for: with 12 kernels were up to twice as slow. */
const MAX_LOADS = 11;
const GEMV_SPLITS = [1, 2, 4, 8, 16];
/** Rows up to which workgroups of 4 vec4 columns are offered: they have the most slices, and each reads its own x. */
const MAX_ROWS_OF_SHORT_RUNS = 8;
/** Rows up to which the GEMV reads x in place (gemvGeometry). */
const MAX_ROWS_IN_PLACE = 2;
/** Rows up to which workgroups of more threads than 256 have registers for their sums. */
const MAX_ROWS_OF_MANY_THREADS = 2;
/** Steps or turns below which a split spends its time starting and ending. */
const MIN_STEPS_PER_SPLIT = 4;
const MIN_TURNS_PER_SPLIT = 2;
/** Multiply-adds a thread has written out in the loop of its steps: more no longer pays, and compiles ever longer. */
const MAX_UNROLLED = 2048;

type Tile = [tileRows: number, tileCols: number, threadRows: number, threadCols: number];

/** Tiles of what is dense in workgroup memory. */
const DENSE_TILES: Tile[] = [
  [128, 128, 16, 8], [128, 64, 8, 8], [64, 64, 8, 8], [64, 32, 8, 4], [32, 128, 8, 8], [32, 64, 8, 4],
  [32, 32, 4, 4], [16, 128, 8, 8], [16, 64, 8, 4], [16, 32, 4, 4],
];
/** Tiles worth trying, the best at 4096³ first (docs/benchmarks.md), then smaller ones for less work than that. */
const TILES: Record<GemmStrategy, Tile[]> = {
  dense: DENSE_TILES,
  spread: DENSE_TILES,
  packed: [
    [256, 32, 16, 8], [128, 32, 16, 8], [128, 64, 16, 8], [128, 128, 16, 8], [128, 32, 8, 8], [64, 64, 8, 8],
    [64, 32, 8, 8], [64, 32, 8, 4], [32, 64, 8, 4], [32, 32, 4, 4], [16, 64, 8, 4], [16, 32, 4, 4],
  ],
  window: [[64, 256, 16, 8], [128, 128, 16, 8], [64, 128, 8, 8], [32, 64, 4, 8], [32, 32, 4, 4]],
};

/**
 * Steps worth trying with a tile. A second buffer saves a barrier where that leaves workgroup memory for several
 * workgroups.
 */
function steps(strategy: GemmStrategy, [, , threadRows, threadCols]: Tile, {n, m}: NMPattern):
    Pick<GemmConfig, 'block' | 'buffers'>[] {
  switch (strategy) {
    case 'dense': return threadRows * threadCols > 64 ? [{block: 8, buffers: 2}, {block: 8, buffers: 1}] :
      [{block: 16, buffers: 1}, {block: 8, buffers: 1}];
    // With a second buffer, blocks of 16 rows leave a large tile no registers: up to 1.9 times slower.
    case 'spread': return ([
      {block: 16, buffers: 1}, {block: 8, buffers: threadRows * threadCols > 64 ? 2 : 1},
    ] as const).filter(({block}) => block % m === 0);
    case 'packed': return [{block: 16, buffers: 1}, {block: 8, buffers: 1}];
    // Whole windows: about 32 rows of x, and at least 4 kept rows.
    default: return [
      {block: Math.max(1, Math.floor(32 / m), Math.min(Math.ceil(4 / n), Math.floor(64 / m))), buffers: 1},
    ];
  }
}

/**
 * Every plan worth considering, within the device's limits; never none. Of two that seem alike the first is the one
 * that measured better on large products.
 */
export function candidatePlans(problem: MatMulProblem, limits: ProgramLimits): Plan[] {
  const isBindable = (plan: Plan) => largestBinding(plan, problem) <= largestTensor(limits);
  const gemms = gemmPlans(problem, limits).filter(isBindable);
  if (gemms.length > 0 && problem.rows > MAX_GEMV_ROWS) {
    return gemms;
  }
  const plans = [...gemms, ...gemvPlans(problem, limits, gemvRows(problem)).filter(isBindable)];
  // The last resort is slow but needs no buffer beside the product's own tensors: x is read as it lies.
  return plans.length > 0 ? plans : gemvPlans(problem, limits, MAX_ROWS_IN_PLACE).filter(({splits}) => splits === 1);
}

/** Bytes of the largest buffer that a plan binds beside the inputs. */
export function largestBinding(plan: Plan, {rows, shape: [k, n]}: MatMulProblem): number {
  const partial = plan.splits > 1 ? plan.splits * rows * n : 0;
  const {kMajor, stride} = transposedX(plan, rows);
  return 4 * Math.max(partial, kMajor ? stride * k : 0, plan.kind === 'gemm' && plan.expand ? k * n : 0);
}

/** Whether a plan takes x transposed, and the rows it is padded to. */
export function transposedX(plan: Plan, rows: number): {kMajor: boolean; stride: number} {
  if (plan.kind === 'gemm') {
    return {kMajor: true, stride: paddedRows(plan.config, rows)};
  }
  return {kMajor: gemvGeometry(plan.config).kMajor, stride: Math.ceil(rows / plan.config.rows) * plan.config.rows};
}

function compressed({shape: [, n], pattern, dtype}: MatMulProblem): CompressedConfig {
  return {pattern: isDense({pattern}) ? DENSE_PATTERN : pattern, dtype, alignedCols: n % 4 === 0};
}

/** Columns and threads of a workgroup. More threads than 256, where the device has them, save splits and their pass. */
const GEMV_SHAPES: [GemvConfig['vecCols'], GemvConfig['threads']][] =
    [[16, 256], [8, 256], [32, 256], [4, 256], [8, 1024], [16, 1024], [8, 512], [4, 512]];

/** Rows of y that a workgroup of the GEMV computes: all of them, if it can. */
function gemvRows({rows}: MatMulProblem): GemvConfig['rows'] {
  return ([1, 2, 4, 8, 16] as const).find(size => size >= rows) ?? 16;
}

function gemvPlans(problem: MatMulProblem, limits: ProgramLimits, rowsAtOnce: GemvConfig['rows']): Plan[] {
  const {rows, shape: [k, n], pattern, epilogue} = problem;
  const keptRows = keptRowCount(k, pattern);
  const most = rowsAtOnce <= MAX_ROWS_OF_MANY_THREADS ? Math.max(256, mostThreads(limits)) : 256;
  const plans: Plan[] = [];
  for (const [vecCols, threads] of GEMV_SHAPES) {
    if (threads > most || (vecCols === 4 && rowsAtOnce > MAX_ROWS_OF_SHORT_RUNS)) {
      continue;
    }
    for (const turn of rowsAtOnce <= 2 ? [8, 4] as const : [4] as const) {
      const config: GemvConfig =
          {...compressed(problem), rows: rowsAtOnce, vecCols, turn, threads, partial: false, epilogue};
      const {tileCols, turnRows} = gemvGeometry(config);
      const inAll = Math.ceil(n / tileCols) * Math.ceil(rows / rowsAtOnce) * threads;
      for (const wanted of GEMV_SPLITS) {
        const splits = Math.ceil(keptRows / keptPerSplit(keptRows, wanted));
        if (splits !== wanted ||
            (splits > 1 && (threads > 256 || inAll * splits > ENOUGH_THREADS * 2 ||
              keptPerSplit(keptRows, splits) < MIN_TURNS_PER_SPLIT * turnRows))) {
          continue;
        }
        const partial = splits > 1;
        plans.push({kind: 'gemv', config: {...config, partial, epilogue: partial ? NO_EPILOGUE : epilogue}, splits});
      }
    }
  }
  return plans;
}

function gemmPlans(problem: MatMulProblem, limits: ProgramLimits): Plan[] {
  const {rows, shape: [k, n], pattern, epilogue} = problem;
  if (rows < MIN_GEMM_ROWS) {
    return [];
  }
  return strategiesFor(pattern).flatMap(strategy => TILES[strategy]
      // A tile twice as tall as x is half wasted.
      .filter(([tileRows]) => tileRows < 2 * Math.max(rows, 17) && (tileRows >= 32 || rows <= 2 * tileRows))
      .flatMap(tile => steps(strategy, tile, pattern).flatMap(step =>
        GEMM_SLICES.map(slices => gemmConfig(problem, strategy, tile, {...step, slices}))))
      .filter(config => fits(config, limits))
      .flatMap(config => {
        const expand = strategy === 'dense' && !isDense({pattern});
        const keptRows = expand ? k : keptRowCount(k, pattern);
        const steps = blockCount(config, keptRows);
        const threads = Math.ceil(rows / config.tileRows) * Math.ceil(n / config.tileCols) *
            gemmGeometry(config).threads;
        const {slices} = config;
        return GEMM_SPLITS
            .filter(splits => splits * slices === 1 || (Math.min(splits, slices) === 1 &&
              threads * splits <= ENOUGH_THREADS && steps >= MIN_STEPS_PER_SPLIT * splits * slices))
            .map((wanted): Plan => {
              // As few as take all steps, so that none of them is empty.
              const splits = Math.ceil(steps / (slices * stepsPerSlice(config, keptRows, wanted)));
              const partial = splits > 1;
              return {
                kind: 'gemm', splits, expand, config: {...config, partial, epilogue: partial ? NO_EPILOGUE : epilogue},
              };
            });
      }));
}

/** A group of columns narrower than a vec4 has no load of its own in packed and window. */
function strategiesFor({n, m, vectorLength}: NMPattern): GemmStrategy[] {
  // The offsets of a step lie in one word, if a window's do.
  const spreads = n !== m && vectorLength < 4 && m <= 16 && [1, 2, 4].includes(n);
  return spreads ? ['spread', 'dense'] : n === m || vectorLength < 4 ? ['dense'] : ['packed', 'window', 'dense'];
}

function gemmConfig(
    problem: MatMulProblem, strategy: GemmStrategy, [tileRows, tileCols, threadRows, threadCols]: Tile,
    step: Pick<GemmConfig, 'block' | 'buffers' | 'slices'>): GemmConfig {
  const {pattern} = problem;
  const expanded = strategy === 'dense' && !isDense({pattern});
  const config: GemmConfig = {
    ...compressed(problem), ...(expanded ? {pattern: DENSE_PATTERN, dtype: 'float32' as const} : {}),
    strategy, tileRows, tileCols, threadRows, threadCols, ...step, unroll: 1, partial: false,
    xPad: (strategy === 'packed' || strategy === 'window') && pattern.vectorLength < 16 ? 1 : 0,
    epilogue: problem.epilogue,
  };
  const {wRows} = gemmGeometry(config);
  const most = MAX_UNROLLED / (threadRows * threadCols);
  const unroll = wRows <= most ? wRows : [16, 8, 4, 2].find(count => count <= most && wRows % count === 0) ?? 1;
  return {...config, unroll};
}

function mostThreads({maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX}: ProgramLimits): number {
  return Math.min(maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX);
}

function fits(config: GemmConfig, limits: ProgramLimits): boolean {
  const {strategy, slices, threadRows, threadCols, pattern} = config;
  const {threads, workgroupBytes, wRows, loadsPerThread, turnsAreWhole} = gemmGeometry(config);
  const slicesFit = slices === 1 ||
      (threads <= MAX_SLICED_THREADS && threadRows * threadCols * wRows <= MAX_SLICED_STEP);
  // A thread whose columns lie in several groups would need an x for each.
  const sharesX = strategy !== 'packed' || pattern.vectorLength >= threadCols;
  return turnsAreWhole && slicesFit && sharesX && loadsPerThread <= MAX_LOADS && threads <= mostThreads(limits) &&
      workgroupBytes <= limits.maxComputeWorkgroupStorageSize;
}

/** Words of packed offsets a group takes: a uniform of every program that reads indices. */
export function wordsPerGroup({shape: [k], pattern}: {shape: [number, number]; pattern: NMPattern}): number {
  return indexWordsPerGroup(keptRowCount(k, pattern), pattern);
}
