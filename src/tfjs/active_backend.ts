/**
 * Which backend warmUp and tune work on: the one that is active when they are called. A model that predicts on another
 * one is moved there synchronously, which breaks WebGPU; so a switch meanwhile is refused.
 */
import {backend, engine, getBackend, ready, type KernelBackend} from '@tensorflow/tfjs-core';

/**
 * Waits until tfjs is ready.
 * @returns the active backend.
 * @throws Error if another one was active at the call.
 */
export async function activeBackend(caller: string): Promise<KernelBackend> {
  const before: KernelBackend | undefined = engine().registry[getBackend()];
  await ready();
  checkActive(caller, before ?? backend());
  return backend();
}

/** @throws Error if `expected` is not the active backend any more. */
export function checkActive(caller: string, expected: unknown): void {
  if (backend() !== expected) {
    throw new Error(
      `${caller}: the active backend is '${getBackend()}' meanwhile; await ${caller} before you set another.`);
  }
}
