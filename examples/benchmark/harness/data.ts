/**
 * Test data that no CPU computes and nobody downloads: every number is an integer hash of its place. A small program
 * fills x or a compressed W on the GPU as fast as it can be written; the same hash on the CPU says what any element is,
 * so that check.ts can add up single outputs of a product of any size.
 *
 * - Floats are ±[½, 1) with 20 bits of fraction, in float16 with 10: exact in both worlds and never subnormal. Weights
 *   are scaled by a power of two that brings sums to about 1.
 * - Kept rows are drawn window by window (Knuth's selection sampling, one hash a row): every choice is alike, offsets
 *   ascend, and a word of packed offsets can be made without knowing the others.
 */
import {engine, type Tensor2D} from '@tensorflow/tfjs-core';
import type {WebGPUBackend, WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {NMSparseMatrix, partShapes} from '../../../src/format/nm_sparse_matrix.js';
import {indexBits} from '../../../src/format/pack.js';
import {keptRowCount, type NMPattern} from '../../../src/format/pattern.js';

/** What of a matrix decides its numbers. */
export type MatrixSpec = Pick<NMSparseMatrix, 'shape' | 'pattern' | 'dtype'>;

/** Sets of numbers that have nothing to do with each other: places stay below 2^30, so that none is met twice. */
const X = 0;
const VALUES = 2 ** 30;
const OFFSETS = 2 ** 31;

const FRACTION_BITS = {float32: 20, float16: 10};

/** 32 bits that look random (lowbias32, by Chris Wellons). */
export function hash(place: number, stream: number): number {
  let h = place ^ stream;
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d);
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b);
  return (h ^ (h >>> 16)) >>> 0;
}

/** ±[½, 1): the sign from the lowest bit (a branch would be guessed wrong), the fraction from the highest ones. */
function unit(h: number, bits: number): number {
  return (1 - 2 * (h & 1)) * ((h >>> (32 - bits)) | (1 << bits)) / (2 << bits);
}

/** Whether selection sampling takes a row where it still needs some of those left; certain where it needs all. */
function isTaken(h: number, left: number, needed: number): boolean {
  return ((h >>> 16) * left) >>> 16 < needed;
}

const HASH_WGSL = `
  fn hash(place: u32, stream: u32) -> u32 {
    var h = place ^ stream;
    h = (h ^ (h >> 16u)) * 0x7feb352du;
    h = (h ^ (h >> 15u)) * 0x846ca68bu;
    return h ^ (h >> 16u);
  }`;

const unitWgsl = (bits: number) => `
  fn unit(h: u32) -> f32 {
    let magnitude = f32((h >> ${32 - bits}u) + ${2 ** bits}u) * ${2 ** -(bits + 1)};
    return select(magnitude, -magnitude, (h & 1u) == 1u);
  }`;

/** x [rows, k]. */
export function drawX(backend: WebGPUBackend, rows: number, k: number): Tensor2D {
  return fill(backend, floats(rows, k, X, 1));
}

/** The element of x [rows, k] at `place` = row · k + column. */
export function xAt(place: number): number {
  return unit(hash(place, X), FRACTION_BITS.float32);
}

/** A compressed matrix. Two calls give the same numbers in memory of their own. */
export function drawMatrix(backend: WebGPUBackend, spec: MatrixSpec): NMSparseMatrix {
  const {shape: [k, n], pattern, dtype} = spec;
  const shapes = partShapes([k, n], pattern, dtype);
  return new NMSparseMatrix({
    ...spec,
    values: fill(backend, dtype === 'float16' ? halves(shapes.values, n, scaleOf(spec)) :
      floats(...shapes.values, VALUES, scaleOf(spec))),
    indices: fill(backend, offsetWords(shapes.indices, k, pattern)),
  });
}

/** Column `col` of a matrix: calls `visit` with each kept row and its value, from the first to the last. */
export function visitColumn(
    spec: MatrixSpec, col: number, visit: (row: number, value: number) => void): void {
  const {shape: [k, n], pattern, dtype} = spec;
  const scale = scaleOf(spec);
  const windows = Math.ceil(k / pattern.m);
  const group = Math.floor(col / pattern.vectorLength);
  const bits = FRACTION_BITS[dtype];
  let j = 0;
  for (let window = 0; window < windows; ++window) {
    const start = window * pattern.m;
    const rows = Math.min(pattern.m, k - start);
    let needed = Math.min(pattern.n, rows);
    for (let row = 0; needed > 0; ++row) {
      const left = rows - row;
      if (left === needed || isTaken(hash((group * windows + window) * pattern.m + row, OFFSETS), left, needed)) {
        visit(start + row, unit(hash(j * n + col, VALUES), bits) * scale);
        ++j;
        --needed;
      }
    }
  }
}

/** Brings sums over the kept rows to about 1. */
function scaleOf({shape: [k], pattern}: MatrixSpec): number {
  return 2 ** -Math.round(Math.log2(keptRowCount(k, pattern)) / 2);
}

/** A program without inputs: every element of its output by its index. */
class FillProgram implements WebGPUProgram {
  readonly outputShape: [number, number];
  readonly dispatchLayout = {x: [0, 1]};
  readonly dispatch: [number, number, number];
  readonly workgroupSize: [number, number, number] = [64, 1, 1];
  readonly variableNames: string[] = [];
  readonly size = true;
  readonly uniforms: string;
  readonly shaderKey: string;

  /**
   * @param code `fn element(index: u32) -> ` what `result` holds; WGSL.
   * @param counts the uniforms that the code reads beside `scale`.
   */
  constructor(
      outputShape: [number, number], readonly dtype: 'float32' | 'int32', private readonly code: string,
      readonly scale: number, readonly counts: Record<string, number>) {
    this.outputShape = outputShape;
    // tfjs folds what does not fit into one dimension, for flat layouts like this one.
    this.dispatch = [Math.ceil((outputShape[0] * outputShape[1]) / this.workgroupSize[0]), 1, 1];
    this.uniforms = ['scale : f32', ...Object.keys(counts).map(name => `${name} : u32`)].join(', ');
    this.shaderKey = `benchmarkFill_${code}`;
  }

  getUserCode(): string {
    return `
      ${HASH_WGSL}
      ${this.code}
      fn main(index : i32) {
        if (index < uniforms.size) {
          result[index] = element(u32(index));
        }
      }`;
  }
}

function fill(backend: WebGPUBackend, program: FillProgram): Tensor2D {
  const uniforms = [
    {type: 'float32', data: [program.scale]},
    ...Object.values(program.counts).map(count => ({type: 'uint32', data: [count]})),
  ];
  return engine().makeTensorFromTensorInfo(backend.runWebGPUProgram(program, [], program.dtype, uniforms)) as Tensor2D;
}

function floats(rows: number, cols: number, stream: number, scale: number): FillProgram {
  return new FillProgram([rows, cols], 'float32', `
    ${unitWgsl(FRACTION_BITS.float32)}
    fn element(index: u32) -> f32 {
      return unit(hash(index, uniforms.stream)) * uniforms.scale;
    }`, scale, {stream});
}

/** Two to a word, every row on a word of its own; the half beyond an odd row's end is 0. */
function halves([rows, wordsPerRow]: [number, number], cols: number, scale: number): FillProgram {
  return new FillProgram([rows, wordsPerRow], 'int32', `
    ${unitWgsl(FRACTION_BITS.float16)}
    fn element(index: u32) -> i32 {
      let wordsPerRow = (uniforms.cols + 1u) / 2u;
      let col = 2u * (index % wordsPerRow);
      let place = (index / wordsPerRow) * uniforms.cols + col;
      let low = unit(hash(place, ${VALUES}u));
      let high = select(0.0, unit(hash(place + 1u, ${VALUES}u)), col + 1u < uniforms.cols);
      return bitcast<i32>(pack2x16float(vec2<f32>(low, high) * uniforms.scale));
    }`, scale, {cols});
}

/** A thread draws every window that a word of offsets touches, and keeps of them what lies in its word. */
function offsetWords([groups, wordsPerGroup]: [number, number], k: number, pattern: NMPattern): FillProgram {
  const {n, m} = pattern;
  const bits = indexBits(pattern);
  const perWord = 32 / bits;
  return new FillProgram([groups, wordsPerGroup], 'int32', `
    fn element(index: u32) -> i32 {
      let windows = (uniforms.depth + ${m - 1}u) / ${m}u;
      let group = index / uniforms.wordsPerGroup;
      let first = (index % uniforms.wordsPerGroup) * ${perWord}u;
      let end = min(first + ${perWord}u, uniforms.keptRows);
      var word = 0u;
      for (var window = first / ${n}u; window * ${n}u < end; window++) {
        let rows = min(${m}u, uniforms.depth - window * ${m}u);
        var needed = min(${n}u, rows);
        var j = window * ${n}u;
        for (var row = 0u; row < rows; row++) {
          let h = hash((group * windows + window) * ${m}u + row, ${OFFSETS}u);
          if (((h >> 16u) * (rows - row)) >> 16u < needed) {
            if (j >= first && j < end) {
              word |= row << ((j - first) * ${bits}u);
            }
            j++;
            needed--;
          }
        }
      }
      return bitcast<i32>(word);
    }`, 1, {depth: k, keptRows: keptRowCount(k, pattern), wordsPerGroup});
}
