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
// allow_unsafe_apis: the features Chromium puts behind --enable-unsafe-webgpu.
const gpu = create(['enable-dawn-features=allow_unsafe_apis']);
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
