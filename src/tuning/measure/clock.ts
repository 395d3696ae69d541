/**
 * Times one compute pass on the GPU: with timestamps around the pass where the device has them, else by the wall clock
 * from submission to completion. The pass is recorded before the clock starts, so JavaScript doesn't count.
 *
 * One pass of many dispatches, not many passes: timestamps of a page are rounded to 0.1 ms, a wall clock adds as much
 * for the way there and back, and a GPU that waits between short passes lowers its own clock.
 */

/** A recorded pass: its encoder, not yet finished, and what sends it off. */
export interface RecordedPass {
  encoder: GPUCommandEncoder;
  submit(): void;
}

/** Records a pass whose descriptor holds `timestampWrites`. */
export type RecordPass = (timestampWrites: GPUComputePassDescriptor['timestampWrites']) => RecordedPass;

/** Where the wall clock sees so many milliseconds, a GPU clock that sees none is broken. */
const SURELY_SEEN_MS = 5;

export class GpuClock {
  private stamps: boolean;

  constructor(private readonly device: GPUDevice, stamps = device.features.has('timestamp-query')) {
    this.stamps = stamps;
  }

  /** Milliseconds that the pass takes; 0 where it is shorter than the clock can see. */
  async time(record: RecordPass): Promise<number> {
    return this.stamps ? this.timeByStamps(record) : this.timeByWall(record(undefined));
  }

  private async timeByStamps(record: RecordPass): Promise<number> {
    const {device} = this;
    const querySet = device.createQuerySet({type: 'timestamp', count: 2});
    const resolved = device.createBuffer({size: 16, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC});
    const readable = device.createBuffer({size: 16, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST});
    try {
      const pass = record({querySet, beginningOfPassWriteIndex: 0, endOfPassWriteIndex: 1});
      pass.encoder.resolveQuerySet(querySet, 0, 2, resolved, 0);
      pass.encoder.copyBufferToBuffer(resolved, 0, readable, 0, 16);
      const wallMs = await this.timeByWall(pass);
      await readable.mapAsync(GPUMapMode.READ);
      const [begin, end] = new BigUint64Array(readable.getMappedRange());
      const ms = Number(end - begin) / 1e6;
      this.stamps = ms > 0 ? ms < 2 * wallMs + SURELY_SEEN_MS : wallMs < SURELY_SEEN_MS;
      return this.stamps ? ms : wallMs;
    } finally {
      [resolved, readable, querySet].forEach(each => each.destroy());
    }
  }

  private async timeByWall({submit}: RecordedPass): Promise<number> {
    const start = performance.now();
    submit();
    await this.device.queue.onSubmittedWorkDone();
    return performance.now() - start;
  }
}

/**
 * Times one run of something that `record` does `runs` times in a pass: as many times as it takes to fill `leastMs`, at
 * most `mostRuns`, beginning with `runs`.
 * @returns milliseconds of one run, and how many filled the pass.
 */
export async function timeOneRun(
    clock: GpuClock, record: (runs: number) => RecordPass,
    {leastMs, mostRuns, runs = 1}: {leastMs: number; mostRuns: number; runs?: number},
): Promise<{ms: number; runs: number}> {
  for (;;) {
    const ms = await clock.time(record(runs));
    if (ms >= leastMs || runs >= mostRuns) {
      return {ms: ms / runs, runs};
    }
    // At least fourfold, at most to the aim: a first run is often slow, and must not stand for the others.
    runs = Math.min(mostRuns, Math.ceil(runs * Math.min(64, Math.max(4, (1.2 * leastMs) / Math.max(ms, 0.01)))));
  }
}
