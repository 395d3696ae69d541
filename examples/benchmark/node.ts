/**
 * The benchmark in Node, on Dawn: `npm run bench -- [suite …] [--json FILE]`. Bundled by bundle.mjs into one file that
 * needs nothing but Node and dawn.node, for GPU machines without npm: DAWN names the path of dawn.node there.
 */
import {writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {parseArgs} from 'node:util';
import {backend, env, setBackend} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {runSuite, type Row} from './harness/run.js';
import {SUITES} from './harness/suites.js';
import {tableHead, tableRow} from './harness/table.js';

interface Dawn {
  create(options: string[]): GPU;
  globals: object;
}

const {values: {json}, positionals} = parseArgs({options: {json: {type: 'string'}}, allowPositionals: true});
const suites = positionals.length > 0 ? positionals : ['quick'];
const unknown = suites.find(name => !(name in SUITES));
if (unknown !== undefined) {
  throw new Error(`bench: there is no suite '${unknown}'; the suites are ${Object.keys(SUITES).join(', ')}.`);
}

const load = createRequire(import.meta.url);
const {create, globals} = process.env.DAWN ?
  load(process.env.DAWN) as Dawn : await import('webgpu') as unknown as Dawn;
Object.assign(globalThis, globals);
// Kept by navigator, since Dawn crashes once nothing refers to it any more.
const gpu = create(['enable-dawn-features=allow_unsafe_apis', 'disable-dawn-features=timestamp_quantization']);
Object.defineProperty(globalThis, 'navigator', {value: {gpu, userAgent: 'node'}, configurable: true});
// tfjs-backend-webgpu looks for navigator.gpu when it is loaded.
await import('@tensorflow/tfjs-backend-webgpu');
env().set('WEBGPU_CPU_FORWARD', false);
await setBackend('webgpu');
const {device, adapterInfo} = backend() as WebGPUBackend;
device.addEventListener('uncapturederror', event => {
  console.error((event as GPUUncapturedErrorEvent).error.message);
  process.exit(1);
});

console.log(`adapter: ${JSON.stringify(adapterInfo)}`);
const rows: Row[] = [];
for (const name of suites) {
  console.log(`\nsuite ${name}\n${tableHead()}`);
  rows.push(...await runSuite(SUITES[name], row => console.log(tableRow(row))));
}
if (json) {
  writeFileSync(json, JSON.stringify({adapter: adapterInfo, date: new Date().toISOString(), rows}, null, 1));
}
process.exit(0);
