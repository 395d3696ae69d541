/**
 * Compiles WebGPU programs in parallel, before they are needed. With the flag WEBGPU_ENGINE_COMPILE_ONLY, tfjs starts
 * to compile every program that it would run, and runs none of them.
 *
 * The backend's own way to wait for them, checkCompileCompletionAsync, is not used: until it is done, any other use of
 * the same programs throws, and programs added meanwhile are lost (tfjs 4.22 then pairs keys with the wrong pipelines).
 * Here pending programs leave the cache at once, and come back compiled.
 */
import {env} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';

type PipelineCache = Record<string, GPUComputePipeline | Promise<GPUComputePipeline>>;

const COMPILE_ONLY = 'WEBGPU_ENGINE_COMPILE_ONLY';

/** Programs that are being compiled. */
export interface Compilation {
  /** How many there are. */
  programs: number;
  /** Settled when all are compiled, or have failed. Rejected with an Error if a program does not compile. */
  done: Promise<void>;
}

/** The programs that are being compiled on a backend, by shader key. */
const compiling = new WeakMap<WebGPUBackend, Map<string, Promise<GPUComputePipeline>>>();

/**
 * Starts to compile the programs that `record` would run for the first time. What an earlier call has started to
 * compile is not compiled again, but waited for.
 * @param record runs kernels; what they return holds garbage.
 * @throws what `record` throws.
 */
export function startCompiling(backend: WebGPUBackend, record: () => void): Compilation {
  const {pipelineCache} = backend as unknown as {pipelineCache: PipelineCache};
  const earlier = compiling.get(backend) ?? new Map<string, Promise<GPUComputePipeline>>();
  compiling.set(backend, earlier);
  const before = env().getBool(COMPILE_ONLY);
  const pending = new Map<string, Promise<GPUComputePipeline>>();
  const lent = [...earlier].filter(([key]) => !(key in pipelineCache));
  for (const [key, pipeline] of lent) {
    const get = () => {
      pending.set(key, pipeline);
      return pipeline;
    };
    Object.defineProperty(pipelineCache, key, {get, configurable: true, enumerable: false});
  }
  env().set(COMPILE_ONLY, true);
  try {
    record();
  } finally {
    env().set(COMPILE_ONLY, before);
    lent.forEach(([key]) => delete pipelineCache[key]);
    for (const [key, pipeline] of Object.entries(pipelineCache)) {
      if (pipeline instanceof Promise) {
        delete pipelineCache[key];
        pending.set(key, pipeline);
      }
    }
  }
  pending.forEach((pipeline, key) => earlier.set(key, pipeline));
  return {programs: pending.size, done: finish(pipelineCache, pending, earlier)};
}

/** Puts programs into the cache once they are compiled. */
async function finish(
    cache: PipelineCache, pending: Map<string, Promise<GPUComputePipeline>>,
    all: Map<string, Promise<GPUComputePipeline>>): Promise<void> {
  const results = await Promise.allSettled([...pending].map(async ([key, pipeline]) => {
    try {
      cache[key] = await pipeline;
    } finally {
      all.delete(key);
    }
  }));
  const failed = results.find(result => result.status === 'rejected');
  if (failed) {
    throw new Error(`a WebGPU program does not compile: ${(failed.reason as Error).message}`, {cause: failed.reason});
  }
}

/**
 * Compiles the programs that `record` would run for the first time.
 * @returns how many there were.
 * @throws what `record` throws, and Error if a program does not compile.
 */
export async function compileInParallel(backend: WebGPUBackend, record: () => void): Promise<number> {
  const {programs, done} = startCompiling(backend, record);
  await done;
  return programs;
}
