/**
 * Gives Node a `navigator.gpu`, through Dawn (npm `webgpu`), so that tfjs-backend-webgpu runs outside a page. It has to
 * be evaluated before tfjs-backend-webgpu is, which registers itself only where it finds `navigator.gpu`; hence a file
 * of its own, which test/run.mjs loads first.
 *
 * The object that `create` returns must stay referenced for as long as the GPU is used. That keeps Node's event loop
 * alive: mocha runs with --exit.
 */
import {create, globals} from 'webgpu';

Object.assign(globalThis, globals);
const gpu = create([
  // The features Chromium puts behind --enable-unsafe-webgpu.
  'enable-dawn-features=allow_unsafe_apis',
  // Dawn then clears workgroup memory with a loop, where SwiftShader would compile a store for every word of it: a
  // shader with 16 KB compiles twenty times faster (6.5 s to 0.3 s), and means the same.
  'disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension',
]);
if (!('navigator' in globalThis)) { // Node 20 has none, Node 21 and later do
  Object.defineProperty(globalThis, 'navigator', {value: {}});
}
Object.defineProperty(navigator, 'gpu', {value: gpu});

const adapter = await gpu.requestAdapter();
if (adapter === null) {
  throw new Error('Dawn finds no GPU adapter. Point VK_ICD_FILENAMES at a Vulkan driver (npm test finds SwiftShader, ' +
      'beside Chromium, by itself)');
}
console.log(`WebGPU adapter: ${adapter.info.vendor} ${adapter.info.architecture} ${adapter.info.description}`);
