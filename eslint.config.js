/**
 * Lint rules. Beside the usual ones, two of our own: a room imports only from rooms below it (see ROOMS), so that each
 * can be read and tested without what stands on it; and no synchronous read-back, which on WebGPU gives zeros and then
 * loses the device.
 */
import js from '@eslint/js';
import {defineConfig} from 'eslint/config';
import tseslint from 'typescript-eslint';

/** From the ground up; rooms on one floor do not see each other either. src/index.ts stands on all of them. */
const FLOORS = [
  ['src/util'],
  ['src/format'],
  ['src/tfjs'],
  ['kernels/cpu', 'kernels/composite', 'kernels/wasm', 'kernels/webgpu', 'src/pruning'],
  ['src/tuning'],
  ['src/ops'],
  ['src/layers'],
  ['src/convert', 'src/runtime'],
  ['src/cli'],
];
const ROOMS = FLOORS.flat();

/** The rooms that files in `room` must not import from. */
function outOfReach(room) {
  const floor = FLOORS.findIndex(rooms => rooms.includes(room));
  return FLOORS.slice(floor).flat().filter(other => other !== room);
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

/** Imports are written relative, so a room is recognised by its last path segment(s) in them. */
function importsInto(rooms) {
  const names = rooms.map(room => room.split('/').pop()).join('|');
  return `^\\.\\.?/(.*/)?(${names})(/|$)`;
}

/** The files of each room. What all kernels share lies in no room; it may import what a kernel may. */
const FILES = [...ROOMS.map(room => [room, `${room}/**/*.ts`]), ['kernels/cpu', 'kernels/*.ts']];

const roomRules = FILES.map(([room, files]) => ({
  files: [files],
  rules: {
    '@typescript-eslint/no-restricted-imports': ['error', {
      paths: [OPTIONAL_BACKEND],
      patterns: [
        ...(outOfReach(room).length === 0 ? [] : [{
          regex: importsInto(outOfReach(room)),
          message: `${room} may import only from the rooms below it.`,
        }]),
        ...(room === 'src/cli' ? [] : [{
          regex: '^(\\.\\./)+(src/)?index\\.js$',
          message: 'The public API stands on the rooms, not under them.',
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
  {ignores: ['dist/', 'build/', '.*/', 'examples/**/out/', 'examples/**/dist/']},
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
  ...roomRules,
  {
    files: ['src/**/*.ts', 'kernels/**/*.ts'],
    rules: {'max-lines': ['error', 300], 'max-lines-per-function': ['error', 60]},
  },
  {
    // Inputs of these two are on the CPU already, or have no asynchronous way in.
    files: ['kernels/cpu/**', 'kernels/composite/**'],
    rules: {'no-restricted-syntax': 'off'},
  },
  {
    files: ['test/**/*.ts'],
    rules: {'@typescript-eslint/no-unused-expressions': 'off'}, // chai: expect(x).to.be.true
  },
);
