/**
 * Buffers that exist on paper only. tfjs uses them during a trace (trace.ts) as it would use GPUBuffers; what they
 * become on the GPU is decided afterwards, when their lifetimes are known. A failed trace has nothing to free.
 */
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';

type BufferManager = WebGPUBackend['bufferManager'];

/** The part of a GPUBuffer that tfjs uses. */
export class VirtualBuffer {
  /** Contents given by the CPU: uniforms and uploaded constants. Undefined if a dispatch writes the buffer. */
  data: ArrayBuffer | undefined;
  mapState: GPUBufferMapState;

  constructor(readonly size: number, readonly usage: GPUBufferUsageFlags, mappedAtCreation: boolean) {
    this.mapState = mappedAtCreation ? 'mapped' : 'unmapped';
  }

  /** tfjs maps buffers to upload values, and only then. */
  getMappedRange(): ArrayBuffer {
    this.data ??= new ArrayBuffer(this.size);
    return this.data;
  }

  unmap(): void {
    this.mapState = 'unmapped';
  }
}

/** Stands in for tfjs's buffer manager during a trace. Every buffer is new: none comes from a pool or goes to one. */
export class VirtualBufferManager {
  constructor(private readonly real: BufferManager) {}

  acquireBuffer(size: number, usage: GPUBufferUsageFlags, mappedAtCreation = false): VirtualBuffer {
    return new VirtualBuffer(size, usage, mappedAtCreation);
  }

  releaseBuffer(buffer: VirtualBuffer | GPUBuffer, reuse?: boolean): void {
    if (!(buffer instanceof VirtualBuffer)) {
      this.real.releaseBuffer(buffer, reuse);
    }
  }

  get numBytesUsed(): number {
    return this.real.numBytesUsed;
  }

  get numBytesAllocated(): number {
    return this.real.numBytesAllocated;
  }
}
