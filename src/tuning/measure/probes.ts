/**
 * Measures the rates of a GPU with four small programs, each limited by one thing: multiply-adds, workgroup memory,
 * memory, dispatches. Measures the host time of a program as well. device_profile.ts can only look these figures up.
 * The benchmark uses the same programs.
 *
 * WebGPU does not report the number of cores, in which members of a family differ (tenfold at Apple); it is scaled with
 * the measured arithmetic.
 */
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {NMTransposeProgram} from '../../../kernels/webgpu/passes/transpose_webgpu.js';
import {largestTensor} from '../../../kernels/webgpu/run_passes.js';
import {PreparedProgram} from '../../tfjs/prepared_program.js';
import {flush} from '../../tfjs/recorder.js';
import {adapterNames, plausible, profileOf, type DeviceProfile} from '../device_profile.js';
import {GpuClock, timeOneRun} from './clock.js';

/** Threads of a workgroup of every program. */
export const THREADS = 256;

/** Shortest pass whose time is trusted, and duration of the repetitions while the GPU raises its clock, in ms. */
const PASS_MS = 5;
const REPEAT_MS = 100;
const MAX_RUNS = 2000;
/** Bytes copied; twice this passes through memory, more than a last-level cache holds. */
const COPY_BYTES = 64 * 1024 * 1024;
/** Programs that the host sets up in a row, and rows and columns of their input: so few that the GPU keeps up. */
const HOST_PROGRAMS = 400;
const HOST_ROWS = 16;
const MAX_DISPATCH = 65535;
/** vec4s that a thread copies. */
export const VECS_PER_THREAD = 16;

/** Floats in independent accumulators, for every type. They hide the latency of a multiply-add. */
const FLOATS_IN_FLIGHT = 16;
const UNROLLED = 4;
/** Iterations of the multiply-add program, and of the workgroup-memory program with its reads per iteration. */
const FMA_LOOPS = 64;
const READ_LOOPS = 64;
const READS_PER_LOOP = 8;

/** FLOPs of one workgroup of {@link fmaCode}; a multiply-add counts two. */
export function fmaFlops(loops: number): number {
  return 2 * FLOATS_IN_FLIGHT * UNROLLED * loops * THREADS;
}

/** Multiply-adds in registers. Factor and bounds come from a buffer, so that the compiler can't fold the loop. */
export function fmaCode(type: 'f32' | 'vec4<f32>'): string {
  const sums = Array.from({length: FLOATS_IN_FLIGHT / (type === 'f32' ? 1 : 4)}, (_, i) => `sum${i}`);
  const iteration = sums.map(sum => `${sum} = fma(${sum}, factor, factor);`).join('\n');
  return `
    @group(0) @binding(0) var<storage, read_write> buffer: array<f32>;
    @compute @workgroup_size(${THREADS})
    fn main(@builtin(global_invocation_id) id: vec3<u32>) {
      let factor = ${type}(buffer[0]);
      let loops = u32(buffer[1]);
      ${sums.map((sum, i) => `var ${sum} = ${type}(f32(id.x) * 1e-6 + ${i}.0);`).join('\n')}
      for (var i = 0u; i < loops; i++) {
        ${Array.from({length: UNROLLED}, () => iteration).join('\n')}
      }
      let total = dot(vec4<f32>(${sums.join(' + ')}), vec4<f32>(1.0));
      if (total == buffer[2]) {
        buffer[3] = total;
      }
    }`;
}

/** What {@link fmaCode} binds: factor, loops, a sum that is never reached, and the place it would be written to. */
export function fmaBuffer(device: GPUDevice, loops: number): GPUBuffer {
  const data = new Float32Array([0.5, loops, -1, 0]);
  const buffer = device.createBuffer({size: data.byteLength, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST});
  device.queue.writeBuffer(buffer, 0, data);
  return buffer;
}

/** A program over two buffers of vec4s, `to` and `source`; its threads stride through them. */
export const memoryCode = (body: string) => `
  @group(0) @binding(0) var<storage, read_write> to: array<vec4<f32>>;
  @group(0) @binding(1) var<storage, read> source: array<vec4<f32>>;
  @compute @workgroup_size(${THREADS})
  fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) count: vec3<u32>) {
    let threads = count.x * ${THREADS}u;
    let length = arrayLength(&source);
    for (var i = id.x; i < length; i += threads) {
      ${body}
    }
  }`;

export const COPY_CODE = memoryCode('to[i] = source[i];');

/** Each dispatch reads what the one before wrote, as the passes of a product do. */
export const DISPATCH_CODE = `
  @group(0) @binding(0) var<storage, read_write> buffer: array<f32>;
  @compute @workgroup_size(1)
  fn main() {
    buffer[0] += 1.0;
  }`;

const WORKGROUP_MEMORY_CODE = `
  @group(0) @binding(0) var<storage, read_write> result: array<f32>;
  var<workgroup> tile: array<vec4<f32>, 512>;
  @compute @workgroup_size(${THREADS}) fn main(@builtin(local_invocation_index) local: u32) {
    tile[local] = vec4<f32>(f32(local));
    tile[local + ${THREADS}u] = vec4<f32>(1.0);
    workgroupBarrier();
    var sum = vec4<f32>(0.0);
    for (var i = 0u; i < ${READ_LOOPS}u; i++) {
      ${Array.from({length: READS_PER_LOOP}, (_, read) => `
      sum += tile[(local + i * 8u + ${read}u) % 512u];`).join('')}
    }
    if (sum.x + sum.y + sum.z + sum.w == -1.0) { result[0] = 1.0; }
  }`;

/** A pipeline and its bindings, in order. With several sets of bindings, each dispatch takes the next. */
export class Program {
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

/** Shortest ms of one dispatch: the program is timed again until the GPU has raised its clock. */
async function timeDispatch(clock: GpuClock, program: Program, workgroups: number): Promise<number> {
  const encode = (runs: number) => (pass: GPUComputePassEncoder) => program.encode(pass, workgroups, runs);
  let best = await timeOneRun(clock, encode, {leastMs: PASS_MS, mostRuns: MAX_RUNS});
  for (const end = performance.now() + REPEAT_MS; performance.now() < end;) {
    const again = await timeOneRun(clock, encode, {leastMs: PASS_MS, mostRuns: MAX_RUNS, runs: best.runs});
    best = again.ms < best.ms ? again : best;
  }
  return best.ms;
}

/** Measures the host time of one program, in µs: small ones in a row, until the GPU has executed them all. */
async function measureHostUs({device, adapterInfo, constructor}: WebGPUBackend): Promise<number> {
  // A backend of its own, so that nothing stays in the pools of the user's.
  const OwnBackend = constructor as new (device: GPUDevice, info: object) => WebGPUBackend;
  const backend = new OwnBackend(device, adapterInfo);
  const x = backend.makeTensorInfo([HOST_ROWS, HOST_ROWS], 'float32');
  const transpose = new NMTransposeProgram(HOST_ROWS, HOST_ROWS, HOST_ROWS, MAX_DISPATCH);
  const program = new PreparedProgram(transpose, transpose.uniformData());
  const time = async (count: number) => {
    const start = performance.now();
    for (let i = 0; i < count; ++i) {
      backend.disposeData(program.run(backend, [x]).dataId);
    }
    flush(backend);
    await backend.device.queue.onSubmittedWorkDone();
    return (performance.now() - start) / count;
  };
  try {
    await time(HOST_PROGRAMS);
    return Math.min(await time(HOST_PROGRAMS), await time(HOST_PROGRAMS)) * 1000;
  } finally {
    backend.dispose();
  }
}

/** Measures the profile of the backend's GPU, in about half a second; figures that can't be measured are looked up. */
export async function measureProfile(backend: WebGPUBackend): Promise<DeviceProfile> {
  const {device} = backend;
  const known = profileOf(adapterNames(backend));
  const clock = new GpuClock(device);
  const vecs = Math.floor(Math.min(COPY_BYTES, largestTensor(device.limits)) / 16);
  const bytes = 16 * vecs;
  const buffers = [0, 1].map(() => device.createBuffer({size: bytes, usage: GPUBufferUsage.STORAGE}));
  const factors = fmaBuffer(device, FMA_LOOPS);
  try {
    const [result, source] = buffers.map(buffer => ({buffer}));
    const workgroups = 16 * known.cores;
    const time = (code: string, bindings: GPUBufferBinding[], groups: number) =>
      timeDispatch(clock, new Program(device, code, bindings), groups);
    const fmaMs = await time(fmaCode('vec4<f32>'), [{buffer: factors}], workgroups);
    const workgroupMs = await time(WORKGROUP_MEMORY_CODE, [result], workgroups);
    const copyMs = await time(COPY_CODE, [result, source], Math.ceil(vecs / VECS_PER_THREAD / THREADS));
    const launchMs = await time(DISPATCH_CODE, [result], 1);
    const tflops = (workgroups * fmaFlops(FMA_LOOPS)) / fmaMs / 1e9;
    const memoryGBs = (2 * bytes) / copyMs / 1e6;
    return plausible({
      ...known,
      name: `${known.name}, measured`,
      tflops,
      memoryGBs,
      cacheGBs: (known.cacheGBs * memoryGBs) / known.memoryGBs,
      workgroupMemoryGBs: (workgroups * THREADS * READ_LOOPS * READS_PER_LOOP * 16) / workgroupMs / 1e6,
      launchUs: launchMs * 1000,
      hostUs: await measureHostUs(backend),
      cores: Math.max(1, Math.round((known.cores * tflops) / known.tflops)),
    }) ?? known;
  } finally {
    [...buffers, factors].forEach(buffer => buffer.destroy());
  }
}
