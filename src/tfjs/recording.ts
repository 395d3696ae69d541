/**
 * A trace made to run: its buffers, which no one else uses, and its bind groups. A replay copies the inputs in, encodes
 * all dispatches in one pass and copies the outputs out. tfjs submits several short replays together, as it does with
 * its own programs.
 *
 * Buffers that dispatches write share memory where their lifetimes do not overlap (memory_plan.ts). Weights are not
 * copied: the bind groups refer to tfjs's buffers, and {@link Recording.isCurrent} tells whether these are still the
 * weights.
 */
import {engine, type BackendValues, type DataType, type Tensor, type Variable} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {countDispatches, dataOf, internalsOf} from './internals.js';
import {planMemory, type Lifetime} from './memory_plan.js';
import {flush} from './recorder.js';
import type {External, TensorSpec, Trace} from './trace.js';
import {VirtualBuffer} from './virtual_buffer.js';

/** A dispatch that takes three calls to encode. */
interface BoundDispatch {
  pipeline: GPUComputePipeline;
  group: GPUBindGroup;
  workgroups: [x: number, y: number, z: number];
}

/** A variable, and the dataId of the value that it had. */
interface WatchedVariable {
  variable: Tensor;
  dataId: object;
}

export class Recording {
  private readonly dispatches: BoundDispatch[];
  private readonly inputs: GPUBuffer[];
  private readonly outputs: Array<TensorSpec & {buffer: GPUBuffer}>;
  private readonly externals: External[];
  private readonly variables: WatchedVariable[];
  private readonly memory: RecordingMemory;
  /** tfjs's encoder that has the last replay; once it is submitted, tfjs has another one. */
  private encodedIn: GPUCommandEncoder | undefined;

  /** @param weights of the model: a variable among them that gets another value makes the recording outdated. */
  constructor(private readonly webgpu: WebGPUBackend, trace: Trace, weights: readonly Tensor[]) {
    const {device} = webgpu;
    this.memory = new RecordingMemory(device, trace);
    const bufferOf = (buffer: VirtualBuffer | GPUBuffer) => this.memory.binding(buffer).buffer;
    this.dispatches = trace.dispatches.map(({pipeline, layout, bindings, workgroups}) => ({
      pipeline,
      workgroups,
      group: device.createBindGroup({layout, entries: bindings.map(({binding, buffer}) => ({
        binding, resource: this.memory.binding(buffer),
      }))}),
    }));
    this.inputs = trace.inputs.map(bufferOf);
    this.outputs = trace.outputs.map(output => ({...output, buffer: bufferOf(output.buffer)}));
    this.externals = trace.externals;
    this.variables = watchedVariables(trace.externals, weights);
    this.memory.forgetTrace();
  }

  /** Bytes of all buffers that belong to the recording. */
  get bytes(): number {
    return this.memory.bytes;
  }

  /** Whether all that the recording reads from outside, such as weights, is as it was when it was recorded. */
  isCurrent(): boolean {
    for (const {data, buffer} of this.externals) {
      if (data.refCount === 0 || (buffer && data.resource !== buffer)) {
        return false;
      }
    }
    for (const {variable, dataId} of this.variables) {
      if (variable.dataId !== dataId || variable.isDisposed) {
        return false;
      }
    }
    return true;
  }

  /** Whether something that the recording reads is disposed, other than the value of a variable that has a new one. */
  hasLostData(): boolean {
    const variables = new Map(this.variables.map(({variable, dataId}) => [dataId, variable]));
    const isLost = (dataId: object) => variables.get(dataId)?.isDisposed ?? true;
    return this.variables.some(({variable}) => variable.isDisposed) ||
      this.externals.some(({dataId, data}) => data.refCount === 0 && isLost(dataId));
  }

  /**
   * Runs the recording, after all that tfjs has encoded so far.
   * @param inputs of the shapes and dtypes that were recorded.
   * @returns the outputs, as new tensors.
   */
  replay(inputs: readonly Tensor[]): Tensor[] {
    const {webgpu} = this;
    inputs.forEach((input, i) => this.loadFromCpu(input, this.inputs[i]));
    webgpu.ensureCommandEncoderReady();
    webgpu.endComputePassEncoder();
    const internals = internalsOf(webgpu);
    const encoder = internals.commandEncoder!;
    this.encodedIn = encoder;
    inputs.forEach(({dataId}, i) => {
      const {resource} = dataOf(webgpu, dataId);
      if (resource != null) {
        internals.commandQueueOwnedIds.add(dataId);
        encoder.copyBufferToBuffer(resource as GPUBuffer, 0, this.inputs[i], 0, this.inputs[i].size);
      }
    });
    this.encode(encoder);
    const outputs = this.outputs.map(({shape, dtype, storedDtype, buffer}) => {
      const {dataId} = webgpu.makeTensorInfo(shape, storedDtype);
      webgpu.uploadToGPU(dataId); // takes a buffer from tfjs's pool
      const own = dataOf(webgpu, dataId).resource as GPUBuffer;
      internals.commandQueueOwnedIds.add(dataId);
      encoder.copyBufferToBuffer(buffer, 0, own, 0, own.size);
      return engine().makeTensorFromTensorInfo({dataId, shape, dtype}, webgpu);
    });
    countDispatches(webgpu, this.dispatches.length);
    return outputs;
  }

  destroy(): void {
    this.submit();
    this.memory.destroy();
  }

  /** Submits the last replay, if tfjs has not yet. */
  private submit(): void {
    if (this.encodedIn && internalsOf(this.webgpu).commandEncoder === this.encodedIn) {
      flush(this.webgpu);
    }
    this.encodedIn = undefined;
  }

  private encode(encoder: GPUCommandEncoder): void {
    const pass = encoder.beginComputePass();
    let current: GPUComputePipeline | undefined;
    for (const {pipeline, group, workgroups} of this.dispatches) {
      if (pipeline !== current) {
        pass.setPipeline(pipeline);
        current = pipeline;
      }
      pass.setBindGroup(0, group);
      pass.dispatchWorkgroups(workgroups[0], workgroups[1], workgroups[2]);
    }
    pass.end();
  }

  /**
   * Copies a tensor's values into an input, if they lie on the CPU. queue.writeBuffer runs before all that is encoded
   * but not submitted, so earlier replays are submitted first: they read the same buffer.
   */
  private loadFromCpu({dataId}: Tensor, input: GPUBuffer): void {
    const {values, resource, dtype} = dataOf(this.webgpu, dataId);
    if (resource == null && values) {
      this.submit();
      this.webgpu.queue.writeBuffer(input, 0, asStored(values, dtype));
    }
  }
}

/** @returns the dtype, shape and stored dtype of a tensor; one on another backend is moved to `webgpu`. */
export function specOf(webgpu: WebGPUBackend, {shape, dtype, dataId}: Tensor): TensorSpec {
  return {shape, dtype, storedDtype: dataOf(webgpu, dataId).dtype};
}

/** Values as tfjs uploads them. */
function asStored(values: BackendValues, dtype: DataType): Float32Array<ArrayBuffer> | Int32Array<ArrayBuffer> {
  const Stored = dtype === 'int32' || dtype === 'bool' ? Int32Array : Float32Array;
  return values instanceof Stored ? values as Float32Array<ArrayBuffer> : new Stored(values as Uint8Array);
}

/** The variables whose values were read, and those of the model. */
function watchedVariables(externals: readonly External[], weights: readonly Tensor[]): WatchedVariable[] {
  const read = new Set(externals.map(({dataId}) => dataId));
  const registered: Variable[] = Object.values(engine().state.registeredVariables);
  const variables = new Set<Tensor>([...weights, ...registered.filter(({dataId}) => read.has(dataId))]);
  return [...variables].map(variable => ({variable, dataId: variable.dataId}));
}

/** The GPU buffers of a recording. */
class RecordingMemory {
  bytes = 0;
  private readonly owned: GPUBuffer[] = [];
  private readonly bindings = new Map<VirtualBuffer, GPUBufferBinding & {buffer: GPUBuffer}>();

  constructor(private readonly device: GPUDevice, trace: Trace) {
    const {COPY_SRC, COPY_DST, STORAGE, UNIFORM} = GPUBufferUsage;
    const used = new Set([
      ...trace.dispatches.flatMap(({bindings}) => bindings.map(({buffer}) => buffer)),
      ...trace.outputs.map(({buffer}) => buffer),
    ].filter(buffer => buffer instanceof VirtualBuffer));
    for (const input of trace.inputs) {
      this.bindings.set(input, {buffer: this.create(input.size, STORAGE | COPY_SRC | COPY_DST)});
      used.delete(input);
    }
    const given = [...used].filter(({data}) => data);
    this.packUniforms(given.filter(({usage}) => usage & UNIFORM));
    for (const constant of given.filter(({usage}) => !(usage & UNIFORM))) {
      const buffer = this.create(constant.size, STORAGE | COPY_SRC, [[0, constant.data!]]);
      this.bindings.set(constant, {buffer});
    }
    this.share([...used].filter(({data}) => !data), trace, STORAGE | COPY_SRC);
  }

  /** Where a buffer of the trace lies on the GPU. */
  binding(buffer: VirtualBuffer | GPUBuffer): GPUBufferBinding & {buffer: GPUBuffer} {
    return buffer instanceof VirtualBuffer ? this.bindings.get(buffer)! : {buffer};
  }

  /** Drops the contents that it holds on the CPU. */
  forgetTrace(): void {
    this.bindings.clear();
  }

  destroy(): void {
    this.owned.forEach(buffer => buffer.destroy());
  }

  private create(size: number, usage: number, contents: Array<[offset: number, data: ArrayBuffer]> = []): GPUBuffer {
    const buffer = this.device.createBuffer({size, usage, mappedAtCreation: contents.length > 0});
    this.owned.push(buffer);
    this.bytes += size;
    if (contents.length > 0) {
      const mapped = new Uint8Array(buffer.getMappedRange());
      contents.forEach(([offset, data]) => mapped.set(new Uint8Array(data), offset));
      buffer.unmap();
    }
    return buffer;
  }

  /** Puts all uniforms in one buffer, equal ones once. */
  private packUniforms(uniforms: VirtualBuffer[]): void {
    const alignment = this.device.limits.minUniformBufferOffsetAlignment;
    const offsets = new Map<string, number>();
    const contents: Array<[number, ArrayBuffer]> = [];
    let bytes = 0;
    const placed = uniforms.map(uniform => {
      const key = new Uint32Array(uniform.data!).join();
      let offset = offsets.get(key);
      if (offset === undefined) {
        offset = Math.ceil(bytes / alignment) * alignment;
        offsets.set(key, offset);
        contents.push([offset, uniform.data!]);
        bytes = offset + uniform.size;
      }
      return {uniform, offset};
    });
    if (placed.length > 0) {
      const buffer = this.create(bytes, GPUBufferUsage.UNIFORM, contents);
      placed.forEach(({uniform, offset}) => this.bindings.set(uniform, {buffer, offset, size: uniform.size}));
    }
  }

  /** Gives buffers that dispatches write shared memory. Outputs are needed until after the last dispatch. */
  private share(buffers: VirtualBuffer[], {dispatches, outputs}: Trace, usage: number): void {
    const lifetimes = new Map<VirtualBuffer | GPUBuffer, Lifetime>(
      buffers.map(buffer => [buffer, {bytes: buffer.size, first: Infinity, last: 0}]));
    dispatches.forEach(({bindings}, i) => {
      for (const {buffer} of bindings) {
        const lifetime = lifetimes.get(buffer);
        if (lifetime) {
          lifetime.first = Math.min(lifetime.first, i);
          lifetime.last = i;
        }
      }
    });
    for (const {buffer} of outputs) {
      const lifetime = lifetimes.get(buffer);
      if (lifetime) {
        lifetime.last = Infinity;
      }
    }
    const {blocks, blockOf} = planMemory([...lifetimes.values()]);
    const memory = blocks.map(bytes => this.create(bytes, usage));
    buffers.forEach((buffer, i) => {
      this.bindings.set(buffer, {buffer: memory[blockOf[i]], offset: 0, size: buffer.size});
    });
  }
}
