/**
 * What the device can do at best: multiply-adds with nothing but registers, and bytes to and from its memory. Kernels
 * are judged by these, not by a data sheet, for they hold for the clock, the driver and the WGSL compiler of the run.
 * The multiply-adds also serve as work that keeps the clock up (Heater).
 */
import {timePasses, type EncodePass} from '../../../src/tuning/measure/clock.js';
import {
  COPY_CODE, DISPATCH_CODE, fmaBuffer, fmaCode, fmaFlops, memoryCode, Program, THREADS, VECS_PER_THREAD,
} from '../../../src/tuning/measure/probes.js';

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

const PASSES = 5;

/** Iterations of the multiply-add program. */
const LOOPS = 256;
const FLOPS_PER_WORKGROUP = fmaFlops(LOOPS);
/** Of a dispatch of multiply-adds: long against what starting it costs. */
const DISPATCH_MS = 5;
const MAX_WORKGROUPS = 65535;

const COPIES_PER_PASS = 2;
/** Megabytes read and written, together, of the short copies; what a pass of them takes, and the grids to try. */
const SHORT_COPIES = [8, 16, 24, 48, 96, 192, 384];
const SHORT_COPIES_MS = 5;
const MAX_SHORT_COPIES = 2000;
const SHORT_VECS_PER_THREAD = [4, 16];

/** Fills the source of a copy; hardware may move the zeros of a new buffer faster. */
const FILL_CODE = memoryCode('to[i] = vec4<f32>(vec4<u32>(i, i + 1u, i + 2u, i + 3u) * 2654435761u);');

const DISPATCHES_PER_PASS = 1000;

/** Work of a known duration (by the GPU's clock, once warm) to put before what is timed: an idle GPU starts slow. */
export class Heater {
  private constructor(
      private readonly program: Program, readonly workgroups: number, private readonly dispatchMs: number) {}

  /** @param coldMs how long this GPU takes to get warm. */
  static async create(device: GPUDevice, coldMs: number): Promise<Heater> {
    const program = new Program(device, fmaCode('f32'), [{buffer: fmaBuffer(device, LOOPS)}]);
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
    const buffer = fmaBuffer(device, LOOPS);
    const ms = await best(new Program(device, fmaCode(type), [{buffer}]), heater.workgroups, 1);
    buffer.destroy();
    return (FLOPS_PER_WORKGROUP * heater.workgroups) / ms / 1e9;
  };
  const copy = new Program(device, COPY_CODE, [{buffer: target}, {buffer: source}]);
  const copyMs = await best(copy, memoryWorkgroups, COPIES_PER_PASS);
  const dispatchMs = await best(new Program(device, DISPATCH_CODE, [{buffer: target}]), 1, DISPATCHES_PER_PASS);
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
    copyGigabytesPerSecond: (2 * size) / copyMs / 1e6, dispatchMicroseconds: 1000 * dispatchMs, copies,
  };
  [source, target].forEach(buffer => buffer.destroy());
  return figures;
}
