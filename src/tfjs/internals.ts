/**
 * The private fields of tfjs-backend-webgpu and tfjs-core (4.22) that recordings and prepared programs use, and a way
 * to override fields for a while.
 */
import {env, type BackendValues, type DataType} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';

/** What tfjs stores for a dataId. */
export interface TensorData {
  /** Of the buffer. A cast that shares the buffer gives the tensor another dtype. */
  dtype: DataType;
  /** Null or undefined if the data lies on the GPU only. */
  values?: BackendValues | null;
  /** A GPUBuffer; null or undefined if the data lies on the CPU only. */
  resource?: unknown;
  /** 0 once the data is disposed. */
  refCount: number;
}

export type UniformData = Array<{type: string; data: number[]}>;

/** The flag that says how many dispatches tfjs collects before it submits. */
export const BATCH_SIZE = 'WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE';

export interface WebGPUInternals {
  /** Null right after a submission. */
  commandEncoder: GPUCommandEncoder | null;
  computePassEncoder: GPUComputePassEncoder | null;
  /** Of tensors that encoded commands use: their buffers are not reused before the submission. */
  commandQueueOwnedIds: WeakSet<object>;
  dispatchCountInPass: number;
  activeTimers: unknown;
  pipelineCache: Record<string, unknown>;
  uniformPendingDisposal: GPUBuffer[];
  makeUniforms(uniforms: UniformData): GPUBufferBinding;
}

export function internalsOf(webgpu: WebGPUBackend): WebGPUInternals {
  return webgpu as unknown as WebGPUInternals;
}

/** Counts encoded dispatches, and submits when their number reaches tfjs's batch size. */
export function countDispatches(webgpu: WebGPUBackend, count: number): void {
  const internals = internalsOf(webgpu);
  internals.dispatchCountInPass += count;
  if (internals.dispatchCountInPass >= env().getNumber(BATCH_SIZE)) {
    webgpu.endComputePassEncoder();
    webgpu.submitQueue();
  }
}

/** @returns what is stored for a tensor's data; data on another backend is moved here. */
export function dataOf(webgpu: WebGPUBackend, dataId: object): TensorData {
  return webgpu.tensorMap.get(dataId) as TensorData;
}

/**
 * Gives an object another value or method, although the field may be private or inherited.
 * @returns a function that restores what was there.
 */
export function override(target: object, name: string, value: unknown): () => void {
  const before = Object.getOwnPropertyDescriptor(target, name);
  Object.defineProperty(target, name, {configurable: true, enumerable: true, writable: true, value});
  return () => {
    if (before) {
      Object.defineProperty(target, name, before);
    } else {
      delete (target as Record<string, unknown>)[name];
    }
  };
}

const tracing = new WeakSet<WebGPUBackend>();

/**
 * Marks that a model is being captured: a trace (trace.ts) is made or prepared.
 * @returns a function that removes the mark.
 */
export function markTracing(webgpu: WebGPUBackend): () => void {
  tracing.add(webgpu);
  return () => tracing.delete(webgpu);
}

/** Whether a model is being captured, so that the caller runs as part of it. */
export function isTracing(webgpu: WebGPUBackend): boolean {
  return tracing.has(webgpu);
}

/** Whether programs run as in any predict: they are not traced, timed by tf.time, or compiled without being run. */
export function runsPlainly(webgpu: WebGPUBackend): boolean {
  const isTimed = internalsOf(webgpu).activeTimers != null;
  return !isTracing(webgpu) && !isTimed && !env().getBool('WEBGPU_ENGINE_COMPILE_ONLY');
}
