/**
 * GPU time of compute passes. Run Dawn or Chromium with the feature timestamp_quantization disabled, or stamps are
 * rounded to 65 µs.
 *
 * Only the ends of passes are stamped, and a pass lasts from the end of the one before: a stamp at a beginning may be
 * taken while earlier passes still run, for it waits for nothing.
 */

export type EncodePass = (pass: GPUComputePassEncoder) => void;

/**
 * Runs compute passes one after the other, in one submission.
 * @param leadIn the first pass; not timed.
 * @returns milliseconds of each of `passes`.
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
  const times = passes.map((_, i) => Number(ends[i + 1] - ends[i]) / 1e6);
  [resolved, readable].forEach(buffer => buffer.destroy());
  stamps.destroy();
  return times;
}
