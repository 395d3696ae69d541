/**
 * Records what tfjs dispatches, to run it again without JavaScript. tfjs takes 20 to 50 µs to encode a program; a small
 * one runs for 3 µs, so a GPU that tfjs feeds idles and lowers its clock. A recorded dispatch takes three calls to
 * encode.
 *
 * tfjs-backend-webgpu (4.22) has no hook for this, so its pass encoder is replaced meanwhile. tune() and the benchmark
 * use this: the kernels' buffers are real, and valid until the next flush. trace.ts replaces the encoder as well, for
 * recordings that live longer and own their buffers.
 */
import {env} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {BATCH_SIZE, internalsOf} from './internals.js';

interface BufferManagerInternals {
  freeBuffers: Map<string, GPUBuffer[]>;
  numFreeBuffers: number;
}

interface Dispatch {
  pipeline: GPUComputePipeline;
  bindGroup: GPUBindGroup;
  workgroups: [x: number, y?: number, z?: number];
}

/** The dispatches of one function, in order. */
export type Recording = Dispatch[];

/** Submits what tfjs has encoded so far, which also returns the buffers of disposed tensors to tfjs's pool. */
export function flush(webgpu: WebGPUBackend): void {
  webgpu.ensureCommandEncoderReady();
  webgpu.endComputePassEncoder();
  webgpu.submitQueue();
}

/**
 * Records the dispatches of functions that run kernels; none of them reaches the GPU.
 *
 * A recording is valid until the next {@link flush}: until then no buffer of a disposed tensor is given to another, so
 * each recording has buffers of its own. Nothing else may use the backend meanwhile.
 * @throws Error if a function copies between buffers, as uploads and downloads do: that cannot be repeated.
 */
export function record(webgpu: WebGPUBackend, functions: ReadonlyArray<() => void>): Recording[] {
  flush(webgpu);
  const internals = internalsOf(webgpu);
  const batchSize = env().getNumber(BATCH_SIZE);
  env().set(BATCH_SIZE, Infinity); // else tfjs submits after every 15 dispatches
  try {
    return functions.map(run => {
      const recorder = new Recorder();
      internals.computePassEncoder = recorder as unknown as GPUComputePassEncoder;
      run();
      return recorder.dispatches;
    });
  } finally {
    internals.computePassEncoder = null;
    env().set(BATCH_SIZE, batchSize);
  }
}

/** The part of a GPUComputePassEncoder that tfjs uses. */
class Recorder {
  readonly dispatches: Recording = [];
  private pipeline?: GPUComputePipeline;
  private bindGroup?: GPUBindGroup;

  setPipeline(pipeline: GPUComputePipeline): void {
    this.pipeline = pipeline;
  }

  setBindGroup(_: number, bindGroup: GPUBindGroup): void {
    this.bindGroup = bindGroup;
  }

  dispatchWorkgroups(...workgroups: Dispatch['workgroups']): void {
    this.dispatches.push({pipeline: this.pipeline!, bindGroup: this.bindGroup!, workgroups});
  }

  end(): never {
    throw new Error('record: the function copies buffers (uploads or downloads), so it cannot be repeated.');
  }
}

/** Encodes a recording. */
export function replay(pass: GPUComputePassEncoder, recording: Recording): void {
  for (const {pipeline, bindGroup, workgroups} of recording) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(...workgroups);
  }
}

/** Destroys the buffers of disposed tensors, which tfjs otherwise keeps for tensors of the same size. */
export function freeUnusedBuffers(webgpu: WebGPUBackend): void {
  flush(webgpu);
  const manager = webgpu.bufferManager;
  const internals = manager as unknown as BufferManagerInternals;
  for (const buffer of [...internals.freeBuffers.values()].flat()) {
    manager.numBytesAllocated -= buffer.size;
    buffer.destroy();
  }
  internals.freeBuffers.forEach(buffers => buffers.splice(0));
  internals.numFreeBuffers = 0;
}
