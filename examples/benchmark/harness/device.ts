/**
 * What the device can do at best: multiply-adds with nothing but registers, and bytes to and from its memory. Kernels
 * are judged by these, not by a data sheet, for they hold for the clock, the driver and the WGSL compiler of the run.
 * The multiply-adds also serve as work that keeps the clock up (Heater).
 */
import {timePasses, type EncodePass} from './pass_timer.js';

/** Fields of a run's JSON. */
export interface DeviceFigures {
  /** The better of the next two. */
  fmaTflops: number;
  fmaScalarTflops: number;
  fmaVec4Tflops: number;
  /** Bytes read and bytes written, both counted. */
  copyGigabytesPerSecond: number;
  /** What a dispatch takes that does next to nothing and waits for the one before. */
  dispatchMicroseconds: number;
  /** What dispatches take that each copy as many bytes, between places that no cache holds. */
  copies: Array<{megabytes: number; microseconds: number}>;
}

const THREADS = 256;
const PASSES = 5;

/** Independent sums hide the latency of an FMA; both types have as many floats in flight. */
const FLOATS_IN_FLIGHT = 16;
const TURNS = 4;
const LOOPS = 256;
const FLOPS_PER_WORKGROUP = 2 * FLOATS_IN_FLIGHT * TURNS * LOOPS * THREADS;
/** Of a dispatch of multiply-adds: long against what starting it costs. */
const DISPATCH_MS = 5;
const MAX_WORKGROUPS = 65535;

/** vec4s that a thread of a memory program moves. */
const VECS_PER_THREAD = 16;
const COPIES_PER_PASS = 2;
/** Megabytes read and written, together, of the short copies; what a pass of them takes, and the grids to try. */
const SHORT_COPIES = [8, 16, 24, 48, 96, 192, 384];
const SHORT_COPIES_MS = 5;
const MAX_SHORT_COPIES = 2000;
const SHORT_VECS_PER_THREAD = [4, 16];

/** The compiler can neither foresee the sums nor drop them: start, factor and bounds are the buffer's. */
function fmaCode(type: 'f32' | 'vec4<f32>'): string {
  const sums = Array.from({length: FLOATS_IN_FLIGHT / (type === 'f32' ? 1 : 4)}, (_, i) => `sum${i}`);
  const turn = sums.map(sum => `${sum} = fma(${sum}, factor, factor);`).join('\n');
  return `
    @group(0) @binding(0) var<storage, read_write> buffer: array<f32>;
    @compute @workgroup_size(${THREADS})
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
      let factor = ${type}(buffer[0]);
      let loops = u32(buffer[1]);
      ${sums.map((sum, i) => `var ${sum} = ${type}(f32(id.x) * 1e-6 + ${i}.0);`).join('\n')}
      for (var i = 0u; i < loops; i++) {
        ${Array.from({length: TURNS}, () => turn).join('\n')}
      }
      let total = dot(vec4<f32>(${sums.join(' + ')}), vec4<f32>(1.0));
      if (total == buffer[2]) {
        buffer[3] = total;
      }
    }`;
}

const memoryCode = (body: string) => `
  @group(0) @binding(0) var<storage, read_write> to: array<vec4<f32>>;
  @group(0) @binding(1) var<storage, read> source: array<vec4<f32>>;
  @compute @workgroup_size(${THREADS})
  fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>) {
    let threads = count.x * ${THREADS}u;
    let length = arrayLength(&source);
    ${body}
  }`;

const COPY_CODE = memoryCode(`
  for (var i = id.x; i < length; i += threads) {
    to[i] = source[i];
  }`);

/** Something else than the zeros of a new buffer, which hardware may be quicker with. */
const FILL_CODE = memoryCode(`
  for (var i = id.x; i < length; i += threads) {
    to[i] = vec4<f32>(vec4<u32>(i, i + 1u, i + 2u, i + 3u) * 2654435761u);
  }`);

/** Each adds to what the one before wrote. */
const STEP_CODE = `
  @group(0) @binding(0) var<storage, read_write> buffer: array<f32>;
  @compute @workgroup_size(1)
  fn main() {
    buffer[0] += 1.0;
  }`;
const STEPS_PER_PASS = 1000;

/** A pipeline and what it binds, in the order of its bindings; of several sets, each dispatch takes the next. */
class Program {
  private readonly pipeline: GPUComputePipeline;
  private readonly bindGroups: GPUBindGroup[];

  constructor(device: GPUDevice, code: string, ...sets: GPUBufferBinding[][]) {
    const compute = {module: device.createShaderModule({code}), entryPoint: 'main'};
    this.pipeline = device.createComputePipeline({layout: 'auto', compute});
    this.bindGroups = sets.map(set => device.createBindGroup({
      layout: this.pipeline.getBindGroupLayout(0), entries: set.map((resource, binding) => ({binding, resource})),
    }));
  }

  encode(pass: GPUComputePassEncoder, workgroups: number, times = 1): void {
    pass.setPipeline(this.pipeline);
    for (let i = 0; i < times; ++i) {
      pass.setBindGroup(0, this.bindGroups[i % this.bindGroups.length]);
      pass.dispatchWorkgroups(workgroups);
    }
  }
}

/** Factor, loops, a sum that never comes, and room for it: see {@link fmaCode}. */
function fmaBuffer(device: GPUDevice): GPUBuffer {
  const data = new Float32Array([0.5, LOOPS, -1, 0]);
  const buffer = device.createBuffer({size: data.byteLength, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST});
  device.queue.writeBuffer(buffer, 0, data);
  return buffer;
}

/** Work of a known duration (by the GPU's clock, once warm) to put before what is timed: an idle GPU starts slow. */
export class Heater {
  private constructor(
      private readonly program: Program, readonly workgroups: number, private readonly dispatchMs: number) {}

  /** @param coldMs how long this GPU takes to get warm. */
  static async create(device: GPUDevice, coldMs: number): Promise<Heater> {
    const program = new Program(device, fmaCode('f32'), [{buffer: fmaBuffer(device)}]);
    let workgroups = 1;
    const run = (times: number): EncodePass => pass => program.encode(pass, workgroups, times);
    let [ms] = await timePasses(device, run(1), [run(1)]);
    while (ms < DISPATCH_MS && workgroups < MAX_WORKGROUPS) {
      workgroups = Math.min(MAX_WORKGROUPS, workgroups * 4);
      [ms] = await timePasses(device, run(1), [run(1)]);
    }
    [ms] = await timePasses(device, run(Math.ceil(coldMs / ms)), [run(1)]);
    return new Heater(program, workgroups, ms);
  }

  encode(pass: GPUComputePassEncoder, ms: number): void {
    this.program.encode(pass, this.workgroups, Math.ceil(ms / this.dispatchMs));
  }
}

/** Two buffers as large as this device has memory for. */
async function largestBuffers(device: GPUDevice, mostBytes: number): Promise<GPUBuffer[]> {
  const {maxStorageBufferBindingSize, maxBufferSize} = device.limits;
  const size = 16 * Math.floor(Math.min(mostBytes, maxStorageBufferBindingSize, maxBufferSize) / 16);
  device.pushErrorScope('out-of-memory');
  const buffers = [0, 1].map(() => device.createBuffer({size, usage: GPUBufferUsage.STORAGE}));
  if (await device.popErrorScope() === null) {
    return buffers;
  }
  buffers.forEach(buffer => buffer.destroy());
  return largestBuffers(device, size / 2);
}

/** @param mostBytes of memory to copy; the device may allow less. */
export async function measureDevice(device: GPUDevice, heater: Heater, coldMs: number, mostBytes: number):
    Promise<DeviceFigures> {
  const [source, target] = await largestBuffers(device, mostBytes);
  const {size} = source;
  const memoryWorkgroups = Math.ceil(size / 16 / VECS_PER_THREAD / THREADS);
  const fill = new Program(device, FILL_CODE, [{buffer: source}, {buffer: target}]);
  const best = async (program: Program, workgroups: number, times: number): Promise<number> => {
    const run: EncodePass = pass => program.encode(pass, workgroups, times);
    const leadIn: EncodePass = pass => {
      fill.encode(pass, memoryWorkgroups);
      heater.encode(pass, coldMs);
      run(pass); // the first touch of a buffer clears it
    };
    return Math.min(...await timePasses(device, leadIn, Array.from({length: PASSES}, () => run))) / times;
  };
  const fma = async (type: 'f32' | 'vec4<f32>') => {
    const buffer = fmaBuffer(device);
    const ms = await best(new Program(device, fmaCode(type), [{buffer}]), heater.workgroups, 1);
    buffer.destroy();
    return (FLOPS_PER_WORKGROUP * heater.workgroups) / ms / 1e9;
  };
  const copy = new Program(device, COPY_CODE, [{buffer: target}, {buffer: source}]);
  const copyMs = await best(copy, memoryWorkgroups, COPIES_PER_PASS);
  const stepMs = await best(new Program(device, STEP_CODE, [{buffer: target}]), 1, STEPS_PER_PASS);
  const copies = [];
  for (const megabytes of SHORT_COPIES.filter(each => each * 1e6 <= size)) {
    // Offsets of bindings are multiples of 256.
    const half = 256 * Math.floor((megabytes * 1e6) / 512);
    const sets = Array.from({length: Math.floor(size / half)}, (_, i) =>
      [target, source].map(buffer => ({buffer, offset: i * half, size: half})));
    const program = new Program(device, COPY_CODE, ...sets);
    // A clock too coarse for the copy says 0.
    const inPass = Math.min(MAX_SHORT_COPIES, Math.ceil(SHORT_COPIES_MS / (copyMs * half / size)));
    const times = [];
    for (const vecs of SHORT_VECS_PER_THREAD) {
      times.push(await best(program, Math.ceil(half / 16 / vecs / THREADS), inPass));
    }
    copies.push({megabytes, microseconds: 1000 * Math.min(...times)});
  }
  const [fmaScalarTflops, fmaVec4Tflops] = [await fma('f32'), await fma('vec4<f32>')];
  const figures = {
    fmaTflops: Math.max(fmaScalarTflops, fmaVec4Tflops), fmaScalarTflops, fmaVec4Tflops,
    copyGigabytesPerSecond: (2 * size) / copyMs / 1e6, dispatchMicroseconds: 1000 * stepMs, copies,
  };
  [source, target].forEach(buffer => buffer.destroy());
  return figures;
}
