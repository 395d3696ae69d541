/**
 * What is measured: points (rows × n × k) and the patterns tried on each. Names and sizes after docs/benchmarks.md.
 */

export interface Point {
  rows: number;
  n: number;
  k: number;
}

export interface Suite {
  points: Point[];
  patterns: string[];
  dtypes: ('float32' | 'float16')[];
}

const square = (size: number): Point => ({rows: size, n: size, k: size});

export const SUITES: Record<string, Suite> = {
  /** Does it beat tf.matMul at all? The first figure to look at. */
  first: {points: [square(2048)], patterns: ['8:32v32'], dtypes: ['float32']},
  /** From small batches to large squares. */
  quick: {
    points: [
      {rows: 64, n: 1024, k: 1024}, {rows: 256, n: 2048, k: 2048}, {rows: 512, n: 4096, k: 4096},
      square(1024), square(2048), square(4096),
    ],
    patterns: ['16:32v32', '8:32v32', '4:32v32', '8:32v128', '8:32v8', '2:4'],
    dtypes: ['float32'],
  },
  /** Few rows: one token, one image. Bound by reading W. */
  decode: {
    points: [
      ...[1, 2, 4, 8, 16].flatMap(rows => [{rows, n: 4096, k: 4096}, {rows, n: 11008, k: 4096}]),
      {rows: 1, n: 8192, k: 22016},
    ],
    patterns: ['16:32v32', '8:32v32', '2:4'],
    dtypes: ['float32', 'float16'],
  },
};
