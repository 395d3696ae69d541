import type {Plugin} from 'esbuild';

/** See plugin.mjs. */
export const wasmKernels: Plugin;
