/**
 * The heap of tfjs's wasm backend, for kernels that work on its tensors in place. What is used here is private in
 * tfjs-backend-wasm (4.22): the emscripten module, its memory and the addresses of tensors.
 */
import type {KernelBackend, TensorInfo} from '@tensorflow/tfjs-core';

interface WasmBackend extends KernelBackend {
  wasm?: {
    asm?: {memory?: WebAssembly.Memory};
    _malloc(bytes: number): number;
    _free(address: number): void;
  };
  dataIdMap?: {get(dataId: object): {memoryOffset: number}};
  makeOutput?(shape: number[], dtype: 'float32'): TensorInfo;
}

export interface WasmHeap {
  memory: WebAssembly.Memory;
  /** @throws Error if the heap is full. */
  allocate(bytes: number): number;
  free(address: number): void;
  addressOf(tensor: TensorInfo): number;
  /** @throws Error if the heap is full. */
  makeOutput(shape: number[]): TensorInfo;
}

/** @returns undefined for a backend without such a heap, and for the multi-threaded one, whose memory is shared. */
export function wasmHeap(backend: KernelBackend): WasmHeap | undefined {
  const {wasm, dataIdMap} = backend as WasmBackend;
  const memory = wasm?.asm?.memory;
  if (!(memory instanceof WebAssembly.Memory) || !(memory.buffer instanceof ArrayBuffer) || !dataIdMap) {
    return undefined;
  }
  return {
    memory,
    allocate: bytes => {
      const address = wasm!._malloc(bytes) >>> 0; // signed above 2 GB
      if (address === 0) {
        throw new Error(`nmSparseMatMul: the wasm heap has no room for ${bytes} bytes.`);
      }
      return address;
    },
    free: address => wasm!._free(address),
    addressOf: ({dataId}) => dataIdMap.get(dataId).memoryOffset,
    makeOutput: shape => {
      const y = (backend as WasmBackend).makeOutput!(shape, 'float32');
      if (dataIdMap.get(y.dataId).memoryOffset === 0) { // tfjs does not check
        backend.disposeData(y.dataId);
        throw new Error(`nmSparseMatMul: the wasm heap has no room for y [${shape}].`);
      }
      return y;
    },
  };
}
