/** Gives a page the backend webgpu. */
import {backend, env, setBackend} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import '@tensorflow/tfjs-backend-webgpu';

/** @param complain hears of every GPU error: no figure may come from a broken shader. */
export async function setUpWebGPU(complain: (problem: string) => void): Promise<WebGPUBackend> {
  env().set('WEBGPU_CPU_FORWARD', false);
  if (!navigator.gpu || !(await setBackend('webgpu'))) {
    throw new Error('This browser has no WebGPU.');
  }
  const webgpu = backend() as WebGPUBackend;
  webgpu.device.addEventListener('uncapturederror', ({error}) => complain(`The GPU reports: ${error.message}`));
  return webgpu;
}
