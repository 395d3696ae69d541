/** Measuring the GPU at hand: what comes out must be the device's, by either clock, and leave nothing behind. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {adapterNames, plausible, profileOf, type DeviceProfile} from '../../../src/tuning/device_profile.js';
import {GpuClock, timeOneRun, timePasses, type EncodePass} from '../../../src/tuning/measure/clock.js';
import {measureProfile, Program} from '../../../src/tuning/measure/probes.js';

function device(): GPUDevice {
  return (tf.backend() as WebGPUBackend).device;
}

/** Encodes any number of dispatches, and notes the number. */
async function work(turns: number): Promise<{encode: (runs: number) => EncodePass; encoded: number[]}> {
  const code = `
    @group(0) @binding(0) var<storage, read_write> result: array<f32>;
    @compute @workgroup_size(64) fn main() {
      var x = result[0];
      for (var i = 0; i < ${turns}; i++) { x = fma(x, 0.5, 1.0); }
      result[0] = x;
    }`;
  const buffer = device().createBuffer({size: 16, usage: GPUBufferUsage.STORAGE});
  const program = new Program(device(), code, [{buffer}]);
  const encoded: number[] = [];
  return {encoded, encode: runs => pass => {
    encoded.push(runs);
    program.encode(pass, 16, runs);
  }};
}

describe('the clock of a GPU', () => {
  for (const stamps of [true, false]) {
    it(`sees the GPU work ${stamps ? 'by timestamps' : 'by the wall clock'}`, async function() {
      if (stamps && !device().features.has('timestamp-query')) {
        this.skip();
      }
      const clock = new GpuClock(device(), stamps);
      const {encode} = await work(2000);
      expect((await timeOneRun(clock, encode, {leastMs: 10, mostRuns: 1000})).ms).to.be.above(0);
    });
  }

  /** A device whose submissions take `stamped` ms by the timestamps and `wall` ms by the wall clock. */
  function deviceThatTakes({stamped, wall}: {stamped: number; wall: number}): GPUDevice {
    const stamps = BigUint64Array.of(1000n, 1000n + BigInt(stamped * 1e6));
    const pass = {end: () => undefined};
    const wait = async () => {
      now += wall;
    };
    const buffer = {destroy: () => undefined, mapAsync: wait, getMappedRange: () => stamps.buffer};
    return {
      features: new Set(['timestamp-query']), createQuerySet: () => buffer, createBuffer: () => buffer,
      createCommandEncoder: () => ({
        beginComputePass: () => pass, finish: () => undefined, resolveQuerySet: () => undefined,
        copyBufferToBuffer: () => undefined,
      }),
      queue: {submit: () => undefined, onSubmittedWorkDone: wait},
    } as unknown as GPUDevice;
  }

  /** Time as performance.now has it in the test below. */
  let now = 0;
  const nothing = () => undefined;

  it('takes the timestamps where they make sense, else the wall clock from then on', async () => {
    Object.defineProperty(performance, 'now', {configurable: true, value: () => now});
    try {
      const time = (stamped: number, wall: number, stamps = true) =>
        new GpuClock(deviceThatTakes({stamped, wall}), stamps).time(nothing, nothing);
      expect(await time(3, 4)).to.equal(3);
      expect(await time(30, 40)).to.equal(30);
      expect(await time(3, 4, false)).to.equal(4);
      expect(await time(0, 4)).to.equal(0); // too short to see
      expect(await time(0, 6)).to.equal(6); // stands still
      expect(await time(1000, 6)).to.equal(6); // runs away
      const clock = new GpuClock(deviceThatTakes({stamped: 0, wall: 6}), true);
      expect([await clock.time(nothing, nothing), await clock.time(nothing, nothing)]).to.deep.equal([6, 6]);
    } finally {
      Reflect.deleteProperty(performance, 'now');
    }
  });

  it('times each pass by itself, the lead-in not at all', async function() {
    if (!device().features.has('timestamp-query')) {
      this.skip();
    }
    const {encode} = await work(500);
    const times = await timePasses(device(), encode(1), [encode(1), encode(64)]);
    expect(times).to.have.length(2);
    expect(times[1]).to.be.above(times[0]);
  });

  it('refuses to time passes on a device without timestamps', async () => {
    const without = {features: new Set()} as unknown as GPUDevice;
    expect(await timePasses(without, nothing, [nothing]).catch((error: Error) => error.message))
      .to.equal('timePasses: the device has no timestamp-query, so there is no GPU time to measure.');
  });

  it('repeats what is too short to see, up to the limit', async () => {
    const {encode, encoded} = await work(1);
    const never = {time: (_: EncodePass, pass: EncodePass) => {
      const encoder = device().createCommandEncoder();
      const compute = encoder.beginComputePass();
      pass(compute);
      compute.end();
      device().queue.submit([encoder.finish()]);
      return Promise.resolve(0);
    }};
    expect(await timeOneRun(never, encode, {leastMs: 5, mostRuns: 50})).to.deep.equal({ms: 0, runs: 50});
    expect(encoded).to.deep.equal([1, 50]);
    expect((await timeOneRun(never, encode, {leastMs: 0, mostRuns: 50, runs: 7})).runs).to.equal(7);
  });
});

describe('a measured profile', () => {
  it('is of this device: measured figures in place of the family’s, and the rest as it was', async function() {
    this.timeout(60_000);
    const known = profileOf(adapterNames(tf.backend() as WebGPUBackend));
    const measured = await measureProfile(tf.backend() as WebGPUBackend);
    expect(plausible(measured)).to.equal(measured);
    expect(measured.name).to.equal(`${known.name}, measured`);
    // Software or not: no device multiplies slower than a pocket calculator or faster than a thousand GPUs.
    expect(measured.tflops).to.be.within(1e-4, 1e5);
    expect(measured.memoryGBs).to.be.within(0.1, 1e5);
    // A program: at least a bind group and a dispatch; at most what nobody would use.
    expect(measured.hostUs).to.be.within(1, 1e5);
  });

  /** The profile measured when every pass takes this long. */
  async function measuredWhere(ms: number): Promise<DeviceProfile> {
    const {time} = GpuClock.prototype;
    GpuClock.prototype.time = () => Promise.resolve(ms);
    try {
      return await measureProfile(tf.backend() as WebGPUBackend);
    } finally {
      GpuClock.prototype.time = time;
    }
  }

  it('has rates inversely proportional to the measured times', async function() {
    this.timeout(60_000);
    const known = profileOf(adapterNames(tf.backend() as WebGPUBackend));
    const [slow, fast] = [await measuredWhere(20), await measuredWhere(10)];
    for (const figure of ['tflops', 'memoryGBs', 'cacheGBs', 'workgroupMemoryGBs'] as const) {
      expect(fast[figure], figure).to.be.closeTo(2 * slow[figure], 1e-9 * fast[figure]);
    }
    expect([slow.launchUs, fast.launchUs]).to.deep.equal([20_000, 10_000]);
    // 16 workgroups a core of 256 threads, each of which multiplies and adds 4 vec4s 256 times.
    expect(fast.tflops).to.be.closeTo((2 * 16 * known.cores * 256 * 256 * 16) / 10 / 1e9, 1e-9);
    expect(fast.cacheGBs / fast.memoryGBs).to.be.closeTo(known.cacheGBs / known.memoryGBs, 1e-6);
    expect(fast.threadsPerCore).to.equal(known.threadsPerCore);
  });

  it('is the family’s where the clock sees no time pass', async function() {
    this.timeout(60_000);
    expect(await measuredWhere(0)).to.deep.equal(profileOf(adapterNames(tf.backend() as WebGPUBackend)));
  });
});
