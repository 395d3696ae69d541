/**
 * A product to time plans on: random numbers in tensors of the sizes and the pattern of a real product. It runs on a
 * tfjs backend of its own on the same device. The tensors, buffers and compiled programs of the user's backend stay as
 * they are, and nothing is left in its pools.
 */
import type {NamedTensorInfoMap, TensorInfo} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {NM_SPARSE_MAT_MUL, toAttrs} from '../../../kernels/contract.js';
import {webgpuKernels} from '../../../kernels/webgpu/run_plan.js';
import {largestTensor} from '../../../kernels/webgpu/run_passes.js';
import {largestBinding, type MatMulProblem, type Plan} from '../../../kernels/webgpu/plan.js';
import {partShapes} from '../../format/nm_sparse_matrix.js';
import {packIndices} from '../../format/pack.js';
import {groupCount, keptRowCount, type NMPattern} from '../../format/pattern.js';
import {STORAGE} from '../../format/storage.js';
import {compileInParallel} from '../../tfjs/compile.js';
import {flush, record, replay} from '../../tfjs/recorder.js';
import type {EncodePass} from './clock.js';

/** Bytes of all copies of the weights together. Runs rotate through them: in a model, weights are rarely cached. */
const COLD_BYTES = 64 * 1024 * 1024;
const MAX_COPIES = 16;
/** Largest size of all buffers that the recordings of a plan write, in bytes. */
const RECORDED_BYTES = 256 * 1024 * 1024;
/** Different random numbers, and column groups with different kept rows; the rest of a tensor repeats them. */
const DRAWN_NUMBERS = 4096;
const DRAWN_GROUPS = 32;
/** Bytes compared at each end of an output. */
const COMPARED_BYTES = 1024 * 1024;

export class SampleProduct {
  private readonly backend: WebGPUBackend;
  private readonly inputs: NamedTensorInfoMap;
  private readonly matrices: NamedTensorInfoMap[];

  /** @throws Error if the device has no room for the tensors; then nothing is left on it. */
  constructor(of: WebGPUBackend, private readonly problem: MatMulProblem) {
    const {rows, shape: [k, n], pattern, dtype} = problem;
    const shapes = partShapes([k, n], pattern, dtype);
    const most = largestTensor(of.device.limits);
    const largest = 4 * Math.max(rows * k, shapes.values[0] * shapes.values[1], rows * n);
    if (largest > most) {
      throw new Error(`one of its tensors takes ${largest} bytes; this device has room for ${most} in one`);
    }
    // Only the type of the class may be imported: where that package is not installed, this one must load.
    const OwnBackend = of.constructor as new (device: GPUDevice, info: object) => WebGPUBackend;
    this.backend = new OwnBackend(of.device, of.adapterInfo);
    try {
      this.inputs = this.uploadInputs();
      this.matrices = this.uploadMatrices(shapes);
    } catch (error) {
      this.backend.dispose();
      throw error;
    }
  }

  private uploadInputs(): NamedTensorInfoMap {
    const {rows, shape: [k, n], epilogue: {hasBias, prelu}} = this.problem;
    const float = (...shape: number[]) => this.upload(shape, 'float32', randomFloats(shape.reduce((a, b) => a * b, 1)));
    return {
      x: float(rows, k),
      ...(hasBias ? {bias: float(n)} : {}),
      ...(prelu === 'none' ? {} : {preluActivationWeights: float(prelu === 'scalar' ? 1 : n)}),
    };
  }

  private uploadMatrices(shapes: ReturnType<typeof partShapes>): NamedTensorInfoMap[] {
    const {shape: [k, n], pattern, dtype} = this.problem;
    const {tensorDtype, encode} = STORAGE[dtype];
    const size = shapes.values[0] * shapes.values[1];
    const values = repeated(tensorDtype === 'float32' ? new Float32Array(size) : new Int32Array(size),
      encode(randomFloats(DRAWN_NUMBERS), 1, DRAWN_NUMBERS));
    const indices = repeated(new Int32Array(shapes.indices[0] * shapes.indices[1]),
      randomIndices(k, keptRowCount(k, pattern), groupCount(n, pattern), pattern));
    const bytes = 4 * (values.length + indices.length);
    const copies = Math.min(MAX_COPIES, Math.ceil(COLD_BYTES / bytes));
    return Array.from({length: copies}, () => ({
      values: this.upload(shapes.values, tensorDtype, values),
      indices: this.upload(shapes.indices, 'int32', indices),
    }));
  }

  /**
   * Compiles a plan's programs.
   * @throws Error if they don't compile, or their buffers are not available.
   */
  async compile(plan: Plan): Promise<void> {
    const {device} = this.backend;
    device.pushErrorScope('validation');
    const compiling = compileInParallel(this.backend, () => this.run(plan, 0)).then(() => undefined, (e: Error) => e);
    const error = await device.popErrorScope() ?? await compiling;
    if (error) {
      throw new Error(error.message);
    }
  }

  /**
   * Records the product with each copy of the weights.
   * @returns what encodes `runs` products; valid until the next plan is encoded or the output is read.
   */
  encoder(plan: Plan): (runs: number) => EncodePass {
    const {rows, shape: [, n]} = this.problem;
    const bytes = 2 * largestBinding(plan, this.problem) + 4 * rows * n;
    const count = Math.max(1, Math.min(this.matrices.length, Math.floor(RECORDED_BYTES / bytes)));
    const recordings = record(this.backend, Array.from({length: count}, (_, i) => () => this.run(plan, i)));
    return runs => pass => {
      for (let i = 0; i < runs; ++i) {
        replay(pass, recordings[i % count]);
      }
    };
  }

  /**
   * Reads both ends of the output.
   * @throws Error if the GPU refuses the programs.
   */
  async output(plan: Plan): Promise<Float32Array> {
    const {backend} = this;
    const {device} = backend;
    const bytes = 4 * this.problem.rows * this.problem.shape[1];
    const part = Math.min(COMPARED_BYTES, bytes);
    const readable = device.createBuffer({size: 2 * part, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST});
    try {
      device.pushErrorScope('validation');
      let y: GPUBuffer;
      const [recording] = record(backend, [() => this.run(plan, 0, ({dataId}) => {
        y = backend.tensorMap.get(dataId).resource as GPUBuffer;
      })]);
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      replay(pass, recording);
      pass.end();
      encoder.copyBufferToBuffer(y!, 0, readable, 0, part);
      encoder.copyBufferToBuffer(y!, bytes - part, readable, part, part);
      device.queue.submit([encoder.finish()]);
      const error = await device.popErrorScope();
      if (error) {
        throw new Error(error.message);
      }
      await readable.mapAsync(GPUMapMode.READ);
      return new Float32Array(readable.getMappedRange().slice(0));
    } finally {
      readable.destroy();
    }
  }

  dispose(): void {
    flush(this.backend);
    this.backend.dispose();
  }

  private run(plan: Plan, i: number, look?: (y: TensorInfo) => void): void {
    const {shape, pattern, dtype, epilogue: {activation}} = this.problem;
    const {kernelFunc} = webgpuKernels(() => plan).find(({kernelName}) => kernelName === NM_SPARSE_MAT_MUL)!;
    const y = kernelFunc({
      inputs: {...this.inputs, ...this.matrices[i % this.matrices.length]},
      attrs: toAttrs({shape, pattern, dtype, activation, leakyreluAlpha: 0.2}),
      backend: this.backend,
    }) as TensorInfo;
    look?.(y);
    this.backend.disposeData(y.dataId);
  }

  private upload(shape: number[], dtype: 'float32' | 'int32', values: Float32Array | Int32Array): TensorInfo {
    const tensor = this.backend.makeTensorInfo(shape, dtype, values);
    this.backend.uploadToGPU(tensor.dataId);
    return tensor;
  }
}

/** Fills an array with copies of a shorter one. */
function repeated<T extends Float32Array | Int32Array>(array: T, start: T): T {
  array.set(start.subarray(0, Math.min(start.length, array.length)));
  for (let filled = start.length; filled < array.length; filled *= 2) {
    array.copyWithin(filled, 0, Math.min(filled, array.length - filled));
  }
  return array;
}

/** Random, because a GPU multiplies zeros with less heat and so at a higher clock. */
function randomFloats(length: number): Float32Array {
  return repeated(new Float32Array(length), Float32Array.from({length: DRAWN_NUMBERS}, () => 2 * Math.random() - 1));
}

/** Packed offsets of some groups: in each window a random choice, ascending. */
function randomIndices(k: number, keptRows: number, groups: number, pattern: NMPattern): Int32Array {
  const drawn = Math.min(groups, DRAWN_GROUPS);
  const offsets = new Uint8Array(drawn * keptRows);
  for (let group = 0; group < drawn; ++group) {
    for (let j = 0; j < keptRows; j += pattern.n) {
      let rows = Math.min(pattern.m, k - (j / pattern.n) * pattern.m);
      let wanted = Math.min(pattern.n, rows);
      // Each row is taken with the probability that makes every choice equally likely.
      for (let offset = 0, at = group * keptRows + j; wanted > 0; ++offset, --rows) {
        if (Math.random() * rows < wanted) {
          offsets[at++] = offset;
          --wanted;
        }
      }
    }
  }
  return packIndices(offsets, drawn, keptRows, pattern);
}
