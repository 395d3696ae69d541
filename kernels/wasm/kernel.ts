/**
 * The compiled module (assembly/), instantiated on the heap of a backend: the build for relaxed SIMD where the engine
 * has it, the one for SIMD elsewhere.
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
  transpose(x: number, xT: number, rows: number, k: number, stride: number): void;
  multiplyColumns(
    xT: number, y: number, w: number, ids: number, rows: number, n: number, kept: number,
    columnsPerGroup: number): void;
  epilogue(
    y: number, rows: number, n: number, bias: number, activation: number, slopes: number, slopeStep: number,
    slope: number): void;
}

export interface WasmKernel {
  heap: WasmHeap;
  run: Exports;
}

let module: WebAssembly.Module | undefined | 'none';

/** @returns undefined without SIMD, or where a page may not compile synchronously. */
function compiledModule(): WebAssembly.Module | undefined {
  if (module === undefined) {
    module = [relaxedSimd, simd].map(bytes => {
      try {
        return new WebAssembly.Module(bytes as BufferSource);
      } catch {
        return undefined;
      }
    }).find(each => each !== undefined) ?? 'none';
  }
  return module === 'none' ? undefined : module;
}

const kernels = new WeakMap<KernelBackend, WasmKernel | 'none'>();

/** @returns undefined where the kernel cannot run; its products are then multiplied densely. */
export function wasmKernel(backend: KernelBackend): WasmKernel | undefined {
  let kernel = kernels.get(backend);
  if (!kernel) {
    const heap = wasmHeap(backend);
    const compiled = heap && compiledModule();
    kernel = heap && compiled ?
      {heap, run: new WebAssembly.Instance(compiled, {env: {memory: heap.memory}}).exports as unknown as Exports} :
      'none';
    kernels.set(backend, kernel);
  }
  return kernel === 'none' ? undefined : kernel;
}
