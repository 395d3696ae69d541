/**
 * Gives Node a WebGPU backend with exact GPU timestamps: from dawn.node at the path DAWN where that is set (a machine
 * without npm), else from the package webgpu. Any GPU error ends the process: no figure may come from a broken shader.
 *
 * DAWN_DISABLE names further features to switch off: `use_vulkan_zero_initialize_workgroup_memory_extension` has
 * SwiftShader compile twenty times faster (test/support/dawn.ts).
 */
import {createRequire} from 'node:module';
import {backend, env, setBackend} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';

interface Dawn {
  create(options: string[]): GPU;
  globals: object;
}

export async function setUpDawn(): Promise<WebGPUBackend> {
  const load = createRequire(import.meta.url);
  const {create, globals} = process.env.DAWN ?
    load(process.env.DAWN) as Dawn : await import('webgpu') as unknown as Dawn;
  Object.assign(globalThis, globals);
  // Kept by navigator, since Dawn crashes once nothing refers to it any more.
  const disabled = ['timestamp_quantization', process.env.DAWN_DISABLE ?? []].flat().join(',');
  const gpu = create(['enable-dawn-features=allow_unsafe_apis', `disable-dawn-features=${disabled}`]);
  Object.defineProperty(globalThis, 'navigator', {value: {gpu, userAgent: 'node'}, configurable: true});
  // tfjs-backend-webgpu looks for navigator.gpu when it is loaded.
  await import('@tensorflow/tfjs-backend-webgpu');
  env().set('WEBGPU_CPU_FORWARD', false);
  if (!(await setBackend('webgpu'))) {
    throw new Error('bench: Dawn finds no GPU. VK_ICD_FILENAMES can name a Vulkan driver, LD_LIBRARY_PATH its loader.');
  }
  const webgpu = backend() as WebGPUBackend;
  webgpu.device.addEventListener('uncapturederror', event => {
    console.error((event as GPUUncapturedErrorEvent).error.message);
    process.exit(1);
  });
  return webgpu;
}
