/**
 * WebGPU backends of a test's own, each with a device of its own and under a name of its own, so that a test may lose
 * the device or compare two.
 */
import * as tf from '@tensorflow/tfjs-core';
import {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {backendName, watchDevice} from './backend.js';

/** Registers a backend with the kernels that 'webgpu' has. A name cannot have `_` in it: tfjs splits its keys there. */
export function registerOwnBackend(name: string): void {
  tf.registerBackend(name, async () => {
    const adapter = (await navigator.gpu.requestAdapter())!;
    const device = await adapter.requestDevice();
    watchDevice(device);
    return new WebGPUBackend(device, adapter.info);
  });
  tf.copyRegisteredKernels('webgpu', name);
}

export function forgetOwnBackend(name: string): void {
  const {device} = tf.findBackend(name) as WebGPUBackend;
  tf.removeBackend(name);
  tf.getKernelsForBackend(name).forEach(({kernelName}) => tf.unregisterKernel(kernelName, name));
  device.destroy();
}

/** Runs on the backend of that name, then returns to the usual one: tests must not leave another backend set. */
export async function onOwnBackend(name: string, run: (backend: WebGPUBackend) => Promise<void>): Promise<void> {
  await tf.setBackend(name);
  try {
    await run(tf.backend() as WebGPUBackend);
  } finally {
    await tf.setBackend(backendName);
  }
}
