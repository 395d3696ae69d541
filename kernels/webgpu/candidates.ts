/**
 * Lists the plans worth considering for a product on a device: which kernel, which tile, how k is split. Pure
 * functions, so plans can be tested and printed without a GPU. src/tuning picks one, by cost model or by measurement.
 *
 * GEMV, up to 64 rows: reading W dominates.
 *
 * GEMM, from 9 rows, with split-K or slices if there are too few tiles to fill the GPU. Its strategies differ in what
 * they stage in workgroup memory (paper, section III-B).
 * - packed: the kept rows of x, once per column group. (The paper stages the union over groups; here each group has
 *   its own copy.)
 * - window: whole windows of x, shared by all groups: M/N rows per kept row.
 * - spread (zero-filled), for groups narrower than a vec4 and short windows: whole windows of x, and W's kept rows
 *   scattered into windows of zeros.
 * - dense: nothing to pick.
 *
 * Dense fallback (`expand`): one dispatch decompresses W, then the dense GEMM runs. Decompression moves a few bytes
 * per element of W, the GEMM does 2·rows FLOPs per element. It is used where a sparse plan would be slower, and for
 * narrow groups with long windows.
 */
import {keptRowCount, type NMPattern} from '../../src/format/pattern.js';
import type {GemmConfig, GemmStrategy, XLayout} from './gemm/config.js';
import {blockCount, gemmGeometry, stepsPerSlice} from './gemm/geometry.js';
import {STRATEGIES, type KTile, type Tile} from './gemm/strategies.js';
import {gemvGeometry, keptPerSplit, type GemvConfig} from './gemv/config.js';
import {isDenseFallback, largestBinding, type MatMulProblem, type Plan} from './plan.js';
import {largestTensor, type BufferLimits} from './run_passes.js';
import {isDense, type CompressedConfig} from './wgsl/compressed.js';
import {NO_EPILOGUE} from './wgsl/epilogue.js';

/** The device limits that a plan must respect, a subset of GPUSupportedLimits. */
export interface ProgramLimits extends BufferLimits {
  maxComputeWorkgroupStorageSize: number;
  maxComputeInvocationsPerWorkgroup: number;
  maxComputeWorkgroupSizeX: number;
}

/** The pattern of every dense configuration, so that all share their shaders. */
const DENSE_PATTERN: NMPattern = {n: 1, m: 1, vectorLength: 1};

/**
 * GEMV plans are offered for 1 to 64 rows: a workgroup covers at most 16 rows, so at 64 rows W is read four times. If
 * no GEMM strategy multiplies the pattern, they are offered up to 256 rows, since the dense fallback takes two
 * programs. GEMM plans are offered from 9 rows up.
 */
const MAX_GEMV_ROWS = 64;
const MAX_GEMV_ROWS_WITHOUT_GEMM = 256;
const MIN_GEMM_ROWS = 9;
/**
 * Row counts for which the GEMM reads x in both layouts. With fewer rows the transpose of x costs more than it saves on
 * every measured product, with more rows less.
 */
const BOTH_LAYOUTS = {min: 33, max: 1024};
/** Number of threads that fills any GPU. Kept rows are split over workgroups up to this number. */
const ENOUGH_THREADS = 2 ** 18;
const GEMM_SPLITS = [1, 2, 3, 4, 6, 8, 16];
/**
 * Slices are an alternative to splits; the two are never combined. Plans with both, or with eight slices, never came
 * within 5 % of the best plan.
 */
const GEMM_SLICES = [1, 2, 4] as const;
/** Maximum threads per workgroup when its threads are divided into slices. */
const MAX_SLICED_THREADS = 256;
/** Most multiply-adds per thread and K-tile with slices. Beyond it no registers are left: up to four times slower. */
const MAX_SLICED_STEP = 512;
/**
 * Most vec4s a thread may prefetch for the next K-tile. Kernels that prefetched 12 took up to twice as long: they spill
 * registers.
 */
const MAX_LOADS = 11;
const GEMV_SPLITS = [1, 2, 4, 8, 16];
/**
 * Largest row count for which 16-column GEMV workgroups (4 vec4s) are offered. They have the most slices, and every
 * slice loads rows of x of its own, so their cost grows fastest with the row count.
 */
const MAX_ROWS_OF_SHORT_RUNS = 8;
/** Largest row count for which the GEMV reads a row-major x only: a k-major one is read in vec4s of rows. */
const MAX_ROW_MAJOR_ROWS = 2;
/** Largest row count for which workgroups of more than 256 threads have enough registers for their accumulators. */
const MAX_ROWS_OF_MANY_THREADS = 2;
/** Fewest K-tiles (GEMM) or loop iterations (GEMV) per split: with fewer, most of a split is prologue and reduction. */
const MIN_STEPS_PER_SPLIT = 4;
const MIN_TURNS_PER_SPLIT = 2;
/** Most multiply-adds per thread in an unrolled K-tile: more unrolling gains nothing and compiles more slowly. */
const MAX_UNROLLED = 2048;
/** Largest register tile whose inner loop is not unrolled: drivers unroll it themselves, and gain 3 to 8 %. */
const MAX_ROLLED = 16;

/**
 * Every plan worth considering, within the device's limits. There is always at least one. Where two plans have the same
 * predicted time, the earlier one wins; the order puts first what measured faster on large products.
 */
export function candidatePlans(problem: MatMulProblem, limits: ProgramLimits): Plan[] {
  const isBindable = (plan: Plan) => largestBinding(plan, problem) <= largestTensor(limits);
  const gemms = gemmPlans(problem, limits).filter(isBindable);
  const mostGemvRows = gemms.every(isDenseFallback) ? MAX_GEMV_ROWS_WITHOUT_GEMM : MAX_GEMV_ROWS;
  if (gemms.length > 0 && problem.rows > mostGemvRows) {
    return gemms;
  }
  // A GEMV that reads x row-major, without split-K, needs no temporary buffer: there is always one.
  return [...gemms, ...gemvPlans(problem, limits).filter(isBindable)];
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

function gemvPlans(problem: MatMulProblem, limits: ProgramLimits): Plan[] {
  const {rows, shape: [k, n], pattern, epilogue} = problem;
  const rowsAtOnce = gemvRows(problem);
  const keptRows = keptRowCount(k, pattern);
  const most = rowsAtOnce <= MAX_ROWS_OF_MANY_THREADS ? Math.max(256, mostThreads(limits)) : 256;
  const plans: Plan[] = [];
  for (const [vecCols, threads] of GEMV_SHAPES) {
    if (threads > most || (vecCols === 4 && rowsAtOnce > MAX_ROWS_OF_SHORT_RUNS)) {
      continue;
    }
    const variants = rowsAtOnce <= MAX_ROW_MAJOR_ROWS ?
      [{turn: 8, xLayout: 'row-major'}, {turn: 4, xLayout: 'row-major'}] as const :
      [{turn: 4, xLayout: 'k-major'}, {turn: 4, xLayout: 'row-major'}] as const;
    for (const variant of variants) {
      const config: GemvConfig = {
        ...compressed(problem), rows: rowsAtOnce, ...variant, vecCols, threads, compact: false, partial: false,
        epilogue,
      };
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
  return strategiesFor(pattern).flatMap(strategy => STRATEGIES[strategy].tiles
      // A tile twice as tall as x is half wasted.
      .filter(([tileRows]) => tileRows < 2 * Math.max(rows, 17) && (tileRows >= 32 || rows <= 2 * tileRows))
      .flatMap(tile => STRATEGIES[strategy].kTiles(tile, pattern).flatMap(kTile =>
        GEMM_SLICES.flatMap(slices => xLayouts(rows, strategy).map(xLayout =>
          gemmConfig(problem, strategy, tile, {...kTile, slices, xLayout})))))
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
              // The fewest splits that cover all K-tiles, so that no split is empty.
              const splits = Math.ceil(steps / (slices * stepsPerSlice(config, keptRows, wanted)));
              const partial = splits > 1;
              return {
                kind: 'gemm', splits, expand, config: {...config, partial, epilogue: partial ? NO_EPILOGUE : epilogue},
              };
            });
      }));
}

/** The layouts of x worth trying. Whole windows of a row-major x were never the fastest where both are offered. */
function xLayouts(rows: number, strategy: GemmStrategy): XLayout[] {
  return rows < BOTH_LAYOUTS.min ? ['row-major'] :
    rows > BOTH_LAYOUTS.max || strategy === 'window' ? ['k-major'] : ['k-major', 'row-major'];
}

/** The strategies that can multiply a pattern. */
function strategiesFor(pattern: NMPattern): GemmStrategy[] {
  return (Object.keys(STRATEGIES) as GemmStrategy[]).filter(name => STRATEGIES[name].supports(pattern));
}

function gemmConfig(
    problem: MatMulProblem, strategy: GemmStrategy, [tileRows, tileCols, threadRows, threadCols]: Tile,
    kTile: KTile & Pick<GemmConfig, 'slices' | 'xLayout'>): GemmConfig {
  const {pattern} = problem;
  const expanded = strategy === 'dense' && !isDense({pattern});
  const config: GemmConfig = {
    ...compressed(problem), ...(expanded ? {pattern: DENSE_PATTERN, dtype: 'float32' as const} : {}),
    strategy, tileRows, tileCols, threadRows, threadCols, ...kTile, unroll: 1, compact: false, partial: false,
    xPad: STRATEGIES[strategy].picksRows && pattern.vectorLength < 16 ? 1 : 0,
    epilogue: problem.epilogue,
  };
  const {wRows} = gemmGeometry(config);
  const most = threadRows * threadCols > MAX_ROLLED ? MAX_UNROLLED / (threadRows * threadCols) : 1;
  const unroll = wRows <= most ? wRows : [16, 8, 4, 2].find(count => count <= most && wRows % count === 0) ?? 1;
  return {...config, unroll};
}

function mostThreads({maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX}: ProgramLimits): number {
  return Math.min(maxComputeInvocationsPerWorkgroup, maxComputeWorkgroupSizeX);
}

function fits(config: GemmConfig, limits: ProgramLimits): boolean {
  const {strategy, slices, threadRows, threadCols} = config;
  const {threads, workgroupBytes, wRows, loadsPerThread, loadPassesAreWhole} = gemmGeometry(config);
  const slicesFit = slices === 1 ||
      (threads <= MAX_SLICED_THREADS && threadRows * threadCols * wRows <= MAX_SLICED_STEP);
  return loadPassesAreWhole && slicesFit && STRATEGIES[strategy].accepts(config) && loadsPerThread <= MAX_LOADS &&
      threads <= mostThreads(limits) && workgroupBytes <= limits.maxComputeWorkgroupStorageSize;
}
