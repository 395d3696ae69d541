/**
 * What the format's tests share: matrices and patterns for fast-check to draw, and the way back from a compressed
 * matrix to dense values, on plain arrays.
 */
import {tensor2d, type Tensor2D} from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import {decompressValues} from '../../src/format/compress.js';
import type {NMSparseMatrix} from '../../src/format/nm_sparse_matrix.js';
import {keptRowIndices, unpackHalves} from '../../src/format/pack.js';
import {parsePattern, VECTOR_LENGTHS, type NMPattern} from '../../src/format/pattern.js';
import {mulberry32} from '../support/random.js';

export interface Case {
  shape: [number, number];
  pattern: NMPattern;
  w: Float32Array;
}

/** Patterns with windows of up to maxM rows, short and long, dense (N = M) among them. */
export function patterns(maxM = 256): fc.Arbitrary<NMPattern> {
  return fc.tuple(fc.integer({min: 1, max: maxM}), fc.double({min: 0, max: 1, noNaN: true}),
                  fc.constantFrom(...VECTOR_LENGTHS))
      .map(([m, share, vectorLength]) => parsePattern({n: Math.max(1, Math.ceil(share * m)), m, vectorLength}));
}

/** Shapes that hit short windows and short groups as well as whole ones. */
export function shapes(maxK: number, maxN: number): fc.Arbitrary<[number, number]> {
  return fc.tuple(fc.integer({min: 1, max: maxK}), fc.integer({min: 1, max: maxN}));
}

/** A matrix with a pattern to compress it by. */
export function cases(maxM: number, maxK: number, maxN: number, draw = anyFloat): fc.Arbitrary<Case> {
  return fc.tuple(shapes(maxK, maxN), patterns(maxM), fc.integer())
      .map(([shape, pattern, seed]) => ({shape, pattern, w: matrix(shape, seed, draw)}));
}

/** Row-major [k, n], each value drawn from a seeded generator. */
export function matrix([k, n]: [number, number], seed: number, draw: (random: () => number) => number): Float32Array {
  const random = mulberry32(seed);
  return Float32Array.from({length: k * n}, () => draw(random));
}

/** Mostly ordinary weights; now and then a zero of either sign, the smallest subnormal, the largest float. */
export function anyFloat(random: () => number): number {
  const special = [0, -0, 2 ** -149, -(2 ** -130), 3.4028234663852886e38, -3.4028234663852886e38];
  const at = Math.floor(random() * special.length * 8);
  return at < special.length ? special[at] : random() * 2 - 1;
}

/** Small whole numbers: sums of their squares are exact in any order, and ties are common. */
export function smallInteger(random: () => number): number {
  return Math.floor(random() * 7) - 3;
}

/** Never zero. */
export function nonZero(random: () => number): number {
  return (random() + 0.01) * (random() < 0.5 ? -1 : 1);
}

/** Runs `use` on a tensor of these values and disposes it. */
export async function withTensor<T>(
    values: Float32Array, shape: [number, number], use: (W: Tensor2D) => Promise<T>): Promise<T> {
  const W = tensor2d(values, shape);
  try {
    return await use(W);
  } finally {
    W.dispose();
  }
}

/** The dense values that a matrix stands for. */
export async function denseValues({values, indices, shape, pattern, dtype, keptRows}: NMSparseMatrix):
    Promise<Float32Array> {
  const stored = await values.data();
  const kept = dtype === 'float16' ? unpackHalves(stored as Int32Array, keptRows, shape[1]) : stored as Float32Array;
  return decompressValues(kept, keptRowIndices(await indices.data() as Int32Array, shape, pattern), shape, pattern);
}

/** The bits of floats, so that -0 and 0 are told apart. */
export function bitsOf(values: Float32Array): number[] {
  return [...new Uint32Array(values.buffer, values.byteOffset, values.length)];
}
