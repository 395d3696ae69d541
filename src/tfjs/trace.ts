/**
 * Runs a function under tfjs's WebGPU backend and notes what it would dispatch. Nothing is dispatched, and no buffer is
 * created: tfjs gets virtual buffers. recording.ts turns a trace into something that runs.
 *
 * Everything the function reads is either an input, a constant that it made, or external: a tensor that existed before.
 * What cannot be repeated by dispatches alone is refused: a result read back on the CPU, random numbers, images.
 */
import {
  engine, env, tidy, type BackendValues, type DataType, type Tensor,
} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {BATCH_SIZE, dataOf, markTracing, override, type TensorData} from './internals.js';
import {flush} from './recorder.js';
import {checkSize, keepsState, Refusal, refuseReads, refuseUnrepeatable, type Replace} from './refusal.js';
import {VirtualBuffer, VirtualBufferManager} from './virtual_buffer.js';

/** A tensor without its data. */
export interface TensorSpec {
  shape: number[];
  dtype: DataType;
  /** The dtype of its buffer, by which tfjs declares the binding. A cast may share the buffer of another dtype. */
  storedDtype: DataType;
}

export interface Binding {
  binding: number;
  buffer: VirtualBuffer | GPUBuffer;
}

export interface Dispatch {
  pipeline: GPUComputePipeline;
  layout: GPUBindGroupLayout;
  bindings: Binding[];
  workgroups: [x: number, y: number, z: number];
}

/** The data of a tensor that existed before the trace. */
export interface External {
  dataId: object;
  data: TensorData;
  /** Undefined if only its values on the CPU were read. */
  buffer?: GPUBuffer;
}

export interface Trace {
  inputs: VirtualBuffer[];
  dispatches: Dispatch[];
  outputs: Array<TensorSpec & {buffer: VirtualBuffer | GPUBuffer}>;
  externals: External[];
}

/**
 * Traces a function. tfjs is as before afterwards, also if it throws.
 * @param inputs what the function is given: tensors whose data is known at replay only.
 * @param run returns its outputs; all other tensors that it makes are disposed.
 * @throws Refusal if the function does what dispatches cannot repeat, and what `run` throws.
 */
export function trace(webgpu: WebGPUBackend, inputs: TensorSpec[], run: (inputs: Tensor[]) => Tensor[]): Trace {
  flush(webgpu);
  const tracer = new Tracer(webgpu);
  let traced: Trace | undefined;
  try {
    tracer.install();
    tidy(() => {
      traced = tracer.trace(inputs, run);
    });
  } finally {
    tracer.uninstall();
  }
  tracer.check(traced!);
  return traced!;
}

/** Stands in for the pass encoder, the buffer manager and some methods of the backend. */
class Tracer {
  private readonly dispatches: Dispatch[] = [];
  /** The dataIds made during the trace. */
  private readonly created = new Set<object>();
  private readonly externals = new Map<object, External>();
  private readonly externalOf = new Map<GPUBuffer, External>();
  private readonly undo: Array<() => void> = [];
  private survivors = 0;
  private refusal: Refusal | undefined;
  private readonly refuse = (reason: string): Refusal => {
    this.refusal ??= new Refusal(reason);
    return this.refusal;
  };
  private pipeline?: GPUComputePipeline;
  private group?: {layout: GPUBindGroupLayout; bindings: Binding[]};

  constructor(private readonly webgpu: WebGPUBackend) {}

  trace(specs: TensorSpec[], run: (inputs: Tensor[]) => Tensor[]): Trace {
    const inputs: VirtualBuffer[] = [];
    const placeholders = specs.map(({shape, dtype, storedDtype}) => {
      const {dataId} = this.webgpu.makeTensorInfo(shape, storedDtype);
      this.webgpu.uploadToGPU(dataId);
      inputs.push(dataOf(this.webgpu, dataId).resource as VirtualBuffer);
      return engine().makeTensorFromTensorInfo({dataId, shape, dtype}, this.webgpu);
    });
    const outputs = run(placeholders).map(({dataId, shape, dtype, size}) => {
      checkSize(size, 'an output');
      this.webgpu.uploadToGPU(dataId);
      const data = dataOf(this.webgpu, dataId);
      return {shape, dtype, storedDtype: data.dtype, buffer: data.resource as VirtualBuffer | GPUBuffer};
    });
    return {inputs, dispatches: this.dispatches, outputs, externals: [...this.externals.values()]};
  }

  install(): void {
    const {webgpu} = this;
    const replace: Replace = (target, name, value) => this.undo.push(override(target, name, value));
    this.undo.push(markTracing(webgpu));
    this.replaceUploads(replace);
    this.undo.push(() => flush(webgpu)); // releases virtual buffers, so before the real manager returns
    this.setFlag(BATCH_SIZE, Infinity);
    this.setFlag('WEBGPU_ENGINE_COMPILE_ONLY', false);
    replace(webgpu, 'activeTimers', null);
    replace(webgpu, 'computePassEncoder', this);
    replace(webgpu, 'endComputePassEncoder', () => undefined);
    replace(webgpu.device, 'createBindGroup', (group: GPUBindGroupDescriptor) => this.bind(group));
    replace(webgpu.queue, 'writeBuffer', writeUniform);
    this.observeExternals(replace);
    refuseUnrepeatable(webgpu, replace, this.refuse);
    refuseReads(webgpu, replace, this.refuse);
  }

  uninstall(): void {
    while (this.undo.length > 0) {
      this.undo.pop()!();
    }
    const {webgpu} = this;
    for (const dataId of this.created) {
      if (webgpu.tensorMap.has(dataId)) {
        // A kernel that leaks its temporary data is not to blame: no one can use what the engine never saw.
        this.survivors += engine().state.tensorInfo.has(dataId) ? 1 : 0;
        webgpu.disposeData(dataId, true);
      }
    }
  }

  /** @throws Refusal if one was noted, or if the function kept tensors or disposed of those that it read. */
  check({externals}: Trace): void {
    if (this.refusal) {
      throw this.refusal;
    }
    if (this.survivors > 0 || externals.some(({data}) => data.refCount === 0)) {
      throw keepsState();
    }
  }

  private setFlag(name: string, value: number | boolean): void {
    const before = env().get(name) as number | boolean;
    env().set(name, value);
    this.undo.push(() => env().set(name, before));
  }

  /** Buffers of new tensors are virtual; those of tensors that existed before are tfjs's. */
  private replaceUploads(replace: Replace): void {
    const {webgpu} = this;
    const {bufferManager} = webgpu;
    const virtual = new VirtualBufferManager(bufferManager);
    replace(webgpu, 'bufferManager', virtual);
    const write = webgpu.write.bind(webgpu);
    replace(webgpu, 'write', (values: BackendValues, shape: number[], dtype: DataType) => {
      if (dtype === 'string' || dtype === 'complex64') {
        throw this.refuse(`the model uses tensors of dtype ${dtype}, which do not lie in one GPU buffer; ` +
          'run model.predict.');
      }
      const dataId = write(values, shape, dtype);
      this.created.add(dataId);
      return dataId;
    });
    const upload = webgpu.uploadToGPU.bind(webgpu);
    replace(webgpu, 'uploadToGPU', (dataId: object) => {
      if (this.created.has(dataId)) {
        return upload(dataId);
      }
      webgpu.bufferManager = bufferManager;
      try {
        upload(dataId);
      } finally {
        webgpu.bufferManager = virtual as unknown as typeof bufferManager;
      }
      const {resource} = dataOf(webgpu, dataId);
      const external = this.externals.get(dataId)!;
      external.buffer = resource as GPUBuffer;
      this.externalOf.set(external.buffer, external);
    });
  }

  /** Every tensor that existed before and is looked up is external, whatever for. */
  private observeExternals(replace: Replace): void {
    const {webgpu} = this;
    const get = webgpu.tensorMap.get.bind(webgpu.tensorMap);
    replace(webgpu.tensorMap, 'get', (dataId: object) => {
      const data = get(dataId);
      if (!this.created.has(dataId) && !this.externals.has(dataId)) {
        this.externals.set(dataId, {dataId, data});
      }
      return data;
    });
  }

  private bind({layout, entries}: GPUBindGroupDescriptor): unknown {
    this.group = {layout, bindings: [...entries].map(({binding, resource}) => {
      const buffer = (resource as GPUBufferBinding).buffer ?? resource; // tfjs sets a virtual buffer itself
      const isVirtual = buffer instanceof VirtualBuffer;
      if (!isVirtual && !this.externalOf.has(buffer)) {
        throw this.refuse('the model reads a texture or a GPU buffer of its own; run model.predict.');
      }
      checkSize(buffer.size, 'an intermediate');
      // Binding 0 is what the program writes.
      if (binding === 0 && (!isVirtual || buffer.data)) {
        throw keepsState();
      }
      return {binding, buffer};
    })};
    return this.group;
  }

  // As GPUComputePassEncoder.

  setPipeline(pipeline: GPUComputePipeline): void {
    this.pipeline = pipeline;
  }

  setBindGroup(): void {
    // tfjs sets the group that it has just created.
  }

  dispatchWorkgroups(x: number, y = 1, z = 1): void {
    this.dispatches.push({pipeline: this.pipeline!, ...this.group!, workgroups: [x, y, z]});
  }
}

/** As GPUQueue.writeBuffer, which tfjs uses for uniforms. */
function writeUniform(buffer: VirtualBuffer | GPUBuffer, _: number, data: ArrayBuffer): void {
  if (!(buffer instanceof VirtualBuffer)) {
    throw keepsState();
  }
  buffer.data = data.slice(0, buffer.size);
}
