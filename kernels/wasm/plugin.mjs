/**
 * esbuild plugin: compiles assembly/ (AssemblyScript) where kernel.ts imports a .wasm file, and embeds the bytes. Users
 * configure nothing, and no binary lies in the repository. Bundle in the repository's root.
 */
import {resolve} from 'node:path';
import asc from 'assemblyscript/asc';

/** Source and features by the name of the imported file. */
const MODULES = {
  'nm_kernels.wasm': {entry: 'index.ts', features: ['simd']},
  'nm_kernels_relaxed.wasm': {entry: 'relaxed.ts', features: ['simd', 'relaxed-simd']},
};

/** Compiled once per process. @type {Map<string, Promise<Uint8Array>>} */
const compiled = new Map();

async function compile(name) {
  let binary;
  const {entry, features} = MODULES[name];
  const source = resolve('kernels/wasm/assembly', entry);
  const {error, stderr} = await asc.main(
    [source, '--baseDir', '/', '--outFile', name, '--runtime', 'stub', '--importMemory', '--noExportMemory', '-O3s',
      ...features.flatMap(feature => ['--enable', feature])],
    {writeFile: (_, contents) => {
      binary = contents;
    }});
  if (error) {
    throw new Error(`asc: ${error.message}\n${stderr}`);
  }
  return binary;
}

export const wasmKernels = {
  name: 'wasm-kernels',
  setup(build) {
    build.onResolve({filter: /nm_kernels\w*\.wasm$/}, ({path}) =>
      ({path: path.split('/').pop(), namespace: 'wasm-kernels'}));
    build.onLoad({filter: /.*/, namespace: 'wasm-kernels'}, async ({path}) => {
      if (!compiled.has(path)) {
        compiled.set(path, compile(path));
      }
      const base64 = Buffer.from(await compiled.get(path)).toString('base64');
      return {contents: `export default Uint8Array.from(atob('${base64}'), char => char.charCodeAt(0));`, loader: 'js'};
    });
  },
};
