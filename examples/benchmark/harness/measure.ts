/**
 * Times a product on the GPU: two timestamps around one compute pass that runs it many times, so a transpose or a
 * second pass counts, and JavaScript and submission don't. Run Dawn or Chromium with the feature timestamp_quantization
 * disabled, or stamps are rounded to 65 µs.
 *
 * tf.time would be simpler, and was wrong: it waits for the GPU after every program, so the GPU idles in between
 * (and, it seems, lowers its clock), and memory-bound kernels look up to three times slower than they are: 0.146
 * against 0.050 ms for one GEMV on an H200.
 * Here every round keeps the GPU busy for ROUND_MS, after WARM_UP_MS of the same work.
 */
import {backend, env, type Tensor} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';

/** What of the backend is private, but the only way to put a time around its own command encoding. */
interface Encoding {
  commandEncoder: GPUCommandEncoder;
  computePassEncoder: GPUComputePassEncoder | null;
}

const WARM_UP_MS = 400;
const ROUND_MS = 30;
const ROUNDS = 5;
/** Outputs of a round are freed at its end. */
const MAX_OUTPUT_BYTES = 2 ** 31;

/**
 * @param product runs it for the i-th set of inputs: give several sets in turn where the cache could hold one.
 * @returns milliseconds of one product, the median of {@link ROUNDS} rounds.
 */
export async function measure(product: (i: number) => Tensor): Promise<number> {
  const webgpu = backend() as WebGPUBackend;
  if (!webgpu.device.features.has('timestamp-query')) {
    throw new Error('measure: the device has no timestamp-query, so there is no GPU time to measure.');
  }
  // The first run compiles.
  const first = product(0);
  const outputBytes = 4 * first.size;
  first.dispose();
  const most = Math.max(1, Math.floor(MAX_OUTPUT_BYTES / outputBytes));
  let ms = await timeRuns(webgpu, product, Math.min(3, most));
  const runsFor = (wanted: number) => Math.max(1, Math.min(most, 4000, Math.ceil(wanted / ms)));
  for (let spent = 0; spent < WARM_UP_MS;) {
    const runs = runsFor(ROUND_MS);
    ms = await timeRuns(webgpu, product, runs);
    spent += Math.max(ms * runs, 1);
  }
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; ++round) {
    times.push(await timeRuns(webgpu, product, runsFor(ROUND_MS)));
  }
  return times.sort((a, b) => a - b)[Math.floor(ROUNDS / 2)];
}

/** Milliseconds of one of `runs` products in one compute pass. */
async function timeRuns(webgpu: WebGPUBackend, product: (i: number) => Tensor, runs: number): Promise<number> {
  const {device} = webgpu;
  const stamps = device.createQuerySet({type: 'timestamp', count: 2});
  const resolved = device.createBuffer({size: 16, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC});
  const readable = device.createBuffer({size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST});
  const encoding = webgpu as unknown as Encoding;
  const batch = env().get('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE') as number;
  env().set('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE', Infinity);
  webgpu.ensureCommandEncoderReady();
  webgpu.endComputePassEncoder();
  webgpu.submitQueue();
  webgpu.ensureCommandEncoderReady();
  encoding.computePassEncoder = encoding.commandEncoder.beginComputePass({
    timestampWrites: {querySet: stamps, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1},
  });
  for (let i = 0; i < runs; ++i) {
    product(i).dispose();
  }
  webgpu.endComputePassEncoder();
  encoding.commandEncoder.resolveQuerySet(stamps, 0, 2, resolved, 0);
  encoding.commandEncoder.copyBufferToBuffer(resolved, 0, readable, 0, 16);
  webgpu.submitQueue();
  env().set('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE', batch);
  await readable.mapAsync(GPUMapMode.READ);
  const [begin, end] = new BigUint64Array(readable.getMappedRange());
  const ms = Number(end - begin) / 1e6 / runs;
  [resolved, readable].forEach(buffer => buffer.destroy());
  stamps.destroy();
  if (!(ms > 0)) {
    throw new Error(`measure: the GPU's clock gave ${ms} ms; its timestamps cannot be used.`);
  }
  return ms;
}
