/**
 * The rates and sizes of a GPU that the cost model needs: arithmetic, memories, and the work that keeps it busy. WebGPU
 * reports none of them, only names. So each known family has a profile here, from public figures of an average member;
 * every other GPU gets a guess.
 *
 * A profile only ranks programs, so the ratios of its figures matter, and members of a family have similar ratios.
 * measure/probes.ts measures the rates of the GPU at hand.
 */
import {env} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';

export interface DeviceProfile {
  /** The family, for people to read. */
  name: string;
  /** Peak of float32 arithmetic in TFLOPS; a multiply-add counts two. */
  tflops: number;
  /** What a large copy reaches, bytes read and written together, GB/s. */
  memoryGBs: number;
  /** Last-level cache: its size, and how fast all cores together read from it. */
  cacheBytes: number;
  cacheGBs: number;
  /** How fast all cores together read from workgroup memory, GB/s. */
  workgroupMemoryGBs: number;
  /** What a dispatch costs that waits for the one before, µs. */
  launchUs: number;
  /** What a tfjs program costs outside the GPU: JavaScript, and in a browser the GPU process; sustained, µs. */
  hostUs: number;
  /** Cores: what a workgroup runs on (SM, CU, Xe core, shader core). */
  cores: number;
  /** Threads in flight that keep one core busy, and its workgroup memory, which bounds how many workgroups share it. */
  threadsPerCore: number;
  coreMemoryBytes: number;
  /** Bytes of that memory reserved per workgroup, in addition to what the workgroup declares. */
  reservedBytes: number;
  /** Registers of 32 bits that a compiler may give a thread: what it needs beyond them lies in slow memory. */
  registersPerThread: number;
}

/** The names that a GPU reports: GPUAdapterInfo, or the two of its fields that tfjs keeps. */
export interface AdapterNames {
  vendor?: string;
  architecture?: string;
  device?: string;
  description?: string;
}

/** The family that the cost model was fitted to. All other profiles are guesses from public figures. */
export const FITTED_FAMILY = 'NVIDIA Hopper';

/**
 * Host time of a program, in µs, where it was not measured: of Node 20 with Dawn and of Chromium 156, on the machine of
 * docs/benchmarks.md. A page sends every call to the browser's GPU process.
 */
const HOST_US = {node: 25, page: 30};

const KB = 1024;
const MB = 1024 * KB;

type Figures = [
  tflops: number, memoryGBs: number, cacheBytes: number, cacheGBs: number, workgroupMemoryGBs: number, launchUs: number,
  cores: number, threadsPerCore: number, coreMemoryBytes: number, reservedBytes: number, registersPerThread: number,
];

/**
 * Families in the order they are tried: a pattern is looked for in "vendor architecture device description", in lower
 * case and with spaces for hyphens (the words are those of Dawn's gpu_info.json and of drivers; 0x23 and the like are
 * PCI ids). The last fits every name: a guess between a phone's GPU and a desktop's.
 *
 * Workgroup memory is bytes per clock and core × cores × clock: 128 bytes on NVIDIA and AMD, 64 on Turing and on
 * integrated GPUs; Mali keeps it in the ordinary cache. Registers are those of the instruction sets: 256 on NVIDIA
 * (less one) and AMD, 128 on Apple and, eight threads to an instruction, on Intel, 64 on Mali; elsewhere guessed.
 * NVIDIA keeps 1 KB of a core's memory for each workgroup from Ampere on (CUDA C++ Programming Guide, compute
 * capability 8.x); plans measured on an H200 fit any value from 0.1 to 0.75 KB as well or better
 * (docs/performance-model.md). On a software GPU (measured, SwiftShader on two CPU cores) barriers and dispatches are
 * slow.
 */
const FAMILIES: ReadonlyArray<[RegExp, string, Figures]> = [
  //  TFLOPS, memory GB/s, cache bytes and GB/s, workgroup memory GB/s, launch µs, cores, threads and memory of a
  //  core, reserved bytes of a workgroup, registers of a thread
  [/swiftshader|llvmpipe|lavapipe|mesa software|warp|basic render/, 'software',
    [0.01, 1, 8 * MB, 4, 0.5, 100, 4, 16, 32 * KB, 0, 256]],
  // H200: arithmetic and copy bandwidth are measured by small programs, cache and dispatch overhead are fitted to
  // products. An H100 has 0.7 of the memory bandwidth. Chromium reports no model, and only desktop architectures. If it
  // reports only the vendor (seen with an H200), we assume a data-centre GPU. It may also be newer than the browser.
  // A Hopper core has 228 KB of workgroup memory; measured plans behave as if it had 51 KB. Workgroups beyond that form
  // another wave.
  [/^nvidia *$|nvidia.*(hopper|\bgh200|\bh(100|200|800)\b|0x23)/, FITTED_FAMILY,
    [58, 4060, 50 * MB, 5550, 33_400, 3.5, 132, 512, 51 * KB, KB, 256]],
  [/nvidia.*(\ba100\b|0x20)/, 'NVIDIA A100', [19.5, 1400, 40 * MB, 4500, 19_500, 3, 108, 512, 164 * KB, KB, 256]],
  [/nvidia.*blackwell/, 'NVIDIA Blackwell', [30.9, 620, 48 * MB, 3000, 15_400, 4, 48, 512, 100 * KB, KB, 256]],
  [/nvidia.*lovelace/, 'NVIDIA Ada', [29.1, 470, 36 * MB, 2500, 14_600, 4, 46, 512, 100 * KB, KB, 256]],
  [/nvidia.*ampere/, 'NVIDIA Ampere', [29.8, 700, 5 * MB, 2000, 14_900, 4, 68, 512, 100 * KB, KB, 256]],
  [/nvidia.*turing/, 'NVIDIA Turing', [7.5, 410, 4 * MB, 1200, 3700, 4, 36, 512, 64 * KB, 0, 256]],
  [/nvidia.*(pascal|maxwell|kepler)/, 'NVIDIA Pascal', [6.5, 230, 2 * MB, 800, 3200, 5, 15, 1024, 96 * KB, 0, 256]],
  [/nvidia/, 'NVIDIA', [15, 450, 16 * MB, 1800, 7500, 4, 40, 512, 100 * KB, KB, 256]],
  [/apple/, 'Apple', [3.6, 90, 8 * MB, 250, 900, 5, 10, 512, 32 * KB, 0, 128]],
  [/samsung/, 'Samsung RDNA', [1.2, 45, 2 * MB, 150, 1200, 10, 6, 512, 64 * KB, 0, 256]],
  [/amd.*rdna 1/, 'AMD RDNA 1', [7.9, 400, 4 * MB, 1500, 7900, 5, 36, 512, 64 * KB, 0, 256]],
  [/amd.*rdna 2/, 'AMD RDNA 2', [13.2, 350, 96 * MB, 1200, 12_800, 5, 40, 512, 64 * KB, 0, 256]],
  // Half of the advertised TFLOPS: a compiler seldom finds two instructions to issue together.
  [/amd.*rdna/, 'AMD RDNA 3', [18.6, 570, 64 * MB, 2500, 18_600, 5, 60, 512, 64 * KB, 0, 256]],
  [/amd/, 'AMD GCN', [6.2, 220, 2 * MB, 900, 6200, 6, 36, 512, 64 * KB, 0, 256]],
  [/intel.*(12 ?hp|xe ?2? ?hpg|\barc\b)/, 'Intel Arc', [17, 500, 16 * MB, 1500, 4300, 6, 32, 512, 64 * KB, 0, 128]],
  [/intel.*(gen 1[2-9]|xe)/, 'Intel Xe', [2.2, 55, 4 * MB, 180, 520, 8, 6, 512, 64 * KB, 0, 128]],
  [/intel/, 'Intel Gen 9', [0.44, 30, MB, 80, 200, 10, 3, 512, 64 * KB, 0, 128]],
  [/adreno (7xx|8xx|x)/, 'Adreno 7xx', [2.2, 55, 2 * MB, 150, 500, 15, 6, 512, 32 * KB, 0, 128]],
  [/qualcomm|adreno/, 'Adreno 6xx', [1.2, 30, MB, 100, 250, 20, 4, 512, 32 * KB, 0, 128]],
  [/\barm\b|mali/, 'Mali', [1, 35, 2 * MB, 120, 120, 20, 10, 384, 32 * KB, 0, 64]],
  [/img tec|powervr/, 'PowerVR', [0.5, 20, MB, 60, 120, 20, 2, 512, 16 * KB, 0, 64]],
  [/^/, 'unknown GPU', [5, 150, 4 * MB, 600, 3000, 5, 24, 512, 32 * KB, 0, 128]],
];

/** The profile of the family that an adapter's names belong to. */
export function profileOf(
    {vendor = '', architecture = '', device = '', description = ''}: AdapterNames = {}): DeviceProfile {
  const names = `${vendor} ${architecture} ${device} ${description}`.toLowerCase().replace(/[-_]/g, ' ');
  const [, name, figures] = FAMILIES.find(([pattern]) => pattern.test(names))!;
  const [
    tflops, memoryGBs, cacheBytes, cacheGBs, workgroupMemoryGBs, launchUs, cores, threadsPerCore, coreMemoryBytes,
    reservedBytes, registersPerThread,
  ] = figures;
  return {
    name, tflops, memoryGBs, cacheBytes, cacheGBs, workgroupMemoryGBs, launchUs,
    hostUs: env().get('IS_NODE') ? HOST_US.node : HOST_US.page,
    cores, threadsPerCore, coreMemoryBytes, reservedBytes, registersPerThread,
  };
}

/**
 * Returns a measured or stored profile if it is complete and every figure is finite and above 0; else undefined. A
 * figure may be 0 if it is 0 in the default profile (reservedBytes, which is no divisor).
 */
export function plausible(profile: Partial<DeviceProfile>): DeviceProfile | undefined {
  const sound = Object.entries(profileOf()).every(([figure, known]) => {
    const value = profile[figure as keyof DeviceProfile];
    return typeof value === typeof known &&
      (typeof value !== 'number' || ((value > 0 || value === known) && Number.isFinite(value)));
  });
  return sound ? profile as DeviceProfile : undefined;
}

/** The names that a backend's GPU reports. tfjs keeps two of them; the devices of newer browsers have all four. */
export function adapterNames({device, adapterInfo}: WebGPUBackend): Required<AdapterNames> {
  const names: AdapterNames =
      (device as {adapterInfo?: AdapterNames}).adapterInfo ?? (adapterInfo as object | undefined) ?? {};
  const {vendor = '', architecture = '', device: model = '', description = ''} = names;
  return {vendor, architecture, device: model, description};
}
