/**
 * The second dispatch of split-K: adds the partial sums [splits, rows, n], then applies the epilogue. It adds in the
 * order of the splits, so every execution gives the same bits. (Atomics would not; WGSL has none for floats anyway.)
 */
import type {WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {int32Uniforms} from '../program_util.js';
import {
  epilogueComponents, epilogueInputs, epilogueSnippet, epilogueUniforms, type EpilogueConfig,
} from '../wgsl/epilogue.js';

const THREADS = 64;

export class NMReduceProgram implements WebGPUProgram {
  readonly outputShape: number[];
  readonly dispatchLayout = {x: [0, 1]};
  readonly dispatch: [number, number, number];
  readonly workgroupSize: [number, number, number] = [THREADS, 1, 1];
  readonly variableNames: string[];
  readonly variableComponents: number[];
  readonly outputComponent: 1 | 4;
  readonly size = true;
  readonly uniforms: string;
  readonly shaderKey: string;
  private readonly uniformValues: number[];

  /** @param splits how many partial sums of [rows, cols] there are. */
  constructor(rows: number, cols: number, splits: number, private readonly epilogue: EpilogueConfig) {
    this.uniformValues = [cols, splits];
    this.outputShape = [rows, cols];
    this.outputComponent = cols % 4 === 0 ? 4 : 1;
    this.dispatch = [Math.ceil((rows * cols) / this.outputComponent / THREADS), 1, 1];
    this.variableNames = ['partial', ...epilogueInputs(epilogue)];
    this.variableComponents = [this.outputComponent, ...epilogueComponents(epilogue, this.outputComponent)];
    this.uniforms = 'cols : i32, splits : i32' + epilogueUniforms(epilogue);
    this.shaderKey = `nmReduce_${this.outputComponent}_${JSON.stringify(epilogue)}`;
  }

  uniformData() {
    return int32Uniforms(this.uniformValues);
  }

  getUserCode(): string {
    return `
      ${epilogueSnippet(this.epilogue, this.outputComponent)}
      fn main(index : i32) {
        if (index < uniforms.size) {
          var sum = partial[index];
          for (var split = 1; split < uniforms.splits; split++) {
            sum += partial[split * uniforms.size + index];
          }
          result[index] = epilogue(sum, u32(index % (uniforms.cols / ${this.outputComponent})));
        }
      }
    `;
  }
}
