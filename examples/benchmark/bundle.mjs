/**
 * Bundles the Node benchmark, or another entry, into one self-contained .mjs (`npm run bench:bundle -- OUT.mjs
 * [ENTRY.ts]`); `webgpu` stays outside, since it is a native module: without it, the environment variable DAWN names a
 * dawn.node. `npm run bench` runs the bundle.
 */
import {spawnSync} from 'node:child_process';
import {parseArgs} from 'node:util';
import {build} from 'esbuild';

const {values: {run}, positionals} =
    parseArgs({options: {run: {type: 'boolean'}}, allowPositionals: true, strict: false});
const outfile = run ? 'build/bench.mjs' : positionals[0] ?? 'build/bench.mjs';
await build({
  entryPoints: [!run && positionals[1] || 'examples/benchmark/node.ts'],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  external: ['webgpu'],
  // From source, register.ts counts as free of side effects to esbuild (package.json speaks of dist).
  ignoreAnnotations: true,
  // tfjs asks for Node's modules with require.
  banner: {js: "import {createRequire as ofModule} from 'node:module'; const require = ofModule(import.meta.url);"},
  logLevel: 'warning',
});
if (run) {
  process.exit(spawnSync(process.execPath, [outfile, ...process.argv.slice(3)], {stdio: 'inherit'}).status ?? 1);
}
console.log(`${outfile} is ready: run it with node; DAWN=path/to/dawn.node where the package webgpu is not installed.`);
