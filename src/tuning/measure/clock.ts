/**
 * GPU time of compute passes: by timestamps where the device has them, else by the wall clock from submission to
 * completion. Everything that this package times on a GPU is timed here, the benchmark included.
 *
 * A pass should hold many dispatches. Pages get timestamps rounded to 0.1 ms, the wall clock adds as much for the way
 * to the GPU and back, and a GPU that idles between short passes lowers its clock.
 */

/** Encodes the work of a pass. */
export type EncodePass = (pass: GPUComputePassEncoder) => void;

/** If the wall clock shows more than this many ms and the timestamps show 0, the timestamps stand still. */
const STANDSTILL_MS = 5;

/**
 * Times compute passes by timestamps, in one submission.
 *
 * Only the ends of passes are stamped; a pass lasts from the end of the one before. A stamp at its beginning could be
 * taken while earlier passes still run. Run Dawn or Chromium with the feature timestamp_quantization disabled, or
 * stamps are rounded to 65 or 100 µs.
 * @param leadIn the first pass; not timed.
 * @returns ms of each of `passes`.
 * @throws Error if the device has no timestamp-query.
 */
export async function timePasses(device: GPUDevice, leadIn: EncodePass, passes: EncodePass[]): Promise<number[]> {
  if (!device.features.has('timestamp-query')) {
    throw new Error('timePasses: the device has no timestamp-query, so there is no GPU time to measure.');
  }
  const stampCount = passes.length + 1;
  const bytes = 8 * stampCount;
  const stamps = device.createQuerySet({type: 'timestamp', count: stampCount});
  const resolved = device.createBuffer({size: bytes, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC});
  const readable = device.createBuffer({size: bytes, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST});
  try {
    const encoder = device.createCommandEncoder();
    [leadIn, ...passes].forEach((encode, endOfPassWriteIndex) => {
      const pass = encoder.beginComputePass({timestampWrites: {querySet: stamps, endOfPassWriteIndex}});
      encode(pass);
      pass.end();
    });
    encoder.resolveQuerySet(stamps, 0, stampCount, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, readable, 0, bytes);
    device.queue.submit([encoder.finish()]);
    await readable.mapAsync(GPUMapMode.READ);
    const ends = new BigUint64Array(readable.getMappedRange());
    return passes.map((_, i) => Number(ends[i + 1] - ends[i]) / 1e6);
  } finally {
    [resolved, readable, stamps].forEach(each => each.destroy());
  }
}

/** Times single passes on any device, with timestamps or without. */
export class GpuClock {
  constructor(private readonly device: GPUDevice, private stamps = device.features.has('timestamp-query')) {}

  /** @returns ms that the pass takes; 0 if it is shorter than the clock can show. */
  async time(leadIn: EncodePass, encode: EncodePass): Promise<number> {
    if (!this.stamps) {
      return this.timeByWall(encode);
    }
    const start = performance.now();
    const [ms] = await timePasses(this.device, leadIn, [encode]);
    const wallMs = performance.now() - start;
    // Drivers exist whose timestamps stand still or run away.
    this.stamps = ms > 0 ? ms < 2 * wallMs + STANDSTILL_MS : wallMs < STANDSTILL_MS;
    return this.stamps ? ms : this.timeByWall(encode);
  }

  private async timeByWall(encode: EncodePass): Promise<number> {
    const encoder = this.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    encode(pass);
    pass.end();
    const commands = encoder.finish();
    const start = performance.now();
    this.device.queue.submit([commands]);
    await this.device.queue.onSubmittedWorkDone();
    return performance.now() - start;
  }
}

/**
 * Times one run of work that can be encoded any number of times in a pass. Runs are added until the pass takes
 * `leastMs` or holds `mostRuns`, beginning with `runs`.
 * @returns ms of one run, and the number of runs in the last pass.
 */
export async function timeOneRun(
    clock: Pick<GpuClock, 'time'>, encode: (runs: number) => EncodePass,
    {leastMs, mostRuns, runs = 1}: {leastMs: number; mostRuns: number; runs?: number},
): Promise<{ms: number; runs: number}> {
  for (;;) {
    const ms = await clock.time(encode(1), encode(runs));
    if (ms >= leastMs || runs >= mostRuns) {
      return {ms: ms / runs, runs};
    }
    // At least fourfold: the first run is often slow and must not stand for the others. At most what leastMs needs.
    runs = Math.min(mostRuns, Math.ceil(runs * Math.min(64, Math.max(4, (1.2 * leastMs) / Math.max(ms, 0.01)))));
  }
}
