/**
 * Lint rules. Two are our own. A folder imports only from the layers below it (LAYERS), so it can be read and tested
 * without the layers above. And synchronous reads are refused: on WebGPU they return zeros, then the device is lost.
 */
import js from '@eslint/js';
import {defineConfig} from 'eslint/config';
import tseslint from 'typescript-eslint';

/** The folders of each layer, lowest first. Folders of one layer do not import each other. src/index.ts imports all. */
const LAYERS = [
  ['src/util'],
  ['src/format'],
  ['src/tfjs'],
  ['kernels/cpu', 'kernels/composite', 'kernels/wasm', 'kernels/webgl', 'kernels/webgpu', 'src/pruning'],
  ['src/tuning'],
  ['src/ops'],
  ['src/layers'],
  ['src/convert', 'src/runtime'],
  ['src/cli'],
];
const FOLDERS = LAYERS.flat();

/** The folders that files in `folder` must not import from. */
function outOfReach(folder) {
  const layer = LAYERS.findIndex(folders => folders.includes(folder));
  return LAYERS.slice(layer).flat().filter(other => other !== folder);
}

const OPTIONAL_BACKEND = {
  name: '@tensorflow/tfjs-backend-webgpu',
  allowTypeImports: true,
  message: 'The package must load where this backend is not installed: import types only.',
};

const NO_SYNC_READ = ['error', {
  selector: 'MemberExpression[property.name=/^(dataSync|arraySync|bufferSync)$/]',
  message: 'On WebGPU a synchronous read gives zeros and then loses the device: await data().',
}];

/** A pattern for imports from these folders. Imports are relative, so a folder is found by its last path segment. */
function importsInto(folders) {
  const names = folders.map(folder => folder.split('/').pop()).join('|');
  return `^\\.\\.?/(.*/)?(${names})(/|$)`;
}

/** The files of each folder. kernels/*.ts, which all kernels share, may import what a kernel may. */
const FILES = [...FOLDERS.map(folder => [folder, `${folder}/**/*.ts`]), ['kernels/cpu', 'kernels/*.ts']];

const folderRules = FILES.map(([folder, files]) => ({
  files: [files],
  rules: {
    '@typescript-eslint/no-restricted-imports': ['error', {
      paths: [OPTIONAL_BACKEND],
      patterns: [
        ...(outOfReach(folder).length === 0 ? [] : [{
          regex: importsInto(outOfReach(folder)),
          message: `${folder} may import only from the layers below it.`,
        }]),
        ...(folder === 'src/cli' ? [] : [{
          regex: '^(\\.\\./)+(src/)?index\\.js$',
          message: 'src/index.ts is the top layer: import the module that has it.',
        }]),
      ],
    }],
  },
}));

const readonly = names => Object.fromEntries(names.map(name => [name, 'readonly']));
const PAGE_GLOBALS = ['document', 'fetch', 'location', 'navigator', 'nmSparse', 'tf', 'window'];
const NODE_GLOBALS = ['Buffer', 'URL', 'clearTimeout', 'console', 'performance', 'process', 'setTimeout'];

export default defineConfig(
  // Hidden folders hold caches and what tools leave in a checkout; no source of the package lies in one.
  {ignores: ['dist/', 'build/', '.*/', 'kernels/wasm/assembly/', 'examples/**/out/', 'examples/**/dist/']},
  js.configs.recommended,
  {
    rules: {
      'eqeqeq': ['error', 'always', {null: 'ignore'}],
      'max-len': ['error', {code: 120, ignoreUrls: true}],
      'no-restricted-syntax': NO_SYNC_READ,
      'no-var': 'error',
      'object-shorthand': 'error',
      'prefer-const': 'error',
      'quotes': ['error', 'single', {avoidEscape: true, allowTemplateLiterals: true}],
      'semi': ['error', 'always'],
    },
  },
  {
    files: ['**/*.js', '**/*.mjs'],
    languageOptions: {globals: readonly(NODE_GLOBALS)},
  },
  {
    files: ['examples/**/*.js', 'examples/**/*.mjs'], // some run in a page, some in Node
    languageOptions: {globals: readonly(PAGE_GLOBALS)},
  },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommended],
    languageOptions: {parserOptions: {projectService: true, tsconfigRootDir: import.meta.dirname}},
    rules: {
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', {fixStyle: 'inline-type-imports'}],
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/no-unused-vars': ['error', {argsIgnorePattern: '^_'}],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', {considerDefaultExhaustiveForUnions: true}],
    },
  },
  ...folderRules,
  {
    files: ['src/**/*.ts', 'kernels/**/*.ts'],
    rules: {'max-lines': ['error', 300], 'max-lines-per-function': ['error', 60]},
  },
  {
    // Inputs of these are on the CPU already, or have no asynchronous way in.
    files: ['kernels/cpu/**', 'kernels/composite/**', 'kernels/wasm/**', 'kernels/webgl/**'],
    rules: {'no-restricted-syntax': 'off'},
  },
  {
    files: ['test/**/*.ts'],
    rules: {'@typescript-eslint/no-unused-expressions': 'off'}, // chai: expect(x).to.be.true
  },
);
