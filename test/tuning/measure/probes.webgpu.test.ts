/** Measuring the GPU at hand: what comes out must be the device's, by either clock, and leave nothing behind. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {adapterNames, plausible, profileOf} from '../../../src/tuning/device_profile.js';
import {GpuClock, timeOneRun, type RecordPass} from '../../../src/tuning/measure/clock.js';
import {measureProfile} from '../../../src/tuning/measure/probes.js';

function device(): GPUDevice {
  return (tf.backend() as WebGPUBackend).device;
}

/** A pass of `runs` dispatches that count up to the same number, however often they are timed. */
async function work(turns: number): Promise<{record: (runs: number) => RecordPass; recorded: number[]}> {
  const code = `
    @group(0) @binding(0) var<storage, read_write> result: array<f32>;
    @compute @workgroup_size(64) fn main() {
      var x = result[0];
      for (var i = 0; i < ${turns}; i++) { x = fma(x, 0.5, 1.0); }
      result[0] = x;
    }`;
  const pipeline = await device().createComputePipelineAsync(
    {layout: 'auto', compute: {module: device().createShaderModule({code}), entryPoint: 'main'}});
  const buffer = device().createBuffer({size: 16, usage: GPUBufferUsage.STORAGE});
  const bindGroup = device().createBindGroup(
    {layout: pipeline.getBindGroupLayout(0), entries: [{binding: 0, resource: {buffer}}]});
  const recorded: number[] = [];
  return {recorded, record: runs => timestampWrites => {
    recorded.push(runs);
    const encoder = device().createCommandEncoder();
    const pass = encoder.beginComputePass({timestampWrites});
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, bindGroup);
    for (let i = 0; i < runs; ++i) {
      pass.dispatchWorkgroups(16);
    }
    pass.end();
    return {encoder, submit: () => device().queue.submit([encoder.finish()])};
  }};
}

describe('the clock of a GPU', () => {
  for (const stamps of [true, false]) {
    it(`sees ten times the work take longer ${stamps ? 'by timestamps' : 'by the wall clock'}`, async function() {
      if (stamps && !device().features.has('timestamp-query')) {
        this.skip();
      }
      const clock = new GpuClock(device(), stamps);
      const [little, much] = [await work(2000), await work(20_000)];
      const time = async ({record}: Awaited<ReturnType<typeof work>>) =>
        (await timeOneRun(clock, record, {leastMs: 10, mostRuns: 1000})).ms;
      await time(little);
      const ms = await time(little);
      expect(ms).to.be.above(0);
      expect(await time(much)).to.be.above(2 * ms);
    });
  }

  it('repeats what is too short to see, up to the limit', async () => {
    const {record, recorded} = await work(1);
    const never = {time: (pass: RecordPass) => {
      pass(undefined).submit();
      return Promise.resolve(0);
    }} as GpuClock;
    expect(await timeOneRun(never, record, {leastMs: 5, mostRuns: 50})).to.deep.equal({ms: 0, runs: 50});
    expect(recorded).to.deep.equal([1, 50]);
    expect((await timeOneRun(never, record, {leastMs: 0, mostRuns: 50, runs: 7})).runs).to.equal(7);
  });

  it('goes by the wall clock where the timestamps stand still', async () => {
    const {record} = await work(100);
    // Both stamps are those of the pass's beginning.
    const standing: RecordPass = stamps => record(1)(stamps && {...stamps, endOfPassWriteIndex: undefined});
    const slow: RecordPass = stamps => {
      const pass = standing(stamps);
      return {...pass, submit: () => {
        const until = performance.now() + 8;
        while (performance.now() < until); // as if the GPU were slow
        pass.submit();
      }};
    };
    expect(await new GpuClock(device()).time(slow)).to.be.above(5);
  });
});

describe('a measured profile', () => {
  it('is of this device: measured figures in place of the family’s, and the rest as it was', async function() {
    this.timeout(60_000);
    const known = profileOf(adapterNames(tf.backend() as WebGPUBackend));
    const measured = await measureProfile(tf.backend() as WebGPUBackend);
    expect(plausible(measured)).to.equal(measured);
    expect(measured.name).to.equal(`${known.name}, measured`);
    expect(measured.threadsPerCore).to.equal(known.threadsPerCore);
    for (const figure of ['tflops', 'memoryGBs', 'workgroupMemoryGBs', 'launchUs'] as const) {
      expect(measured[figure], figure).to.not.equal(known[figure]);
    }
    // Software or not: no device multiplies slower than a pocket calculator or faster than a thousand GPUs.
    expect(measured.tflops).to.be.within(1e-4, 1e5);
    expect(measured.memoryGBs).to.be.within(0.1, 1e5);
  });
});
