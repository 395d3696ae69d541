/**
 * The places a test runs in, and how a test file's name says which of them it is for: the words between its name
 * and `.test.ts`. No word: all of them. One place to change it, for the bundler, the runner and the count all ask here.
 *
 *   gradient.test.ts            everywhere
 *   limits.webgpu.test.ts       where there is WebGPU: in Node (Dawn) and in Chromium; likewise
 *                               .cpu, .wasm, .tensorflow and .webgl
 *   candidates.node.test.ts     in Node, once: on cpu; also for tests that touch no backend
 *   shaders.webgpu.node.test.ts in Node, on Dawn
 *   plan_cache.browser.test.ts  in Chromium, on webgpu and on webgl
 */

/**
 * @typedef {'cpu' | 'wasm' | 'tensorflow' | 'webgpu' | 'webgl'} Backend
 * @typedef {{name: string, place: 'node' | 'browser', backend: Backend}} Runner
 */

/** @type {Runner[]} */
export const RUNNERS = [
  {name: 'node-cpu', place: 'node', backend: 'cpu'},
  {name: 'node-wasm', place: 'node', backend: 'wasm'},
  {name: 'node-tensorflow', place: 'node', backend: 'tensorflow'},
  {name: 'node-webgpu', place: 'node', backend: 'webgpu'},
  {name: 'karma-wasm', place: 'browser', backend: 'wasm'},
  {name: 'karma-webgpu', place: 'browser', backend: 'webgpu'},
  {name: 'karma-webgl', place: 'browser', backend: 'webgl'},
];

const PLACES = ['node', 'browser'];
const BACKENDS = ['cpu', 'wasm', 'tensorflow', 'webgpu', 'webgl'];

/** Whether `runner` runs the test file at this path. */
export function runsIn(runner, path) {
  const words = path.split('/').pop().split('.').slice(1, -2);
  const unknown = words.find(word => !PLACES.includes(word) && !BACKENDS.includes(word));
  if (unknown !== undefined) {
    throw new Error(`${path}: '${unknown}' is neither a place (${PLACES}) nor a backend (${BACKENDS})`);
  }
  const place = words.find(word => PLACES.includes(word)) ?? runner.place;
  const backend = words.find(word => BACKENDS.includes(word)) ?? (words.includes('node') ? 'cpu' : runner.backend);
  return place === runner.place && backend === runner.backend;
}

/** Where bundles made by hand lie. `npm test` has a folder of its own each time, so that two can run at once. */
export const BUNDLES = 'build/test';

/** Where the one bundle of a karma runner lies, in the folder of all bundles. */
export function browserBundle(bundles, runner) {
  return `${bundles}/browser/${runner.name}.js`;
}
