/**
 * How long a plan will take on a device, counted rather than measured. After the top-down model of NM-SpMM
 * (arXiv 2503.01253, section III): what a program does is counted, each count divided by how fast the device does that,
 * and the slowest one says how long it takes and what bounds it:
 *
 *     time = max(arithmetic, memory, workgroup memory) + a part of the other two + passes before and after + launches
 *
 * What makes the counts differ from 2·rows·n·w: tiles that stick out over the edge are computed whole; cores that have
 * one workgroup less than the busiest wait for it, and schedulers of a core for the one with most subgroups; workgroups
 * beyond those that a core holds come in another wave; and a wave takes no less than a workgroup takes alone.
 *
 * Only the order of the predictions matters, for it chooses the program. Pure arithmetic: it runs, and can be tested,
 * where there is no GPU. For one plan it never falls where rows, n or k grow.
 */
import {gemmGeometry, stepsPerSlice} from '../../kernels/webgpu/gemm/geometry.js';
import {STRATEGIES} from '../../kernels/webgpu/gemm/strategies.js';
import {gemvGeometry, keptPerSplit} from '../../kernels/webgpu/gemv/config.js';
import {transposedX, type MatMulProblem, type Plan} from '../../kernels/webgpu/plan.js';
import {partShapes} from '../format/nm_sparse_matrix.js';
import {STORAGE, type StorageDtype} from '../format/storage.js';
import {indexBits} from '../format/pack.js';
import {keptRowCount, type NMPattern} from '../format/pattern.js';
import type {DeviceProfile} from './device_profile.js';

export interface Prediction {
  /** Milliseconds of one product, all its passes together. */
  ms: number;
  /** The largest of the four below. */
  bound: 'compute' | 'memory' | 'workgroup memory' | 'launch';
  /** Milliseconds that each would take by itself. */
  compute: number;
  memory: number;
  workgroupMemory: number;
  launch: number;
  /** 0 … 1: the least time that the kept weights allow on this device, over `ms`. */
  efficiency: number;
}

/** What the model does not count. Set after measurements on one NVIDIA H200 (docs/benchmarks.md). */
export const COST = {
  /** Instructions that each doubling of slices costs, as a part of the others. */
  sliceOps: 0.155,
  /** An index by which window picks a row of x, or the GEMV a weight of a window, in multiply-adds. */
  pickOps: 10,
  /**
   * A vec4 on its way to workgroup memory, in multiply-adds: the core's one pipe for memory takes 8 cycles for those of
   * a subgroup, 4 in and 4 out, in which its four schedulers could begin 32.
   */
  vecOps: 30.6,
  /**
   * A place in memory that a subgroup of the GEMV reads from, in multiply-adds of a thread: a word of x or of offsets,
   * or four rows of a transposed x.
   */
  placeOps: 0.1,
  /** Instructions of a turn of the GEMV, beside those that load and multiply. */
  turnOps: 66,
  /** ns of a step of the GEMM that nothing hides: a load from memory has to be there before the next step. */
  stepNs: 507,
  /** ns of a kept row that a thread of the GEMV reads; before its first turn, it waits for offsets. */
  rowNs: 71,
  /** ns of a hand-over of sums within a workgroup. */
  levelNs: 134,
  /** Part of the times that are not the largest which shows all the same. */
  unhidden: 0.069,
  /** The same of the GEMV. */
  gemvUnhidden: 0.62,
  /** How much faster memory is read alone than copied: the GEMV writes next to nothing. */
  readGain: 1.1,
  /** Bytes that starting a run of consecutive ones costs. */
  runStart: 9.8,
  /** Registers of a core; of a thread, beside one for each sum, those for each vec4 loaded ahead, and the rest. */
  registers: 65536,
  loadRegisters: 8.5,
  threadRegisters: 38,
  /** Of a thread of the GEMV: for each sum, for each word that a turn has read for the next, and the rest. */
  gemvSumRegisters: 2,
  heldRegisters: 0.9,
  gemvRegisters: 20,
  /** Instructions more, as a part of all, for each part of the registers that a thread would need beyond its own. */
  spillOps: 13,
  /** Threads a core takes, in threadsPerCore. */
  residentThreads: 4,
  /** Part of the last-level cache that one operand may have to itself. */
  cacheShare: 0.0175,
};

/** Threads that run in step, and the schedulers that a core has for them. */
const SUBGROUP_SIZE = 32;
const SCHEDULERS = 4;
/** Registers are given to threads in so many at a time. */
const REGISTER_UNIT = 8;
/** Lanes of a core: threads that it begins an instruction for at once, as a part of threadsPerCore. */
const LANES = 0.25;
/** Bytes that a thread's read of a vec4 takes of workgroup memory: most of its subgroup read the same (threadPlace). */
const SHARED_READ = 4;

/** What the main program of a plan comes to. */
interface Work {
  workgroups: number;
  threads: number;
  workgroupBytes: number;
  registersPerThread: number;
  /** Of one workgroup: instruction slots of all its threads, bytes from and to workgroup memory, bytes it loads. */
  ops: number;
  sharedBytes: number;
  loadedBytes: number;
  /** ns that a workgroup alone waits for loads and barriers. */
  waitingNs: number;
  /** Bytes that must come from memory, or go there, whatever the order of the workgroups. */
  memoryBytes: number;
}

/** Passes before and after the main program: their memory traffic in ms, and the number of them. */
interface Passes {
  ms: number;
  count: number;
}

export function predict(plan: Plan, problem: MatMulProblem, profile: DeviceProfile): Prediction {
  const work = plan.kind === 'gemv' ? gemvWork(plan, problem, profile) : gemmWork(plan, problem, profile);
  const passes = passesOf(plan, problem, profile);
  const {cores, tflops, threadsPerCore, memoryGBs, cacheGBs, workgroupMemoryGBs} = profile;
  // A core's workgroups share it; those that don't fit in at once follow.
  const onBusiest = Math.ceil(work.workgroups / cores);
  const room = residentWorkgroups(work, profile);
  const resident = Math.min(onBusiest, room);
  const waves = Math.ceil(onBusiest / resident);
  const seconds = (amount: number, rate: number, workgroups: number) => (workgroups * amount * cores) / rate;
  // Workgroups of a wave hide each other's waiting; one alone takes what its threads take one after the other.
  const spilled = Math.max(0, work.registersPerThread / mostRegisters(work, profile) - 1);
  const ops = work.ops * (1 + COST.spillOps * spilled);
  const ofOne = 1e3 * seconds(ops, (tflops / 2) * 1e12, 1);
  const opsPerNs = ((tflops / 2) * 1e3) / (cores * threadsPerCore * LANES);
  const alone = 1e-6 * (work.waitingNs + ops / work.threads / opsPerNs);
  // Subgroups are dealt out whole to the schedulers of a core; the one with most decides.
  const subgroups = work.threads / SUBGROUP_SIZE;
  const dealt = (workgroups: number) => (SCHEDULERS * Math.ceil((workgroups * subgroups) / SCHEDULERS)) / subgroups;
  const wave = (workgroups: number) => Math.max(dealt(workgroups) * ofOne, alone);
  const compute = (waves - 1) * wave(resident) + wave(onBusiest - (waves - 1) * resident);
  const workgroupMemory = 1e3 * seconds(work.sharedBytes, workgroupMemoryGBs * 1e9, onBusiest);
  const loads = 1e3 * seconds(work.loadedBytes, cacheGBs * 1e9, onBusiest);
  const memory = Math.max(loads, work.memoryBytes / memoryGBs / 1e6);
  const launch = ((1 + passes.count) * profile.launchUs) / 1e3;
  const longest = Math.max(compute, memory, workgroupMemory);
  const others = compute + memory + workgroupMemory - longest;
  const shown = plan.kind === 'gemm' ? COST.unhidden : COST.gemvUnhidden;
  const ms = longest + shown * others + passes.ms + launch;
  const terms = {compute, memory: memory + passes.ms, 'workgroup memory': workgroupMemory, launch};
  const bound = (Object.keys(terms) as Prediction['bound'][]).reduce((a, b) => terms[b] > terms[a] ? b : a);
  return {
    ms, bound, compute, memory: terms.memory, workgroupMemory, launch, efficiency: leastMs(problem, profile) / ms,
  };
}

/** Milliseconds that the useful multiply-adds or the bytes that must move take at the device's peak. */
function leastMs({rows, shape, pattern, dtype}: MatMulProblem, {tflops, memoryGBs}: DeviceProfile): number {
  const [k, n] = shape;
  const bytes = matrixBytes(shape, pattern, dtype) / COST.readGain + 4 * rows * (k + n);
  return Math.max((2 * rows * n * keptRowCount(k, pattern)) / tflops / 1e9, bytes / memoryGBs / 1e6);
}

/** Registers that a thread can have. */
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
  // Where W is expanded first, the configuration is that of a dense product.
  const {strategy, tileRows, tileCols, threadRows, threadCols, pattern, dtype} = config;
  const {threads, sliceThreads, workgroupBytes, keptPerBlock, wRows, xRows, groupsInTile, loadsPerThread} =
    gemmGeometry(config);
  const {picksPerRow, extraStores, readsIndices} = STRATEGIES[strategy];
  const picks = picksPerRow(config);
  // Columns of one thread in several groups meet several rows of x.
  const xReads = threadRows * (groupsInTile > 1 ? Math.max(1, threadCols / pattern.vectorLength) : 1);
  const vecsMoved = loadsPerThread + extraStores(config, sliceThreads);
  const opsPerRow = threadRows * threadCols + COST.pickOps * picks;
  // Steps are taken whole, and by each slice of each split as many.
  const stepsInTurn = stepsPerSlice(config, keptRowCount(k, pattern), splits);
  const stepsPerSplit = stepsInTurn * config.slices;
  const keptRows = stepsPerSplit * wRows;
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
    ops: sliceThreads * (keptRows * opsPerRow + stepsPerSplit * vecsMoved * COST.vecOps) *
      (1 + COST.sliceOps * Math.log2(config.slices)),
    sharedBytes: keptRows * (SHARED_READ * sliceThreads * ((xReads + threadCols) / 4 + picks) + 4 * tileCols) +
      4 * stepsPerSplit * xRows * tileRows,
    loadedBytes: stepsPerSplit * (loadedX + loadedW) + 4 * tileRows * tileCols,
    // Each slice but the first hands over its sums.
    waitingNs: (stepsInTurn + 1) * COST.stepNs + (config.slices - 1) * COST.levelNs,
    memoryBytes: 0,
  };
  // Workgroups go along the columns first: those that run at once share rows of tiles, and what does not stay in the
  // cache is read again for the next.
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
  // Of a vec4 of columns: how many rows of x it meets for each kept row.
  const distinct = isDense ? 1 : Math.max(1, 4 / pattern.vectorLength);
  // Places that the lanes of a subgroup read at once: offsets from each group, x besides for each slice.
  const lanes = Math.min(SUBGROUP_SIZE, vecCols);
  const groupsRead = isDense ? 1 : Math.ceil((lanes * 4) / Math.max(4, pattern.vectorLength));
  const xOps = COST.placeOps * (kMajor ? config.rows / 4 : config.rows);
  const wordsPerRow = isDense ? 0 : distinct / Math.min(config.turn, 32 / indexBits(pattern));
  // Spread, a kept row stands for M/N rows of x, and each is read in its turn; weights are picked for each.
  const {n: keptOfWindow, m} = pattern;
  const xRowsPerKept = spread ? m / keptOfWindow : 1;
  const multiplyOps = spread ? xRowsPerKept * 4 * config.rows + COST.pickOps * (m - keptOfWindow + 1) :
    4 * config.rows + distinct * xOps * (groupsRead * SUBGROUP_SIZE) / lanes;
  const opsPerVec4 = multiplyOps + wordsPerRow * groupsRead * COST.placeOps + COST.turnOps / config.turn;
  // Words that a turn has read for the next: four values, as many as one has bytes, and x where they share one; of a
  // window that is spread all of x.
  const held = config.turn * (valueBytes(dtype) + (distinct === 1 ? config.rows : 0)) +
    (spread ? config.rows * m : 0);
  const rowTiles = Math.ceil(rows / config.rows);
  const run = valueBytes(dtype) * tileCols;
  const groups = Math.max(1, tileCols / pattern.vectorLength);
  const wBytes = matrixBytes(shape, pattern, dtype) * (run + COST.runStart) / run;
  // Turns are taken whole.
  const perSplit = keptPerSplit(keptRowCount(k, pattern), splits);
  const kept = Math.ceil(perSplit / turnRows) * turnRows;
  // The sums of a row meet in a tree.
  const treeBytes = config.rows * threads * 16 * 2;
  return {
    workgroups: rowTiles * Math.ceil(n / tileCols) * splits,
    threads,
    workgroupBytes: rowsAtOnce * threads * 16,
    registersPerThread: COST.gemvSumRegisters * 4 * config.rows + COST.heldRegisters * held + COST.gemvRegisters,
    ops: kept * vecCols * opsPerVec4,
    sharedBytes: treeBytes,
    loadedBytes: perSplit * (run + (isDense ? 0 : groups * indexBits(pattern)) / 8),
    waitingNs: COST.rowNs * config.turn * (1 + Math.ceil(perSplit / turnRows)) * (spread ? 1 + xRowsPerKept : 1) +
      COST.levelNs * (1 + levels.length) * (config.rows / rowsAtOnce),
    memoryBytes: (wBytes * (inCache(wBytes, profile) ? 1 : rowTiles)) / COST.readGain + 4 * rows * k +
      4 * rows * n * splits,
  };
}

/** The transpose of x, the expansion of W, the sum over splits: each as long as its bytes take. */
function passesOf(plan: Plan, {rows, shape, pattern, dtype}: MatMulProblem, profile: DeviceProfile): Passes {
  const [k, n] = shape;
  const traffic: number[] = [];
  const {kMajor, stride} = transposedX(plan, rows);
  if (kMajor) {
    traffic.push(4 * k * (rows + stride));
  }
  if (plan.kind === 'gemm' && plan.expand) {
    traffic.push(matrixBytes(shape, pattern, dtype) + 4 * k * n);
  }
  if (plan.splits > 1) {
    traffic.push(4 * rows * n * (plan.splits + 1));
  }
  const ms = traffic.map(bytes => bytes / (inCache(bytes, profile) ? profile.cacheGBs : profile.memoryGBs) / 1e6);
  return {ms: ms.reduce((sum, each) => sum + each, 0), count: traffic.length};
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
