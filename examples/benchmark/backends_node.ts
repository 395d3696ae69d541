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
import {geometricMean, measureOn, PATTERNS, SIZES, type BackendRow, type Size} from './harness/backends.js';

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
  console.log(`${backend.padEnd(22)}${patterns.map(pattern => pattern.padStart(10)).join('')}`);
  for (const size of sizes) {
    const measured: BackendRow[] = [];
    for (const pattern of patterns) {
      measured.push(await measureOn(backend, size, pattern, values.dtype as BackendRow['dtype']));
    }
    rows.push(...measured);
    console.log(size.join(' × ').padEnd(22) + measured.map(row => row.overMatMul.toFixed(2).padStart(10)).join(''));
  }
  const means = patterns.map(pattern => geometricMean(
    rows.filter(row => row.backend === backend && row.pattern === pattern).map(row => row.overMatMul)));
  console.log('geometric mean'.padEnd(22) + means.map(mean => mean.toFixed(2).padStart(10)).join(''));
}
if (values.json) {
  writeFileSync(values.json, `${JSON.stringify(rows, null, 1)}\n`);
}
