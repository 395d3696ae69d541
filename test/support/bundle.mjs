/**
 * Bundles the test files into build/test: node/ mirrors test/ file by file, with what they share in common chunks, so
 * that mocha can be asked for one file and tells which it is at; browser/ has one bundle per karma runner. Node takes
 * npm packages as its users do, from node_modules; a page gets them bundled.
 *
 * By hand: node test/support/bundle.mjs
 */
import {readdirSync, rmSync} from 'node:fs';
import {join, relative} from 'node:path';
import {fileURLToPath} from 'node:url';
import esbuild from 'esbuild';
import {browserBundle, RUNNERS, runsIn} from './runners.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const NODE_DIR = 'build/test/node';

/** Every test file, as 'test/format/pack.test.ts', in a fixed order. */
export function testFiles() {
  return readdirSync(join(ROOT, 'test'), {recursive: true})
    .map(path => `test/${path.replaceAll('\\', '/')}`)
    .filter(path => path.endsWith('.test.ts'))
    .sort();
}

/** Where the Node bundle of a file under test/ lies. */
export function nodeBundle(file) {
  return file.replace(/^test/, NODE_DIR).replace(/\.ts$/, '.js');
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
};

async function bundleForNode(files) {
  rmSync(join(ROOT, NODE_DIR), {recursive: true, force: true});
  await esbuild.build({
    ...COMMON,
    entryPoints: ['test/support/dawn.ts', 'test/support/backend.ts', ...files],
    outdir: NODE_DIR,
    outbase: 'test',
    platform: 'node',
    packages: 'external',
    splitting: true,
    chunkNames: 'chunks/[name]-[hash]',
  });
}

async function bundleForBrowser(runner, files) {
  rmSync(join(ROOT, browserBundle(runner)), {force: true});
  const wanted = files.filter(file => runsIn(runner, file));
  const {metafile} = await esbuild.build({
    ...COMMON,
    stdin: {
      contents: ['test/support/backend.ts', ...wanted].map(file => `import './${file}';`).join('\n'),
      resolveDir: ROOT,
      sourcefile: `${runner.name}.ts`,
    },
    outfile: browserBundle(runner),
    platform: 'browser',
    format: 'iife',
  });
  // Two copies of tfjs-core are two engines: backends and kernels registered in one do not exist in the other.
  const engines = Object.keys(metafile.inputs).filter(path => /tfjs-core\/dist\/(engine\.js|tf-core)/.test(path));
  if (engines.length !== 1) {
    throw new Error(`${browserBundle(runner)} holds ${engines.length} copies of tfjs-core: ${engines.join(', ')}`);
  }
}

/** Bundles `files` for all runners in `runners`. */
export async function bundleTests(runners, files) {
  await Promise.all([
    bundleForNode(files), // also for karma runners alone: their tests are counted in Node
    ...runners.filter(({place}) => place === 'browser').map(runner => bundleForBrowser(runner, files)),
  ]);
}

if (process.argv[1] && relative(process.argv[1], fileURLToPath(import.meta.url)) === '') {
  await bundleTests(RUNNERS, testFiles());
}
