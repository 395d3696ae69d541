/**
 * A WebGPU program that runs many times with tensors of the same shapes. For every execution tfjs makes the shader key,
 * the uniforms, a uniform buffer with a write to it, and the layout of the bind group. Here the second execution keeps
 * what tfjs makes; later ones only need a bind group and a dispatch. On Dawn's null device that takes 26 µs for a
 * whole nmSparseMatMul, where tf.fused.matMul takes 41.
 *
 * The steps are those of runWebGPUProgram and recordAndSubmit (tfjs-backend-webgpu 4.22, backend_webgpu.ts).
 */
import {engine, type TensorInfo} from '@tensorflow/tfjs-core';
import type {WebGPUBackend, WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {
  countDispatches, dataOf, internalsOf, override, runsPlainly, type UniformData, type WebGPUInternals,
} from './internals.js';

/** What is kept of an execution by tfjs. */
interface Prepared {
  webgpu: WebGPUBackend;
  pipeline: GPUComputePipeline;
  layout: GPUBindGroupLayout;
  uniforms: GPUBufferBinding;
  /** dtypes of the buffers read; tfjs compiles a program for each combination. */
  inputDtypes: string[];
}

export class PreparedProgram {
  private prepared: Prepared | undefined;
  private hasRun = false;
  private readonly ownKey: string;

  /** @param uniforms those that the program declares, in its order. */
  constructor(readonly program: WebGPUProgram, private readonly uniforms: UniformData) {
    this.ownKey = program.shaderKey;
  }

  /**
   * Runs the program.
   * @param inputs of the same shapes in all executions.
   * @returns what it writes, float32 of the program's outputShape.
   */
  run(webgpu: WebGPUBackend, inputs: TensorInfo[]): TensorInfo {
    const internals = internalsOf(webgpu);
    // A trace must see all that tfjs does, and tf.time() measures in tfjs's own way.
    if (!runsPlainly(webgpu)) {
      return this.runByTfjs(webgpu, inputs);
    }
    if (!this.hasRun) {
      this.hasRun = true; // what runs once needs no uniform buffer of its own
      return this.runByTfjs(webgpu, inputs);
    }
    inputs.forEach(({dataId}) => webgpu.uploadToGPU(dataId));
    return this.isPrepared(webgpu, internals, inputs) ?
      this.runPrepared(webgpu, internals, this.prepared!, inputs) : this.runAndPrepare(webgpu, internals, inputs);
  }

  private runByTfjs(webgpu: WebGPUBackend, inputs: TensorInfo[]): TensorInfo {
    this.program.shaderKey = this.ownKey; // tfjs appends to it
    return webgpu.runWebGPUProgram(this.program, inputs, 'float32', this.uniforms);
  }

  private isPrepared(webgpu: WebGPUBackend, {pipelineCache}: WebGPUInternals, inputs: TensorInfo[]): boolean {
    const {prepared, program} = this;
    return prepared?.webgpu === webgpu && pipelineCache[program.shaderKey] === prepared.pipeline &&
      inputs.every(({dataId}, i) => dataOf(webgpu, dataId).dtype === prepared.inputDtypes[i]);
  }

  private runAndPrepare(webgpu: WebGPUBackend, internals: WebGPUInternals, inputs: TensorInfo[]): TensorInfo {
    let uniforms: GPUBufferBinding | undefined;
    const makeUniforms = internals.makeUniforms.bind(webgpu);
    const restore = override(webgpu, 'makeUniforms', (data: UniformData) => {
      // A buffer of our own, which is freed with this object. On a backend that only measures, tfjs's manager keeps it
      // and destroys it with the backend.
      const undo = engine().backend !== webgpu ? () => undefined : override(webgpu.bufferManager, 'acquireBuffer',
        (size: number, usage: number) => webgpu.device.createBuffer({size, usage}));
      try {
        uniforms = makeUniforms(data);
      } finally {
        undo();
      }
      internals.uniformPendingDisposal.pop(); // not returned to tfjs's pool
      return uniforms;
    });
    let output: TensorInfo;
    try {
      output = this.runByTfjs(webgpu, inputs);
    } finally {
      restore();
    }
    const pipeline = internals.pipelineCache[this.program.shaderKey] as GPUComputePipeline;
    this.prepared = uniforms && {
      webgpu, pipeline, layout: pipeline.getBindGroupLayout(0), uniforms,
      inputDtypes: inputs.map(({dataId}) => dataOf(webgpu, dataId).dtype),
    };
    return output;
  }

  private runPrepared(
      webgpu: WebGPUBackend, internals: WebGPUInternals, {pipeline, layout, uniforms}: Prepared, inputs: TensorInfo[]):
      TensorInfo {
    const {outputShape, dispatch} = this.program;
    const output = webgpu.makeTensorInfo(outputShape, 'float32');
    webgpu.uploadToGPU(output.dataId);
    const tensors = [output, ...inputs];
    const entries: GPUBindGroupEntry[] = tensors.map(({dataId}, binding) => {
      internals.commandQueueOwnedIds.add(dataId);
      return {binding, resource: {buffer: dataOf(webgpu, dataId).resource as GPUBuffer}};
    });
    entries.push({binding: tensors.length, resource: uniforms});
    const bindGroup = webgpu.device.createBindGroup({layout, entries});
    webgpu.ensureCommandEncoderReady();
    const pass = internals.computePassEncoder ??= internals.commandEncoder!.beginComputePass({});
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(...dispatch);
    countDispatches(webgpu, 1);
    return output;
  }
}
