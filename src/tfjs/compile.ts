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

/**
 * Compiles the programs that `record` would run for the first time.
 * @param record runs kernels; what they return holds garbage.
 * @returns how many there were.
 * @throws what `record` throws, and Error if a program does not compile.
 */
export async function compileInParallel(backend: WebGPUBackend, record: () => void): Promise<number> {
  const {pipelineCache} = backend as unknown as {pipelineCache: PipelineCache};
  const before = env().getBool(COMPILE_ONLY);
  let pending: Array<[string, Promise<GPUComputePipeline>]> = [];
  env().set(COMPILE_ONLY, true);
  try {
    record();
  } finally {
    env().set(COMPILE_ONLY, before);
    pending = Object.entries(pipelineCache).filter((entry): entry is typeof pending[number] =>
      entry[1] instanceof Promise);
    pending.forEach(([key]) => delete pipelineCache[key]);
  }
  const compiled = await Promise.allSettled(pending.map(async ([key, pipeline]) => {
    pipelineCache[key] = await pipeline;
  }));
  const failed = compiled.find(result => result.status === 'rejected');
  if (failed) {
    throw new Error(`a WebGPU program does not compile: ${(failed.reason as Error).message}`, {cause: failed.reason});
  }
  return pending.length;
}
