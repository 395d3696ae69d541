/**
 * The suite `backends` in a page: backends.html?backend=wasm,webgl, with `&sizes=1x1024x1024,…`, `&patterns=8:32v32,…`
 * and `&report`, which POSTs the table and the JSON to /result, for whoever drives the browser.
 */
import {setWasmPaths} from '@tensorflow/tfjs-backend-wasm';
import '@tensorflow/tfjs-backend-webgl';
import {measureBackend, PATTERNS, SIZES, type BackendRow, type Size} from '../harness/backends.js';

const query = new URLSearchParams(location.search);
const list = (name: string) => query.get(name)?.split(',');
const output = document.getElementById('output')!;

setWasmPaths('./'); // bundle.mjs copies the binaries beside this page
const sizes = list('sizes')?.map(size => size.split('x').map(Number) as Size) ?? SIZES;
const rows: BackendRow[] = [];
try {
  for (const backend of list('backend') ?? ['wasm', 'webgl']) {
    rows.push(...await measureBackend(
      backend, sizes, list('patterns') ?? PATTERNS, query.get('dtype') === 'float16' ? 'float16' : 'float32',
      line => output.append(`${line}\n`)));
  }
} catch (error) {
  output.append(String((error as Error).stack));
}
if (query.has('report')) {
  const body = `${navigator.userAgent}\n${output.textContent}\n${JSON.stringify({where: navigator.userAgent, rows})}`;
  await fetch('/result', {method: 'POST', body});
}
