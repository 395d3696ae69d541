/**
 * Builds what npm publishes, into dist/:
 *
 *   esm/index.js, cjs/index.js    the library, npm packages left as imports
 *   esm/runtime.js, cjs/runtime.js    the part of it that runs models, with WGSL without comments and indentation
 *   esm/src/*.d.ts, cjs/src/*.d.ts    its types; twice, because TypeScript wants them in a package of the same kind
 *   nm-sparse.min.js    the library for a <script> tag: global `nmSparse`, on top of the global `tf`
 *   cli/nm-prune.js     the command line tool, with the library inside
 *
 * Each bundle is one file: importing the package registers kernels and layers, and a second copy of a module would
 * register a second time. Everything is made beside dist/ and then takes its place, so that nobody reads half a build.
 */
import {chmodSync, cpSync, existsSync, readFileSync, renameSync, rmSync, writeFileSync} from 'node:fs';
import {builtinModules} from 'node:module';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import esbuild from 'esbuild';
import ts from 'typescript';
import {wasmKernels} from './kernels/wasm/plugin.mjs';

process.chdir(fileURLToPath(new URL('.', import.meta.url)));

const OUT = 'dist';
const TEMP = `build/dist-${process.pid}`;
const OLD = `build/old-${process.pid}`;
const TYPES = `build/types-${process.pid}`;
const LIBRARY = './src/index.ts';
const RUNTIME = './src/runtime.ts';
const WASM_TYPES = './kernels/wasm/nm_kernels.d.ts';
const CLI = './src/cli/main.ts';
const manifest = JSON.parse(readFileSync('package.json', 'utf8'));

/** tfjs on a page is one global; core, layers and converter are all in it. */
const tfFromGlobal = {
  name: 'tf-from-global',
  setup(build) {
    build.onResolve({filter: /^@tensorflow\/tfjs-(core|layers|converter)$/}, () => ({path: 'tf', namespace: 'global'}));
    build.onLoad({filter: /.*/, namespace: 'global'}, () => ({
      contents: `
        if (!globalThis.tf) {
          throw new Error('nm-sparse: there is no global "tf". Load TensorFlow.js (tf.min.js) before nm-sparse.min.js');
        }
        module.exports = globalThis.tf;`,
    }));
  },
};

/** Removes comments and indentation from WGSL, a tenth of the kernels' download: minifiers leave template literals. */
const plainWgsl = {
  name: 'plain-wgsl',
  setup(build) {
    build.onLoad({filter: /[\\/]kernels[\\/]webgpu[\\/].*\.ts$/}, ({path}) => ({
      contents: readFileSync(path, 'utf8')
        .replace(/^\s*\/\/[^$`\n]*(?=\$\{|$)/gm, '').replace(/ +\/\/ [^$`\n]*$/gm, '').replace(/^ +/gm, ''),
      loader: 'ts',
    }));
  },
};

/** Bundles one entry into one file; resolves to the packages it imports. */
async function bundle(entry, file, options) {
  const {metafile} = await esbuild.build({
    entryPoints: [entry],
    outfile: join(TEMP, file),
    bundle: true,
    sourcemap: true,
    target: 'es2020',
    metafile: true,
    logLevel: 'warning',
    // package.json's sideEffects list is about dist; by its word esbuild would drop the modules that register things.
    ignoreAnnotations: true,
    ...options,
    plugins: [wasmKernels, ...options.plugins ?? []],
  });
  return Object.values(metafile.outputs).flatMap(({imports}) => imports).map(({path}) => path);
}

/** A package imported but not declared is missing on the user's machine, though never on ours. */
function checkImports(file, imports) {
  const declared = Object.keys({...manifest.dependencies, ...manifest.peerDependencies});
  for (const path of imports) {
    const name = path.split('/', path.startsWith('@') ? 2 : 1).join('/');
    if (name === '@tensorflow/tfjs-backend-webgpu') {
      throw new Error(`${file} imports ${name}; it is optional, so only types may be imported from it`);
    }
    if (!path.startsWith('node:') && !builtinModules.includes(path) && !declared.includes(name)) {
      throw new Error(`${file} imports ${name}, which package.json does not declare as a (peer) dependency`);
    }
  }
}

/** The .d.ts files lie as the sources do: src/ and, beside it, kernels/. */
function emitTypes(folder) {
  const {config} = ts.readConfigFile('tsconfig.json', ts.sys.readFile);
  const {options} = ts.parseJsonConfigFileContent(config, ts.sys, '.');
  const program = ts.createProgram([LIBRARY, RUNTIME, WASM_TYPES], {
    ...options, noEmit: false, declaration: true, emitDeclarationOnly: true, outDir: folder,
  });
  const diagnostics = [...ts.getPreEmitDiagnostics(program), ...program.emit().diagnostics];
  if (diagnostics.length > 0) {
    throw new Error(ts.formatDiagnostics(diagnostics, {
      getCanonicalFileName: name => name, getCurrentDirectory: () => '.', getNewLine: () => '\n',
    }));
  }
}

/** The library in one module system; package.json says which one, for the package around it is ESM. */
async function buildLibrary(folder, format, type) {
  const options = {format, packages: 'external', platform: 'node'};
  checkImports(folder, await bundle(LIBRARY, `${folder}/index.js`, options));
  checkImports(folder, await bundle(RUNTIME, `${folder}/runtime.js`, {...options, plugins: [plainWgsl]}));
  cpSync(TYPES, join(TEMP, folder), {recursive: true});
  writeFileSync(join(TEMP, folder, 'package.json'), JSON.stringify({type}) + '\n');
}

async function buildScript() {
  await bundle(LIBRARY, 'nm-sparse.min.js', {
    format: 'iife',
    globalName: 'nmSparse',
    minify: true,
    platform: 'browser',
    plugins: [tfFromGlobal],
    banner: {js: `/*! ${manifest.name} ${manifest.version}, ${manifest.license} */`},
  });
}

async function buildCli() {
  const file = 'cli/nm-prune.js';
  checkImports('cli', await bundle(CLI, file, {
    format: 'esm', packages: 'external', platform: 'node', banner: {js: '#!/usr/bin/env node'},
  }));
  chmodSync(join(TEMP, file), 0o755);
}

async function build() {
  // One after the other: where one fails, none may still be writing.
  emitTypes(TYPES);
  await buildLibrary('esm', 'esm', 'module');
  await buildLibrary('cjs', 'cjs', 'commonjs');
  await buildScript();
  await buildCli();
  if (existsSync(OUT)) {
    renameSync(OUT, OLD);
  }
  renameSync(TEMP, OUT);
}

try {
  await build();
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  [TEMP, TYPES, OLD].forEach(folder => rmSync(folder, {recursive: true, force: true}));
}
