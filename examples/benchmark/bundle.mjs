/**
 * Bundles what lies here, from the sources of the package:
 *
 *   bundle.mjs [OUT.mjs [ENTRY.ts]]   the Node benchmark, or another entry, as one self-contained file; `webgpu` stays
 *                                     outside, since it is a native module: without it, the environment variable DAWN
 *                                     names a dawn.node
 *   bundle.mjs --run ARGUMENTS        the benchmark, and runs it (`npm run bench`)
 *   bundle.mjs --plot JSON OUTDIR     the charts of a run
 *   bundle.mjs --page [OUTDIR]        the benchmark in a page: serve OUTDIR and open it
 */
import {spawnSync} from 'node:child_process';
import {copyFileSync, mkdirSync, readdirSync} from 'node:fs';
import {build} from 'esbuild';
import {wasmKernels} from '../../kernels/wasm/plugin.mjs';

const HERE = 'examples/benchmark';

const COMMON = {
  bundle: true,
  format: 'esm',
  // From source, register.ts counts as free of side effects to esbuild (package.json speaks of dist).
  ignoreAnnotations: true,
  logLevel: 'warning',
  plugins: [wasmKernels],
};

function bundleForNode(outfile, entry) {
  return build({
    ...COMMON,
    entryPoints: [entry],
    outfile,
    platform: 'node',
    external: ['webgpu'],
    // tfjs asks for Node's modules with require.
    banner: {js: "import {createRequire as ofModule} from 'node:module'; const require = ofModule(import.meta.url);"},
  });
}

async function run(entry, outfile, args) {
  await bundleForNode(outfile, entry);
  process.exitCode = spawnSync(process.execPath, [outfile, ...args], {stdio: 'inherit'}).status ?? 1;
}

async function bundlePage(folder) {
  const entryPoints = ['page', 'backends', 'models'].map(name => `${HERE}/page/${name}.ts`);
  await build({...COMMON, entryPoints, outdir: folder, platform: 'browser'});
  mkdirSync(folder, {recursive: true});
  for (const page of ['index.html', 'backends.html', 'models.html']) {
    copyFileSync(`${HERE}/page/${page}`, `${folder}/${page}`);
  }
  const wasm = 'node_modules/@tensorflow/tfjs-backend-wasm/dist';
  for (const binary of readdirSync(wasm).filter(name => name.endsWith('.wasm'))) {
    copyFileSync(`${wasm}/${binary}`, `${folder}/${binary}`);
  }
  console.log(`${folder} is ready: serve it, and open it in a browser. ?suite=quick runs at once.`);
}

const [first, ...rest] = process.argv.slice(2);
if (first === '--run') {
  await run(`${HERE}/node.ts`, 'build/bench.mjs', rest);
} else if (first === '--plot') {
  await run(`${HERE}/plot.ts`, 'build/plot.mjs', rest);
} else if (first === '--page') {
  await bundlePage(rest[0] ?? 'build/bench-page');
} else {
  const outfile = first ?? 'build/bench.mjs';
  await bundleForNode(outfile, rest[0] ?? `${HERE}/node.ts`);
  console.log(`${outfile} is ready: run it with node; DAWN=path/to/dawn.node where there is no package webgpu.`);
}
