/**
 * Times a product on the GPU: timestamps around compute passes that run it many times. Transposes and second passes
 * count; JavaScript and submission do not.
 *
 * tf.time would be simpler, but it waits for the GPU after every program. The GPU then idles and seems to lower its
 * clock: memory-bound kernels looked up to three times slower (one GEMV on an H200: 0.146 ms instead of 0.050). Here
 * all rounds are one submission, behind work that raises the clock, more of it after a pause. Products are recorded
 * once (src/tfjs/recorder.ts), because tfjs cannot encode small ones as fast as the GPU runs them.
 */
import type {Tensor} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {Heater, measureDevice, type DeviceFigures} from './device.js';
import {flush, record, replay, type Recording} from '../../../src/tfjs/recorder.js';
import {timePasses} from '../../../src/tuning/measure/clock.js';

/** How much care is taken. */
export interface Effort {
  /** Busy work before rounds: as long as the GPU has paused, within these. */
  warmMs: number;
  coldMs: number;
  /** What rounds last at least, and at most unless a single product takes longer. */
  roundMs: number;
  longestRoundMs: number;
  /** Inputs are rotated until they outgrow any cache. */
  cacheBytes: number;
  /** What the device's bandwidth is measured with. */
  deviceBytes: number;
}

export const FULL_EFFORT: Effort = {
  warmMs: 20, coldMs: 300, roundMs: 10, longestRoundMs: 50, cacheBytes: 256 * 2 ** 20, deviceBytes: 2 ** 30,
};

/** For software GPUs and tests: figures without meaning. */
export const LEAST_EFFORT: Effort = {
  warmMs: 1, coldMs: 1, roundMs: 1, longestRoundMs: 5, cacheBytes: 64 * 1024, deviceBytes: 2 ** 20,
};

const ROUNDS = 5;
/** Of a long product; less only where {@link Effort.longestRoundMs} would be exceeded. */
const MIN_RUNS = 3;
/** Of a race: rounds are shorter by this factor, and so many; few in a submission, for the GPU must not seem hung. */
const RACE_SHARE = 5;
const RACE_TURNS = 4;
const RACERS_AT_ONCE = 8;
/** Encoding has its price still. */
const MAX_DISPATCHES = 4000;
/** Systems take a GPU that is silent for two seconds to have hung. */
const MAX_SUBMISSION_MS = 1000;
/** Runs are multiplied by this until a trial takes a tenth of a round. */
const TRIAL_FACTOR = 32;

interface Racer {
  recordings: Recording[];
  next: number;
  runs: number;
  ms: number;
}

/** Runs a product for the i-th set of inputs. */
export type Product = (i: number) => Tensor;

/** Milliseconds of one product: median, least and most of the rounds. */
export interface Timing {
  ms: number;
  msMin: number;
  msMax: number;
}

export class Stopwatch {
  /** By performance.now(). */
  private warmUntil = performance.now();

  private constructor(
      readonly webgpu: WebGPUBackend, readonly effort: Effort, private readonly heater: Heater) {}

  static async create(webgpu: WebGPUBackend, effort: Effort): Promise<Stopwatch> {
    return new Stopwatch(webgpu, effort, await Heater.create(webgpu.device, effort.coldMs));
  }

  async measureDevice(): Promise<DeviceFigures> {
    const {coldMs, deviceBytes} = this.effort;
    return measureDevice(this.webgpu.device, this.heater, coldMs, deviceBytes);
  }

  /** Gives the GPU work while the caller computes on the CPU; returns at once. */
  keepWarm(): void {
    const {device} = this.webgpu;
    const ms = this.warmUpMs();
    flush(this.webgpu);
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    this.heater.encode(pass, ms);
    pass.end();
    device.queue.submit([encoder.finish()]);
    this.warmUntil = performance.now() + ms;
  }

  /**
   * @param product must have run before, so that it is compiled.
   * @param sets how many sets of inputs there are: several, where the cache could hold one.
   */
  async measure(product: Product, sets: number): Promise<Timing> {
    const [recordings] = this.record([product], sets);
    const {roundMs, longestRoundMs} = this.effort;
    const most = Math.max(1, Math.floor(MAX_DISPATCHES / recordings[0].length));
    let runs = 1;
    let [ms] = await this.timeRounds(recordings, 1, runs);
    while (ms * runs < roundMs / 10 && runs < most) {
      runs = Math.min(most, runs * TRIAL_FACTOR);
      [ms] = await this.timeRounds(recordings, 1, runs);
    }
    runs = Math.min(
      most, Math.max(MIN_RUNS, Math.ceil(roundMs / ms)), Math.max(1, Math.floor(longestRoundMs / ms)));
    const submissions = ms * runs * ROUNDS > MAX_SUBMISSION_MS ? ROUNDS : 1;
    const times: number[] = [];
    for (let i = 0; i < submissions; ++i) {
      times.push(...await this.timeRounds(recordings, ROUNDS / submissions, runs));
    }
    flush(this.webgpu);
    times.sort((a, b) => a - b);
    const [msMin, msMax] = [times[0], times[ROUNDS - 1]];
    checkClock(msMin);
    return {ms: times[Math.floor(ROUNDS / 2)], msMin, msMax};
  }

  /**
   * Compares products: short rounds, in turn, and the least of each.
   * @returns milliseconds of each.
   */
  async race(products: Product[], sets: number): Promise<number[]> {
    const racers = this.record(products, sets)
        .map(recordings => ({recordings, next: 0, runs: 1, ms: Infinity}));
    const most = Math.floor(MAX_DISPATCHES / RACE_SHARE);
    // At first nobody knows how long they take: each by itself, once to warm up.
    for (const racer of [...racers, ...racers]) {
      await this.timeRacers([racer]);
    }
    for (const racer of racers) {
      const fitting = Math.max(1, Math.floor(most / racer.recordings[0].length));
      racer.runs = Math.max(1, Math.min(fitting, Math.ceil(this.effort.roundMs / RACE_SHARE / racer.ms)));
      racer.ms = Infinity;
    }
    for (let turn = 0; turn < RACE_TURNS; ++turn) {
      for (let first = 0; first < racers.length; first += RACERS_AT_ONCE) {
        await this.timeRacers(racers.slice(first, first + RACERS_AT_ONCE));
      }
    }
    flush(this.webgpu);
    for (const {ms} of racers) {
      checkClock(ms);
    }
    return racers.map(({ms}) => ms);
  }

  /** Recordings of each product with each set of inputs; valid until the next flush. */
  private record(products: Product[], sets: number): Recording[][] {
    const recordings = record(this.webgpu, products.flatMap(product =>
      Array.from({length: sets}, (_, i) => () => product(i).dispose())));
    return products.map((_, i) => recordings.slice(i * sets, (i + 1) * sets));
  }

  /** One submission; leaves the least time of each. */
  private async timeRacers(racers: Racer[]): Promise<void> {
    const warmUpMs = this.warmUpMs();
    const times = await timePasses(this.webgpu.device, pass => this.heater.encode(pass, warmUpMs), racers.map(racer =>
      (pass: GPUComputePassEncoder) => {
        for (let i = 0; i < racer.runs; ++i) {
          replay(pass, racer.recordings[racer.next++ % racer.recordings.length]);
        }
      }));
    this.warmUntil = performance.now();
    racers.forEach((racer, i) => {
      racer.ms = Math.min(racer.ms, times[i] / racer.runs);
    });
  }

  /** Milliseconds of one product, by round. */
  private async timeRounds(recordings: Recording[], rounds: number, runs: number): Promise<number[]> {
    const warmUpMs = this.warmUpMs();
    let next = 0;
    const run = (pass: GPUComputePassEncoder) => replay(pass, recordings[next++ % recordings.length]);
    const leadIn = (pass: GPUComputePassEncoder) => {
      this.heater.encode(pass, warmUpMs);
      run(pass);
    };
    const round = (pass: GPUComputePassEncoder) => {
      for (let i = 0; i < runs; ++i) {
        run(pass);
      }
    };
    const times = await timePasses(this.webgpu.device, leadIn, Array.from({length: rounds}, () => round));
    this.warmUntil = performance.now();
    return times.map(time => time / runs);
  }

  private warmUpMs(): number {
    const {coldMs, warmMs} = this.effort;
    return Math.min(coldMs, Math.max(warmMs, performance.now() - this.warmUntil));
  }
}

function checkClock(ms: number): void {
  if (!(ms > 0)) {
    throw new Error(`measure: the GPU's clock gave ${ms} ms; its timestamps cannot be used.`);
  }
}
