/**
 * nmGatherKept on WebGPU: the kept entries [w, n] of a dense [k, n]. One thread per entry.
 */
import type {WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {int32Uniforms, type ProductSize} from '../program_util.js';
import {indicesSnippet, type CompressedConfig} from '../wgsl/compressed.js';

const THREADS = 64;

export class NMGatherKeptProgram implements WebGPUProgram {
  readonly outputShape: number[];
  readonly dispatchLayout = {x: [0, 1]};
  readonly dispatch: [number, number, number];
  readonly workgroupSize: [number, number, number] = [THREADS, 1, 1];
  readonly variableNames = ['dense', 'indices'];
  readonly size = true;
  readonly uniforms = 'cols : i32, depth : i32, wordsPerGroup : i32';
  readonly shaderKey: string;
  private readonly uniformValues: number[];

  constructor(
      private readonly config: CompressedConfig,
      {depth, cols, keptRows, wordsPerGroup}: Omit<ProductSize, 'rows'>) {
    this.uniformValues = [cols, depth, wordsPerGroup];
    this.outputShape = [keptRows, cols];
    this.dispatch = [Math.ceil((keptRows * cols) / THREADS), 1, 1];
    this.shaderKey = `nmGatherKept_${JSON.stringify(config.pattern)}`;
  }

  uniformData() {
    return int32Uniforms(this.uniformValues);
  }

  getUserCode(): string {
    return `
      ${indicesSnippet(this.config)}
      fn main(index : i32) {
        if (index < uniforms.size) {
          let j = u32(index / uniforms.cols);
          let col = u32(index % uniforms.cols);
          let row = rowOf(j, windowOffset(col / ${this.config.pattern.vectorLength}u, j));
          result[index] = f32(dense[min(row, u32(uniforms.depth) - 1u) * u32(uniforms.cols) + col]);
        }
      }
    `;
  }
}
