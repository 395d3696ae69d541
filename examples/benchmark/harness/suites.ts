/**
 * What is measured: points (rows × n × k) and what is tried on each. Names and sizes after docs/benchmarks.md.
 */
import type {GemmConfig} from '../../../kernels/webgpu/gemm/config.js';
import type {MatMulProblem, Plan} from '../../../kernels/webgpu/plan.js';
import type {StorageDtype} from '../../../src/format/storage.js';
import {formatPattern, parsePattern, type NMPattern} from '../../../src/format/pattern.js';

export interface Point {
  rows: number;
  n: number;
  k: number;
  /** Where a product of this size occurs. */
  layer?: string;
}

/** A product tried at every point of a suite, beside tf.matMul and our own dense kernel. */
export interface Variant {
  /** The pattern, unless there is more to say. Unique in its suite together with the dtype. */
  label: string;
  pattern: NMPattern;
  dtype: StorageDtype;
  /** The plan to run, where it is the plan that is tried; else the package chooses. */
  plan?: (problem: MatMulProblem) => Plan;
}

export interface Suite {
  points: Point[];
  variants: Variant[];
  /** For trying the benchmark itself: run with the least effort. */
  isTrial?: boolean;
}

const square = (size: number): Point => ({rows: size, n: size, k: size});

const patterns = (notations: string[], dtype: StorageDtype = 'float32'): Variant[] =>
  notations.map(parsePattern).map(pattern => ({label: formatPattern(pattern), pattern, dtype}));

/** The four sparsities of the paper, for groups of so many columns. */
const sparsities = (vectorLength: number) => [16, 12, 8, 4].map(n => `${n}:32v${vectorLength}`);

/** The linear layers of five transformers, [n, k], for the hidden sizes (h, f) of the paper's benchmark. */
const PAPER_LAYERS = [[2048, 5632], [4096, 11008], [5120, 13824], [6656, 17920], [8192, 22016]].flatMap(
  ([h, f]) => [[h, h], [3 * h, h], [h, f], [f, h]]);

/** The paper's ablation (its figure of step-wise optimisation): each rung adds one idea to the one before. */
const RUNGS: [name: string, config: Partial<GemmConfig>][] = [
  ['naive', {strategy: 'window', tileRows: 32, tileCols: 32, threadRows: 4, threadCols: 4}],
  ['+ blocking', {strategy: 'window', tileRows: 64, tileCols: 128}],
  ['+ packing', {strategy: 'packed', tileRows: 128, tileCols: 64, block: 8}],
  ['+ pipeline', {strategy: 'packed', tileRows: 128, tileCols: 64, block: 8, unroll: 8}],
  ['+ 16×8 a thread', {
    strategy: 'packed', tileRows: 256, tileCols: 32, threadRows: 16, threadCols: 8, block: 8, unroll: 8,
  }],
];

const ladder = (notation: string): Variant[] => RUNGS.map(([name, config]) => {
  const pattern = parsePattern(notation);
  return {
    label: `${notation} ${name}`,
    pattern,
    dtype: 'float32',
    plan: ({epilogue}) => ({
      kind: 'gemm', splits: 1, expand: false,
      config: {
        pattern, dtype: 'float32', alignedCols: true, strategy: 'window', xLayout: 'k-major', tileRows: 64,
        tileCols: 64, threadRows: 8, threadCols: 8, block: 1, unroll: 1, xPad: 0, buffers: 1, slices: 1,
        compact: false, partial: false, epilogue, ...config,
      },
    }),
  };
});

/** The patterns of products of one's own, unless others are named. */
export const OWN_PATTERNS = ['8:32v32', '4:32v32', '2:4'];

/** Returns a suite of products of one's own. */
export function ownSuite(points: Point[], notations = OWN_PATTERNS): Suite {
  return {points, variants: patterns(notations)};
}

const DECODE_PATTERNS = ['16:32v32', '8:32v32', '2:4'];

export const SUITES: Record<string, Suite> = {
  /** Does it beat tf.matMul at all? The first figure to look at. */
  first: {points: [square(2048)], variants: patterns(['8:32v32'])},
  /** From small batches to large squares, and layers that people run in browsers. */
  quick: {
    points: [
      {rows: 64, n: 1024, k: 1024}, {rows: 256, n: 2048, k: 2048}, {rows: 512, n: 4096, k: 4096},
      square(1024), square(2048), square(4096),
      {rows: 128, n: 1536, k: 384, layer: 'MiniLM feed-forward'},
      {rows: 384, n: 3072, k: 768, layer: 'BERT base feed-forward'},
      {rows: 197, n: 768, k: 3072, layer: 'ViT-B/16 feed-forward'},
      {rows: 196, n: 512, k: 512, layer: 'MobileNet 1×1 convolution'},
      {rows: 1500, n: 2048, k: 512, layer: 'Whisper base feed-forward'},
      {rows: 256, n: 8192, k: 2048, layer: 'Llama 3.2 1B feed-forward'},
    ],
    variants: patterns(['16:32v32', '8:32v32', '4:32v32', '8:32v128', '8:32v8', '2:4']),
  },
  /** Few rows: one token, one image. Bound by reading W. */
  decode: {
    points: [
      ...[1, 2, 4, 8, 16].flatMap(rows => [{rows, n: 4096, k: 4096}, {rows, n: 11008, k: 4096}]),
      {rows: 1, n: 8192, k: 22016}, {rows: 1, n: 4096, k: 11008},
    ],
    variants: [...patterns(DECODE_PATTERNS), ...patterns(DECODE_PATTERNS, 'float16')],
  },
  /** What the choice of a pattern costs, with many rows and with one. */
  patterns: {
    points: [square(4096), {rows: 1, n: 4096, k: 11008}],
    variants: patterns([...new Set([
      ...[1, 2, 4, 8, 16, 32, 64, 128].map(vectorLength => `8:32v${vectorLength}`),
      '1:4', '2:4', '4:8', '1:8', '4:16', '2:16', ...sparsities(32), ...sparsities(128),
    ])]),
  },
  /** The benchmark of NM-SpMM (arXiv 2503.01253). */
  paper: {
    points: [256, 512, 1024, 2048, 4096].flatMap(rows => PAPER_LAYERS.map(([n, k]) => ({rows, n, k}))),
    variants: patterns(sparsities(32)),
  },
  /** What each idea of the paper brings. 128 columns of n at least, and a multiple of 4. */
  ladder: {points: [square(4096)], variants: ['16:32v32', '8:32v32', '4:32v32'].flatMap(ladder)},
  /** Seconds on a software GPU: short windows, short groups, few rows and many. */
  smoke: {
    points: [{rows: 33, n: 70, k: 100}, {rows: 1, n: 64, k: 128}],
    variants: [...patterns(['8:32v32']), ...patterns(['2:4'], 'float16')],
    isTrial: true,
  },
};
