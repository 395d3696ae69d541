/**
 * Measures what device_profile.ts can only look up: four small programs, each doing one thing as fast as the GPU lets
 * it. A family's members differ by their number of cores, tenfold at Apple, and WebGPU does not say how many there
 * are; so that number is taken to grow with the arithmetic.
 */
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {largestTensor} from '../../../kernels/webgpu/run_passes.js';
import {adapterNames, plausible, profileOf, type DeviceProfile} from '../device_profile.js';
import {GpuClock, timeOneRun, type RecordPass} from './clock.js';

/** A pass has to last so long for its time to mean something, and is repeated while the GPU gets up to speed. */
const PASS_MS = 5;
const REPEAT_MS = 100;
const THREADS = 256;
/** Twice this is read and written: more than a last-level cache holds. */
const COPY_BYTES = 64 * 1024 * 1024;
const MAX_RUNS = 2000;

/** Turns of the two loops below, multiply-adds of one turn, and vec4s read in one. */
const TURNS = 64;
const FMAS_PER_TURN = 8 * 4;
const READS_PER_TURN = 8;
const EIGHT = [0, 1, 2, 3, 4, 5, 6, 7];

/** Eight independent sums of vec4s, so that no multiply-add waits for the one before. */
const FMA_WGSL = `
  @group(0) @binding(0) var<storage, read_write> result: array<f32>;
  @compute @workgroup_size(${THREADS}) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let step = vec4<f32>(f32(id.x) * 1e-9 + 0.5);
    ${EIGHT.map(i => `var sum${i} = step + ${i}.0;`).join(' ')}
    for (var turn = 0; turn < ${TURNS}; turn++) {
      ${EIGHT.map(i => `sum${i} = fma(sum${i}, step, step);`).join(' ')}
    }
    let total = ${EIGHT.map(i => `sum${i}`).join(' + ')};
    if (total.x + total.y + total.z + total.w == -1.0) { result[0] = 1.0; }
  }`;

const WORKGROUP_MEMORY_WGSL = `
  @group(0) @binding(0) var<storage, read_write> result: array<f32>;
  var<workgroup> tile: array<vec4<f32>, 512>;
  @compute @workgroup_size(${THREADS}) fn main(@builtin(local_invocation_index) local: u32) {
    tile[local] = vec4<f32>(f32(local));
    tile[local + ${THREADS}u] = vec4<f32>(1.0);
    workgroupBarrier();
    var sum = vec4<f32>(0.0);
    for (var turn = 0u; turn < ${TURNS}u; turn++) {
      ${EIGHT.map(i => `sum += tile[(local + turn * 8u + ${i}u) % 512u];`).join('\n      ')}
    }
    if (sum.x + sum.y + sum.z + sum.w == -1.0) { result[0] = 1.0; }
  }`;

const COPY_WGSL = `
  @group(0) @binding(0) var<storage, read_write> result: array<vec4<f32>>;
  @group(0) @binding(1) var<storage, read> source: array<vec4<f32>>;
  @compute @workgroup_size(${THREADS}) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    result[id.x] = source[id.x];
  }`;

/** Each dispatch reads what the one before wrote, as the passes of a product do. */
const LAUNCH_WGSL = `
  @group(0) @binding(0) var<storage, read_write> result: array<f32>;
  @compute @workgroup_size(1) fn main() {
    result[0] += 1.0;
  }`;

/** The profile of the backend's GPU, measured where that is possible. Takes about half a second. */
export async function measureProfile(backend: WebGPUBackend): Promise<DeviceProfile> {
  const {device} = backend;
  const known = profileOf(adapterNames(backend));
  const clock = new GpuClock(device);
  const {maxComputeWorkgroupsPerDimension} = device.limits;
  const bytesPerGroup = 16 * THREADS;
  const copyGroups = Math.min(maxComputeWorkgroupsPerDimension,
    Math.floor(Math.min(COPY_BYTES, largestTensor(device.limits)) / bytesPerGroup));
  const bytes = copyGroups * bytesPerGroup;
  const buffers = [0, 1].map(() => device.createBuffer({size: bytes, usage: GPUBufferUsage.STORAGE}));
  /** ms of one dispatch. */
  const time = async (code: string, inputs: GPUBuffer[], workgroups: number): Promise<number> => {
    const pipeline = await device.createComputePipelineAsync(
      {layout: 'auto', compute: {module: device.createShaderModule({code}), entryPoint: 'main'}});
    const bindGroup = device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: inputs.map((buffer, binding) => ({binding, resource: {buffer}})),
    });
    const record = (runs: number): RecordPass => timestampWrites => {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass({timestampWrites});
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      for (let i = 0; i < runs; ++i) {
        pass.dispatchWorkgroups(workgroups);
      }
      pass.end();
      return {encoder, submit: () => device.queue.submit([encoder.finish()])};
    };
    let best = await timeOneRun(clock, record, {leastMs: PASS_MS, mostRuns: MAX_RUNS});
    for (const end = performance.now() + REPEAT_MS; performance.now() < end;) {
      const again = await timeOneRun(clock, record, {leastMs: PASS_MS, mostRuns: MAX_RUNS, runs: best.runs});
      best = again.ms < best.ms ? again : best;
    }
    return best.ms;
  };
  try {
    const [result, source] = buffers;
    const workgroups = 16 * known.cores;
    const threads = workgroups * THREADS;
    const fmaMs = await time(FMA_WGSL, [result], workgroups);
    const workgroupMs = await time(WORKGROUP_MEMORY_WGSL, [result], workgroups);
    const copyMs = await time(COPY_WGSL, [result, source], copyGroups);
    const launchMs = await time(LAUNCH_WGSL, [result], 1);
    const tflops = (2 * threads * TURNS * FMAS_PER_TURN) / fmaMs / 1e9;
    return plausible({
      ...known,
      name: `${known.name}, measured`,
      tflops,
      memoryGBs: (2 * bytes) / copyMs / 1e6,
      cacheGBs: known.cacheGBs * ((2 * bytes) / copyMs / 1e6 / known.memoryGBs),
      workgroupMemoryGBs: (threads * TURNS * READS_PER_TURN * 16) / workgroupMs / 1e6,
      launchUs: launchMs * 1000,
      cores: Math.max(1, Math.round((known.cores * tflops) / known.tflops)),
    }) ?? known;
  } finally {
    buffers.forEach(buffer => buffer.destroy());
  }
}
