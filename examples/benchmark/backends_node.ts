/**
 * The suite `backends` in Node: nmSparseMatMul against tf.matMul on cpu, wasm or tensorflow, as ratios.
 *
 *   node examples/benchmark/bundle.mjs build/backends.mjs examples/benchmark/backends_node.ts
 *   node build/backends.mjs [backend …] [--json FILE] [--sizes 1x1024x1024,…] [--patterns 8:32v32,…] [--dtype float16]
 *
 * `tensorflow` needs @tensorflow/tfjs-node, which is found from the folder that TFJS_NODE names.
 */
import {writeFileSync} from 'node:fs';
import {createRequire} from 'node:module';
import {dirname} from 'node:path';
import {parseArgs} from 'node:util';
import '@tensorflow/tfjs-backend-cpu';
import {setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
import {measureBackend, PATTERNS, SIZES, type BackendRow, type Size} from './harness/backends.js';

const {values, positionals} = parseArgs({
  options: {
    json: {type: 'string'}, sizes: {type: 'string'}, patterns: {type: 'string'},
    dtype: {type: 'string', default: 'float32'},
  },
  allowPositionals: true,
});
const backends = positionals.length > 0 ? positionals : ['cpu', 'wasm'];
const sizes = values.sizes?.split(',').map(size => size.split('x').map(Number) as Size) ?? SIZES;
const patterns = values.patterns?.split(',') ?? PATTERNS;

// Bundled, the wasm backend does not find its binaries.
const resolver = createRequire(`${process.cwd()}/`);
const wasmFolder = `${dirname(resolver.resolve('@tensorflow/tfjs-backend-wasm/package.json'))}/dist/`;
Object.assign(globalThis, {__dirname: wasmFolder});
setWasmPaths(wasmFolder);
if (backends.includes('tensorflow')) {
  createRequire(`${process.env.TFJS_NODE ?? process.cwd()}/`)('@tensorflow/tfjs-node');
}
const rows: BackendRow[] = [];
for (const backend of backends) {
  rows.push(...await measureBackend(
    backend, sizes, patterns, values.dtype as BackendRow['dtype'], line => console.log(line)));
}
if (values.json) {
  writeFileSync(values.json, `${JSON.stringify({where: `Node ${process.version}`, rows}, null, 1)}\n`);
}
