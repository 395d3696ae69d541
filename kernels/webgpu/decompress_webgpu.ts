/**
 * nmDecompress on WebGPU: the dense W [k, n]. A thread owns four columns of one window, clears them and writes the kept
 * values: every element is written exactly once or cleared and written by the same thread, so dirty buffers don't show.
 */
import type {WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {indicesSnippet, valuesComponents, valuesSnippet, type CompressedConfig} from './compressed_wgsl.js';

const THREADS = 64;

export class NMDecompressProgram implements WebGPUProgram {
  readonly outputShape: number[];
  readonly dispatchLayout = {x: [0, 1]};
  readonly dispatch: [number, number, number];
  readonly workgroupSize: [number, number, number] = [THREADS, 1, 1];
  readonly variableNames = ['values', 'indices'];
  readonly variableComponents: number[];
  readonly uniforms = 'cols : i32, depth : i32, keptRows : i32, wordsPerGroup : i32';
  readonly shaderKey: string;

  constructor(private readonly config: CompressedConfig, depth: number, cols: number) {
    this.outputShape = [depth, cols];
    this.dispatch = [Math.ceil((Math.ceil(depth / config.pattern.m) * Math.ceil(cols / 4)) / THREADS), 1, 1];
    this.variableComponents = [valuesComponents(config), 1];
    this.shaderKey = `nmDecompress_${JSON.stringify(config)}`;
  }

  static uniformData(cols: number, depth: number, keptRows: number, wordsPerGroup: number) {
    return [cols, depth, keptRows, wordsPerGroup].map(value => ({type: 'int32', data: [value]}));
  }

  getUserCode(): string {
    const {n, m, vectorLength} = this.config.pattern;
    return `
      ${indicesSnippet(this.config)}
      ${valuesSnippet(this.config)}
      fn main(index : i32) {
        let cols = u32(uniforms.cols);
        let vecCols = (cols + 3u) / 4u;
        let window = u32(index) / vecCols;
        let c4 = u32(index) % vecCols;
        let rows = min((window + 1u) * ${m}u, u32(uniforms.depth));
        let colEnd = min(c4 * 4u + 4u, cols);
        for (var row = window * ${m}u; row < rows; row++) {
          for (var col = c4 * 4u; col < colEnd; col++) {
            result[row * cols + col] = 0.0;
          }
        }
        for (var j = window * ${n}u; j < min((window + 1u) * ${n}u, u32(uniforms.keptRows)); j++) {
          let value = value4(j, c4);
          for (var col = c4 * 4u; col < colEnd; col++) {
            let row = rowOf(j, windowOffset(col / ${vectorLength}u, j));
            if (row < rows) {
              result[row * cols + col] = value[col % 4u];
            }
          }
        }
      }
    `;
  }
}
