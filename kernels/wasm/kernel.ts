/**
 * The compiled modules (assembly/), instantiated on the heap of a backend. Where the engine has relaxed SIMD, the loops
 * that multiply come from a second module with fused multiply-adds.
 */
import type {KernelBackend} from '@tensorflow/tfjs-core';
import {wasmHeap, type WasmHeap} from '../../src/tfjs/wasm_heap.js';
import simd from './nm_kernels.wasm';
import relaxedSimd from './nm_kernels_relaxed.wasm';

/** The exports of assembly/index.ts. Addresses and sizes; the comments there say of what. */
interface Exports {
  multiplyPanels8(
    x: number, y: number, w: number, ids: number, rows: number, n: number, k: number, kept: number,
    panelsPerGroup: number): void;
  multiplyPanels4(
    x: number, y: number, w: number, ids: number, rows: number, n: number, k: number, kept: number): void;
  transpose(x: number, xT: number, rows: number, k: number): void;
  multiplyColumns(
    xT: number, y: number, w: number, ids: number, rows: number, n: number, k: number, kept: number,
    columnsPerGroup: number): void;
  epilogue(
    y: number, rows: number, n: number, bias: number, activation: number, slopes: number, slopeStep: number,
    slope: number): void;
}

export interface WasmKernel {
  heap: WasmHeap;
  run: Exports;
}

/** The modules that this engine compiles: none without SIMD, or where a page may not compile synchronously. */
let modules: WebAssembly.Module[] | undefined;

function compiledModules(): WebAssembly.Module[] {
  modules ??= [simd, relaxedSimd].flatMap(bytes => {
    try {
      return [new WebAssembly.Module(bytes as BufferSource)];
    } catch {
      return [];
    }
  });
  return modules;
}

const kernels = new WeakMap<KernelBackend, WasmKernel | 'none'>();

/** @returns undefined where the kernel cannot run; its products are then multiplied densely. */
export function wasmKernel(backend: KernelBackend): WasmKernel | undefined {
  let kernel = kernels.get(backend);
  if (!kernel) {
    const heap = wasmHeap(backend);
    const exports = heap ? compiledModules().map(module =>
      new WebAssembly.Instance(module, {env: {memory: heap.memory}}).exports) : [];
    // Exports of the second module replace those of the first.
    kernel = heap && exports.length > 0 ? {heap, run: Object.assign({}, ...exports) as Exports} : 'none';
    kernels.set(backend, kernel);
  }
  return kernel === 'none' ? undefined : kernel;
}
