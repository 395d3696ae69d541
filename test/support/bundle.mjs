/**
 * Bundles the test files: node/ mirrors test/ file by file, with what they share in common chunks, so that mocha can be
 * asked for one file and tells which it is at; browser/ has one bundle per karma runner. Node takes npm packages as its
 * users do, from node_modules; a page gets them bundled.
 *
 * By hand: node test/support/bundle.mjs
 */
import {readdirSync} from 'node:fs';
import {join, relative} from 'node:path';
import {fileURLToPath} from 'node:url';
import esbuild from 'esbuild';
import {wasmKernels} from '../../kernels/wasm/plugin.mjs';
import {browserBundle, BUNDLES, RUNNERS, runsIn} from './runners.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));

/** Every test file, as 'test/ops/gradient.test.ts', in a fixed order. */
export function testFiles() {
  return readdirSync(join(ROOT, 'test'), {recursive: true})
    .map(path => `test/${path.replaceAll('\\', '/')}`)
    .filter(path => path.endsWith('.test.ts'))
    .sort();
}

/** Where the Node bundle of a file under test/ lies. */
export function nodeBundle(bundles, file) {
  return file.replace(/^test/, `${bundles}/node`).replace(/\.ts$/, '.js');
}

const COMMON = {
  absWorkingDir: ROOT,
  bundle: true,
  sourcemap: true,
  target: 'es2022',
  format: 'esm',
  logLevel: 'warning',
  metafile: true,
  // package.json's sideEffects list is about dist; by its word esbuild would drop every test file.
  ignoreAnnotations: true,
  plugins: [wasmKernels],
};

async function bundleForNode(bundles, files) {
  await esbuild.build({
    ...COMMON,
    entryPoints: ['test/support/dawn.ts', 'test/support/backend.ts', ...files],
    outdir: `${bundles}/node`,
    outbase: 'test',
    platform: 'node',
    packages: 'external',
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
  });
}

async function bundleForBrowser(bundles, runner, files) {
  const wanted = files.filter(file => runsIn(runner, file));
  const {metafile} = await esbuild.build({
    ...COMMON,
    stdin: {
      contents: ['test/support/backend.ts', ...wanted].map(file => `import './${file}';`).join('\n'),
      resolveDir: ROOT,
      sourcefile: `${runner.name}.ts`,
    },
    outfile: browserBundle(bundles, runner),
    platform: 'browser',
    format: 'iife',
  });
  // Two copies of tfjs-core are two engines: backends and kernels registered in one do not exist in the other.
  const engines = Object.keys(metafile.inputs).filter(path => /tfjs-core\/dist\/(engine\.js|tf-core)/.test(path));
  if (engines.length !== 1) {
    throw new Error(`the bundle of ${runner.name} holds ${engines.length} copies of tfjs-core: ${engines.join(', ')}`);
  }
}

/** Bundles `files` for all runners in `runners` into the folder `bundles`. */
export async function bundleTests(bundles, runners, files) {
  await Promise.all([
    bundleForNode(bundles, files), // also for karma runners alone: their tests are counted in Node
    ...runners.filter(({place}) => place === 'browser').map(runner => bundleForBrowser(bundles, runner, files)),
  ]);
}

if (process.argv[1] && relative(process.argv[1], fileURLToPath(import.meta.url)) === '') {
  await bundleTests(BUNDLES, RUNNERS, testFiles());
}
