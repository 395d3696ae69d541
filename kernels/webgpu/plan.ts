/**
 * What is multiplied, and how: a Plan says which programs run one product. Pure data and functions, so plans can be
 * compared, stored by name, tested and printed without a GPU.
 */
import type {StorageDtype} from '../../src/format/storage.js';
import {indexWordsPerGroup} from '../../src/format/pack.js';
import {keptRowCount, type NMPattern} from '../../src/format/pattern.js';
import type {GemmConfig} from './gemm/config.js';
import {paddedRows} from './gemm/geometry.js';
import {gemvGeometry, type GemvConfig} from './gemv/config.js';
import type {EpilogueConfig} from './wgsl/epilogue.js';

/** One product: y [rows, n] = epilogue(x [rows, k] · W [k, n]). */
export interface MatMulProblem {
  rows: number;
  /** [k, n] */
  shape: [number, number];
  pattern: NMPattern;
  dtype: StorageDtype;
  epilogue: EpilogueConfig;
}

/**
 * The programs of one product. With several splits (split-K), a reduction with the epilogue follows. `expand` is the
 * dense fallback: W is decompressed to float32 [k, n] first, and `config` multiplies that.
 */
export type Plan =
  {kind: 'gemv'; config: GemvConfig; splits: number} |
  {kind: 'gemm'; config: GemmConfig; splits: number; expand: boolean};

/** Whether a plan decompresses W and multiplies densely. */
export function isDenseFallback(plan: Plan): boolean {
  return plan.kind === 'gemm' && plan.expand;
}

/** Size in bytes of the largest temporary buffer of a plan: partial sums, x transposed, or W decompressed. */
export function largestBinding(plan: Plan, {rows, shape: [k, n]}: MatMulProblem): number {
  const partial = plan.splits > 1 ? plan.splits * rows * n : 0;
  const {kMajor, stride} = transposedX(plan, rows);
  return 4 * Math.max(partial, kMajor ? stride * k : 0, isDenseFallback(plan) ? k * n : 0);
}

/** Whether a plan reads x transposed (k-major), and to how many rows it is padded then. */
export function transposedX(plan: Plan, rows: number): {kMajor: boolean; stride: number} {
  if (plan.kind === 'gemm') {
    return {kMajor: plan.config.xLayout === 'k-major', stride: paddedRows(plan.config, rows)};
  }
  return {kMajor: gemvGeometry(plan.config).kMajor, stride: Math.ceil(rows / plan.config.rows) * plan.config.rows};
}

/** Number of programs that a plan runs: one, and those that transpose x, decompress W and add up the splits. */
export function programCount(plan: Plan, rows: number): number {
  return 1 + Number(transposedX(plan, rows).kMajor) + Number(isDenseFallback(plan)) + Number(plan.splits > 1);
}

/** Number of int32 words that hold the packed offsets of one column group. */
export function wordsPerGroup({shape: [k], pattern}: {shape: [number, number]; pattern: NMPattern}): number {
  return indexWordsPerGroup(keptRowCount(k, pattern), pattern);
}

/**
 * Version of stored plans; those of another version are ignored. Raise it when a change to the kernels makes other
 * plans the fastest, and when a figure of a device profile changes.
 */
export const PLANS_VERSION = 7;

/** A plan's name: everything about it but the epilogue, which does not change which plan is fastest. */
export function planName(plan: Plan): string {
  return JSON.stringify({...plan, config: {...plan.config, epilogue: undefined}});
}

/** A plan for people to read: 'gemm, packed, tileRows 128, tileCols 64, …'. */
export function describePlan({kind, splits, config}: Plan): string {
  const settings = Object.entries(config).flatMap(([name, value]: [string, unknown]) =>
    typeof value === 'number' ? [`${name} ${value}`] : typeof value === 'string' && name !== 'dtype' ? [value] : []);
  return [kind, ...settings, `splits ${splits}`].join(', ');
}
