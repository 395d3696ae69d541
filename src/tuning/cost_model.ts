/**
 * Predicts how long a plan takes on a device, without running it. A roofline, after the top-down model of NM-SpMM
 * (arXiv 2503.01253, section III): the operations and bytes of a program are counted, and each count is divided by the
 * device's rate. The longest term is the bottleneck; the others overlap with it, except for a fixed fraction:
 *
 *     time = longest + overlapLoss · (the other two) + extra passes + dispatch overhead
 *
 * The counts differ from 2·rows·n·w because tiles that cross the edge are computed whole; cores that have one workgroup
 * less than the busiest wait for it, as do schedulers of a core; workgroups beyond the occupancy of a core form another
 * wave; and a wave takes at least as long as one workgroup by itself.
 *
 * Only the order of the predictions matters, since it selects the plan. Pure arithmetic, so it can be tested without a
 * GPU. For one plan the prediction never falls as rows, n or k grow. docs/performance-model.md explains the terms.
 */
import {gemmGeometry, stepsPerSlice} from '../../kernels/webgpu/gemm/geometry.js';
import {STRATEGIES} from '../../kernels/webgpu/gemm/strategies.js';
import {gemvGeometry, keptPerSplit} from '../../kernels/webgpu/gemv/config.js';
import {isDenseFallback, programCount, transposedX, type MatMulProblem, type Plan} from '../../kernels/webgpu/plan.js';
import {partShapes} from '../format/nm_sparse_matrix.js';
import {STORAGE, type StorageDtype} from '../format/storage.js';
import {indexBits} from '../format/pack.js';
import {keptRowCount, type NMPattern} from '../format/pattern.js';
import type {DeviceProfile} from './device_profile.js';

export interface Prediction {
  /** Predicted ms of one product on the GPU, all its programs together. */
  ms: number;
  /** The bottleneck: the largest of the four below. */
  bound: 'compute' | 'memory' | 'workgroup memory' | 'launch';
  /** ms that each would take by itself. */
  compute: number;
  memory: number;
  workgroupMemory: number;
  launch: number;
  /** Fraction of the roofline, 0 … 1: the roofline bound of the product on this device, over `ms`. */
  efficiency: number;
}

/** Costs that cannot be counted. Fitted to plans measured on one NVIDIA H200 (docs/benchmarks.md). */
export const COST = {
  /** Additional instructions per doubling of slices, as a fraction of all others. */
  sliceOps: 0.155,
  /** Cost of one row number of the window strategy, or of one scattered weight of the GEMV, in multiply-adds. */
  pickOps: 10,
  /**
   * Cost of staging one vec4, in multiply-adds: the core's memory pipe takes 8 cycles for those of a subgroup, 4 in and
   * 4 out, in which its four schedulers could start 32.
   */
  vecOps: 30.6,
  /** Cost of the scalar loads of one vec4 of a row-major x, beyond that of one vec4 load, in multiply-adds. */
  columnOps: 130,
  /**
   * Cost of each distinct address that a subgroup of the GEMV loads from, in multiply-adds per thread. One address is a
   * word of x, a word of offsets, or a vec4 of the transposed x (four rows).
   */
  addressOps: 0.1,
  /** Instructions of one GEMV iteration other than loads and multiply-adds. */
  iterationOps: 66,
  /** Latency of one K-tile of the GEMM, in ms: its loads must arrive before the next K-tile. */
  kTileMs: 507e-6,
  /** Latency of one kept row that a thread of the GEMV loads, in ms. */
  keptRowMs: 71e-6,
  /** Latency of one stage of a reduction within a workgroup, in ms. */
  stageMs: 134e-6,
  /** Overlap loss: the fraction of the shorter terms that is not hidden behind the longest; GEMM and GEMV. */
  overlapLoss: 0.069,
  gemvOverlapLoss: 0.62,
  /** Read bandwidth over copy bandwidth: the GEMV writes almost nothing. */
  readGain: 1.1,
  /** Additional traffic per contiguous segment of W, in bytes. */
  segmentBytes: 9.8,
  /** Registers per core. Per thread of the GEMM, beyond one per accumulator: per prefetched vec4, and the rest. */
  registers: 65536,
  loadRegisters: 8.5,
  threadRegisters: 38,
  /** Registers per thread of the GEMV: per accumulator, per prefetched word, and the rest. */
  gemvSumRegisters: 2,
  heldRegisters: 0.9,
  gemvRegisters: 20,
  /** Spill penalty: a thread short of a fraction f of its registers executes 1 + spillOps · f times as much. */
  spillOps: 13,
  /** Most resident threads per core, as a multiple of threadsPerCore. */
  residentThreads: 4,
  /** Fraction of the last-level cache that one operand may occupy. */
  cacheShare: 0.0175,
};

/** Threads per subgroup, and schedulers per core. */
const SUBGROUP_SIZE = 32;
const SCHEDULERS = 4;
/** Registers are allocated to threads in multiples of this number. */
const REGISTER_UNIT = 8;
/** Lanes per core, as a fraction of threadsPerCore. */
const LANES = 0.25;
/** Workgroup-memory traffic per vec4 that a thread reads, in bytes: most of its subgroup read the same one. */
const SHARED_READ = 4;

/** The counts of a plan's main program. */
interface Work {
  workgroups: number;
  threads: number;
  workgroupBytes: number;
  registersPerThread: number;
  /** Per workgroup: instructions of all its threads, bytes from and to workgroup memory, bytes loaded. */
  ops: number;
  sharedBytes: number;
  loadedBytes: number;
  /** ms that a workgroup waits for loads and barriers if nothing else runs on its core. */
  waitingMs: number;
  /** Bytes from and to memory that no cache saves. */
  memoryBytes: number;
}

export function predict(plan: Plan, problem: MatMulProblem, profile: DeviceProfile): Prediction {
  const work = plan.kind === 'gemv' ? gemvWork(plan, problem, profile) : gemmWork(plan, problem, profile);
  const passesMs = msOfPasses(plan, problem, profile);
  const {cores, tflops, threadsPerCore, memoryGBs, cacheGBs, workgroupMemoryGBs} = profile;
  const onBusiest = Math.ceil(work.workgroups / cores);
  const occupancy = residentWorkgroups(work, profile);
  const resident = Math.min(onBusiest, occupancy);
  const waves = Math.ceil(onBusiest / resident);
  // Rates of one core, per ms. A multiply-add counts two FLOPs; 1 TFLOPS is 1e9 FLOPs, 1 GB/s is 1e6 bytes per ms.
  const fmaRate = ((tflops / 2) * 1e9) / cores;
  const cacheRate = (cacheGBs * 1e6) / cores;
  const workgroupMemoryRate = (workgroupMemoryGBs * 1e6) / cores;
  const spilled = Math.max(0, work.registersPerThread / mostRegisters(work, profile) - 1);
  const ops = work.ops * (1 + COST.spillOps * spilled);
  // Workgroups of a wave hide each other's latency; a single one takes as long as one of its threads.
  const alone = work.waitingMs + ops / work.threads / (fmaRate / (threadsPerCore * LANES));
  // Whole subgroups are distributed over the schedulers of a core; the busiest one decides.
  const subgroups = work.threads / SUBGROUP_SIZE;
  const dealt = (workgroups: number) => (SCHEDULERS * Math.ceil((workgroups * subgroups) / SCHEDULERS)) / subgroups;
  const wave = (workgroups: number) => Math.max((dealt(workgroups) * ops) / fmaRate, alone);
  const compute = (waves - 1) * wave(resident) + wave(onBusiest - (waves - 1) * resident);
  const workgroupMemory = (onBusiest * work.sharedBytes) / workgroupMemoryRate;
  const memory = Math.max((onBusiest * work.loadedBytes) / cacheRate, work.memoryBytes / (memoryGBs * 1e6));
  const launch = programCount(plan, problem.rows) * profile.launchUs * 1e-3;
  const longest = Math.max(compute, memory, workgroupMemory);
  const others = compute + memory + workgroupMemory - longest;
  const overlapLoss = plan.kind === 'gemm' ? COST.overlapLoss : COST.gemvOverlapLoss;
  const ms = longest + overlapLoss * others + passesMs + launch;
  const terms = {compute, memory: memory + passesMs, 'workgroup memory': workgroupMemory, launch};
  const bound = (Object.keys(terms) as Prediction['bound'][]).reduce((a, b) => terms[b] > terms[a] ? b : a);
  return {
    ms, bound, compute, memory: terms.memory, workgroupMemory, launch, efficiency: rooflineMs(problem, profile) / ms,
  };
}

/** Roofline bound of a product, in ms: its useful multiply-adds or its bytes, at the device's peak rates. */
function rooflineMs({rows, shape, pattern, dtype}: MatMulProblem, {tflops, memoryGBs}: DeviceProfile): number {
  const [k, n] = shape;
  const bytes = matrixBytes(shape, pattern, dtype) / COST.readGain + 4 * rows * (k + n);
  return Math.max((2 * rows * n * keptRowCount(k, pattern)) / tflops / 1e9, bytes / memoryGBs / 1e6);
}

/** Most registers that a thread can have. */
function mostRegisters({threads}: Work, {registersPerThread}: DeviceProfile): number {
  return Math.min(registersPerThread, COST.registers / threads);
}

function residentWorkgroups(work: Work, profile: DeviceProfile): number {
  const {threads, workgroupBytes, registersPerThread} = work;
  const registers =
    Math.min(mostRegisters(work, profile), REGISTER_UNIT * Math.ceil(registersPerThread / REGISTER_UNIT));
  return Math.max(1, Math.min(
    Math.floor(profile.coreMemoryBytes / (workgroupBytes + profile.reservedBytes)),
    Math.floor((COST.residentThreads * profile.threadsPerCore) / threads),
    Math.floor(COST.registers / (threads * registers))));
}

function gemmWork(
    {config, splits}: Extract<Plan, {kind: 'gemm'}>, {rows, shape}: MatMulProblem, profile: DeviceProfile): Work {
  const [k, n] = shape;
  // With the dense fallback, the configuration is that of a dense product.
  const {strategy, tileRows, tileCols, threadRows, threadCols, pattern, dtype} = config;
  const {threads, sliceThreads, workgroupBytes, keptPerBlock, wRows, xRows, groupsInTile, loadsPerThread} =
    gemmGeometry(config);
  const {picksPerRow, extraStores, readsIndices} = STRATEGIES[strategy];
  const picks = picksPerRow(config);
  // Columns of one thread in several groups need several rows of x.
  const xReads = threadRows * (groupsInTile > 1 ? Math.max(1, threadCols / pattern.vectorLength) : 1);
  const vecsMoved = loadsPerThread + extraStores(config, sliceThreads);
  const columns = config.xLayout === 'row-major' ? Math.ceil((xRows * tileRows) / 4 / sliceThreads) : 0;
  const opsPerRow = threadRows * threadCols + COST.pickOps * picks;
  // K-tiles are computed whole, and every slice of every split has the same number.
  const kTilesPerSlice = stepsPerSlice(config, keptRowCount(k, pattern), splits);
  const kTilesPerSplit = kTilesPerSlice * config.slices;
  const keptRows = kTilesPerSplit * wRows;
  const loadedX = 4 * xRows * tileRows;
  const groupsRead = readsIndices ? Math.max(1, tileCols / pattern.vectorLength) : 0;
  const indexBytes = (groupsRead * indexBits(pattern)) / 8;
  const loadedW = keptPerBlock * (valueBytes(dtype) * tileCols + indexBytes);
  const rowTiles = Math.ceil(rows / tileRows);
  const colTiles = Math.ceil(n / tileCols);
  const work: Work = {
    workgroups: rowTiles * colTiles * splits,
    threads,
    workgroupBytes,
    registersPerThread: threadRows * threadCols + COST.loadRegisters * loadsPerThread + COST.threadRegisters,
    ops: sliceThreads *
      (keptRows * opsPerRow + kTilesPerSplit * (vecsMoved * COST.vecOps + columns * COST.columnOps)) *
      (1 + COST.sliceOps * Math.log2(config.slices)),
    sharedBytes: keptRows * (SHARED_READ * sliceThreads * ((xReads + threadCols) / 4 + picks) + 4 * tileCols) +
      4 * kTilesPerSplit * xRows * tileRows,
    loadedBytes: kTilesPerSplit * (loadedX + loadedW) + 4 * tileRows * tileCols,
    // Every slice but the first hands over its accumulators.
    waitingMs: (kTilesPerSlice + 1) * COST.kTileMs + (config.slices - 1) * COST.stageMs,
    memoryBytes: 0,
  };
  // Workgroups are numbered along the columns first: concurrent ones share rows of tiles. What does not stay in the
  // cache is read again for the next rows.
  const atOnce = profile.cores * residentWorkgroups(work, profile);
  const rowTilesAtOnce = Math.max(1, Math.floor(atOnce / colTiles));
  const wBytes = matrixBytes([k, n], pattern, dtype);
  const wReads = inCache(wBytes, profile) ? 1 : Math.ceil(rowTiles / rowTilesAtOnce);
  work.memoryBytes = wBytes * wReads + 4 * rows * k + 4 * rows * n * splits;
  return work;
}

function gemvWork(
    {config, splits}: Extract<Plan, {kind: 'gemv'}>, {rows, shape, pattern, dtype}: MatMulProblem,
    profile: DeviceProfile): Work {
  const [k, n] = shape;
  const {tileCols, levels, turnRows, rowsAtOnce, kMajor, spread} = gemvGeometry(config);
  const {vecCols, threads} = config;
  const isDense = pattern.n === pattern.m;
  // Rows of x that a vec4 of columns needs per kept row.
  const distinct = isDense ? 1 : Math.max(1, 4 / pattern.vectorLength);
  // Distinct addresses that the lanes of a subgroup load from: offsets per group, and x per slice.
  const lanes = Math.min(SUBGROUP_SIZE, vecCols);
  const groupsRead = isDense ? 1 : Math.ceil((lanes * 4) / Math.max(4, pattern.vectorLength));
  const xOps = COST.addressOps * (kMajor ? config.rows / 4 : config.rows);
  const wordsPerRow = isDense ? 0 : distinct / Math.min(config.turn, 32 / indexBits(pattern));
  // Zero-filled, a kept row stands for M/N rows of x, each of which is read when it is used.
  const {n: keptOfWindow, m} = pattern;
  const xRowsPerKept = spread ? m / keptOfWindow : 1;
  const multiplyOps = spread ? xRowsPerKept * 4 * config.rows + COST.pickOps * (m - keptOfWindow + 1) :
    4 * config.rows + distinct * xOps * (groupsRead * SUBGROUP_SIZE) / lanes;
  const opsPerVec4 = multiplyOps + wordsPerRow * groupsRead * COST.addressOps + COST.iterationOps / config.turn;
  // 32-bit registers that hold prefetched data. Each kept row takes valueBytes words for its four values, plus `rows`
  // words of x if the four columns share a row of x. With zero-filled windows, all M rows of x are held as well.
  const prefetched = config.turn * (valueBytes(dtype) + (distinct === 1 ? config.rows : 0)) +
    (spread ? config.rows * m : 0);
  const rowTiles = Math.ceil(rows / config.rows);
  const segment = valueBytes(dtype) * tileCols;
  const groups = Math.max(1, tileCols / pattern.vectorLength);
  const wBytes = matrixBytes(shape, pattern, dtype) * (segment + COST.segmentBytes) / segment;
  // Iterations are computed whole.
  const perSplit = keptPerSplit(keptRowCount(k, pattern), splits);
  const kept = Math.ceil(perSplit / turnRows) * turnRows;
  // The tree reduction writes and reads the accumulators of every row.
  const treeBytes = config.rows * threads * 16 * 2;
  return {
    workgroups: rowTiles * Math.ceil(n / tileCols) * splits,
    threads,
    workgroupBytes: rowsAtOnce * threads * 16,
    registersPerThread: COST.gemvSumRegisters * 4 * config.rows + COST.heldRegisters * prefetched + COST.gemvRegisters,
    ops: kept * vecCols * opsPerVec4,
    sharedBytes: treeBytes,
    loadedBytes: perSplit * (segment + (isDense ? 0 : groups * indexBits(pattern)) / 8),
    waitingMs: COST.keptRowMs * config.turn * (1 + Math.ceil(perSplit / turnRows)) * (spread ? 1 + xRowsPerKept : 1) +
      COST.stageMs * (1 + levels.length) * (config.rows / rowsAtOnce),
    memoryBytes: (wBytes * (inCache(wBytes, profile) ? 1 : rowTiles)) / COST.readGain + 4 * rows * k +
      4 * rows * n * splits,
  };
}

/** ms of the transpose of x, the decompression of W and the sum over splits: each takes as long as its bytes. */
function msOfPasses(plan: Plan, {rows, shape, pattern, dtype}: MatMulProblem, profile: DeviceProfile): number {
  const [k, n] = shape;
  const traffic: number[] = [];
  const {kMajor, stride} = transposedX(plan, rows);
  if (kMajor) {
    traffic.push(4 * k * (rows + stride));
  }
  if (isDenseFallback(plan)) {
    traffic.push(matrixBytes(shape, pattern, dtype) + 4 * k * n);
  }
  if (plan.splits > 1) {
    traffic.push(4 * rows * n * (plan.splits + 1));
  }
  return traffic.map(bytes => bytes / (inCache(bytes, profile) ? profile.cacheGBs : profile.memoryGBs) / 1e6)
    .reduce((sum, each) => sum + each, 0);
}

function inCache(bytes: number, {cacheBytes}: DeviceProfile): boolean {
  return bytes <= COST.cacheShare * cacheBytes;
}

function valueBytes(dtype: StorageDtype): number {
  return STORAGE[dtype].bytesPerValue;
}

/** Bytes of values and indices. */
function matrixBytes(shape: [number, number], pattern: NMPattern, dtype: StorageDtype): number {
  const {values, indices} = partShapes(shape, pattern, dtype);
  return 4 * (values[0] * values[1] + (pattern.n === pattern.m ? 0 : indices[0] * indices[1]));
}
