/**
 * nmDecompress on WebGPU: the dense W [k, n]. A thread owns one column of one window and walks down it with a cursor in
 * the kept rows, which are ascending: every element is written once, so dirty buffers don't show, and neighbouring
 * threads write neighbouring columns.
 */
import type {WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {indicesSnippet, valuesComponents, valuesSnippet, type CompressedConfig} from './compressed_wgsl.js';

const THREADS = 256;

export class NMDecompressProgram implements WebGPUProgram {
  readonly outputShape: number[];
  readonly dispatchLayout = {x: [1], y: [0]};
  readonly dispatch: [number, number, number];
  readonly workgroupSize: [number, number, number] = [THREADS, 1, 1];
  readonly variableNames = ['values', 'indices'];
  readonly variableComponents: number[];
  readonly uniforms = 'cols : i32, depth : i32, keptRows : i32, wordsPerGroup : i32';
  readonly shaderKey: string;

  constructor(private readonly config: CompressedConfig, depth: number, cols: number, maxDispatch: number) {
    this.outputShape = [depth, cols];
    const workgroups = Math.ceil((Math.ceil(depth / config.pattern.m) * cols) / THREADS);
    const across = Math.min(workgroups, maxDispatch);
    this.dispatch = [across, Math.ceil(workgroups / across), 1];
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
      fn main() {
        let cols = u32(uniforms.cols);
        let item = (workgroupId.x + workgroupId.y * numWorkgroups.x) * ${THREADS}u + localIndex;
        let window = item / cols;
        let col = item % cols;
        let group = col / ${vectorLength}u;
        let rowEnd = min((window + 1u) * ${m}u, u32(uniforms.depth));
        let end = min((window + 1u) * ${n}u, u32(uniforms.keptRows));
        var j = window * ${n}u;
        for (var row = window * ${m}u; row < rowEnd; row++) {
          var value = 0.0;
          if (j < end && rowOf(j, windowOffset(group, j)) == row) {
            value = value4(j, col / 4u)[col % 4u];
            j++;
          }
          result[row * cols + col] = value;
        }
      }
    `;
  }
}
