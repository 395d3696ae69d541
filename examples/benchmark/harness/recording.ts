/**
 * Records what tfjs dispatches for a product, to run it again and again without JavaScript: tfjs takes 20 to 50 µs to
 * encode a program that small products keep the GPU busy with for 3. A recorded one takes next to nothing, so a second
 * of encoding does not stand between two rounds of 10 ms, with a GPU that idles and cools.
 *
 * The price is that this file reaches into what tfjs-backend-webgpu (4.22) keeps private; nothing else here does.
 */
import {env, type Tensor} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';

interface Internals {
  computePassEncoder: GPUComputePassEncoder | null;
}

interface BufferManagerInternals {
  freeBuffers: Map<string, GPUBuffer[]>;
  numFreeBuffers: number;
}

interface Dispatch {
  pipeline: GPUComputePipeline;
  bindGroup: GPUBindGroup;
  workgroups: [x: number, y?: number, z?: number];
}

/** All dispatches of one product, in order. */
export type Recording = Dispatch[];

/** Submits what tfjs has encoded so far; releases what waited for that. */
export function flush(webgpu: WebGPUBackend): void {
  webgpu.ensureCommandEncoderReady();
  webgpu.endComputePassEncoder();
  webgpu.submitQueue();
}

/**
 * Records `product(0)` … `product(count-1)` of each product. Memory of disposed outputs is given to others only after a
 * submission, so each recording has outputs of its own. Nothing else may use tfjs until the recordings have been run;
 * then {@link flush}.
 */
export function record(webgpu: WebGPUBackend, products: ((i: number) => Tensor)[], count: number): Recording[][] {
  flush(webgpu);
  const internals = webgpu as unknown as Internals;
  const batch = env().get('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE') as number;
  env().set('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE', Infinity);
  try {
    return products.map(product => Array.from({length: count}, (_, i) => {
      const recorder = new Recorder();
      internals.computePassEncoder = recorder as unknown as GPUComputePassEncoder;
      product(i).dispose();
      return recorder.dispatches;
    }));
  } finally {
    internals.computePassEncoder = null;
    env().set('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE', batch);
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
    throw new Error('record: the product does more than dispatch (it uploads or downloads), so it cannot be repeated.');
  }
}

/** Encodes a recorded product. */
export function replay(pass: GPUComputePassEncoder, recording: Recording): void {
  for (const {pipeline, bindGroup, workgroups} of recording) {
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    pass.dispatchWorkgroups(...workgroups);
  }
}

/** Gives the memory of disposed tensors back to the GPU: tfjs keeps it for tensors of the same size, forever. */
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
