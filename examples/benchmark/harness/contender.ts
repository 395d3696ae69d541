/**
 * One model at one number of rows: predicts, is checked, and is timed as a user's page would time it. Each method takes
 * one sample or a few; the caller alternates between contenders, so that a GPU clock that changes affects all of them.
 */
import {dispose, slice, type Tensor, type Tensor2D} from '@tensorflow/tfjs-core';
import type {LayersModel} from '@tensorflow/tfjs-layers';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {captureModel, warmUp, type CapturedModel} from '../../../src/index.js';
import {compileInParallel} from '../../../src/tfjs/compile.js';
import {flush, record, replay} from '../../../src/tfjs/recorder.js';
import {timeOneRun, timePasses, type EncodePass} from '../../../src/tuning/measure/clock.js';
import {withFreshPrograms} from './fresh_programs.js';
import {DENSE, predictDecompressed, type ModelKernel} from './model_data.js';

/** Predicts between two read-backs. */
const BURST = 20;
/** Samples of the latency and of the JavaScript time, per round. */
const SAMPLES = 10;
/** Most dispatches in a compute pass that is timed: encoding them takes time too. */
const MAX_DISPATCHES = 4000;
const PASSES = 3;
/** Largest difference to the model of decompressed weights, relative to the largest output. */
const TOLERANCE = 1e-4;

type Predict = () => Tensor;

/** Samples of predict, or of a captured model's: ms of one predict. */
interface Samples {
  js: number[];
  latency: number[];
  sustained: number[];
}

const noSamples = (): Samples => ({js: [], latency: [], sustained: []});

export class Contender {
  /** Dispatches of one predict. */
  programs = 0;
  /** Largest error of an output; null for the dense model, which is not checked. */
  error: number | null = null;
  readonly plain = noSamples();
  readonly captured = noSamples();
  /** ms of a first predict, of a warmUp, of the first predict after it, of the next, and of one predict's GPU time. */
  readonly cold: number[] = [];
  readonly warmUp: number[] = [];
  readonly warm: number[] = [];
  readonly next: number[] = [];
  readonly gpu: number[] = [];
  private fast: CapturedModel | undefined;

  constructor(
      private readonly webgpu: WebGPUBackend, readonly kernel: ModelKernel, private readonly model: LayersModel,
      private readonly x: Tensor2D) {}

  private get rows(): number {
    return this.x.shape[0];
  }

  private readonly predict: Predict = () => this.model.predict(this.x, {batchSize: this.rows}) as Tensor;

  /**
   * Predicts with new programs: without warmUp, and twice after it. A GPU that waits for a compiler clocks down, so it
   * waits as long before the second of these.
   */
  async timeFirst(): Promise<void> {
    const {webgpu, model, x, rows} = this;
    await this.waitForGpu();
    await withFreshPrograms(webgpu, async () => {
      this.cold.push(await this.timeOnce());
      await this.compile(); // an interim plan may have run
    });
    await withFreshPrograms(webgpu, async () => {
      const start = performance.now();
      await warmUp(model, x, {batchSize: rows});
      const ms = performance.now() - start;
      this.warmUp.push(ms);
      this.warm.push(await this.timeOnce());
      await new Promise(resolve => setTimeout(resolve, ms));
      this.next.push(await this.timeOnce());
    });
  }

  /** Compiles the programs that are timed. */
  async compile(): Promise<void> {
    await compileInParallel(this.webgpu, () => this.predict().dispose());
  }

  /** @throws Error if a sparse model's prediction is wrong. */
  async check(): Promise<void> {
    if (this.kernel !== DENSE) {
      const [y, expected] = await bothOf(this.predict(), predictDecompressed(this.model, this.x));
      if (y.length !== expected.length) {
        throw new Error(`wrong: predict returns ${y.length} numbers; expected ${expected.length}`);
      }
      const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      const difference = y.reduce((most, value, i) =>
        Number.isNaN(value) ? Infinity : Math.max(most, Math.abs(value - expected[i])), 0);
      this.error = difference === 0 ? 0 : difference / largest;
      if (!(this.error <= TOLERANCE)) {
        throw new Error(`wrong: an output differs by ${difference}; the largest output is ${largest}`);
      }
    }
  }

  /**
   * Captures the model.
   * @throws Error if the captured model does not predict the same bits.
   */
  async capture(): Promise<void> {
    this.fast = await captureModel(this.model, this.x, {batchSize: this.rows});
    const [y, expected] = await bothOf(this.fast.predict(this.x) as Tensor, this.predict());
    const bits = (values: Float32Array) => new Uint32Array(values.buffer, values.byteOffset, values.length);
    const wanted = bits(expected);
    const wrong = y.length !== expected.length ? 0 : bits(y).findIndex((word, i) => word !== wanted[i]);
    if (wrong >= 0) {
      throw new Error(`wrong: output ${wrong} of the captured model is ${y[wrong]}, predict's is ${expected[wrong]}`);
    }
  }

  /** Releases the captured model; the model and x belong to the caller. */
  dispose(): void {
    this.fast?.dispose();
  }

  async timeJs(): Promise<void> {
    await this.ofBoth(async (predict, {js}) => {
      for (let i = 0; i < SAMPLES; ++i) {
        await readOne(predict());
        const start = performance.now();
        repeat(BURST, predict);
        js.push((performance.now() - start) / BURST);
      }
    });
  }

  async timeLatency(): Promise<void> {
    await this.ofBoth(async (predict, {latency}) => {
      for (let i = 0; i < SAMPLES; ++i) {
        latency.push(await timeLatency(predict));
      }
    });
  }

  /** @param ms how long bursts are timed, after a warm-up as long. */
  async timeSustained(ms: number): Promise<void> {
    await this.ofBoth(async (predict, {sustained}) => {
      await timeBursts(predict, ms);
      sustained.push(...await timeBursts(predict, ms));
    });
  }

  /**
   * Counts the programs of a predict, and times them on the GPU if it has timestamps.
   * @param leastMs duration of a pass, unless it would hold too many dispatches.
   */
  async timeGpu(leastMs: number): Promise<void> {
    const {webgpu, webgpu: {device}} = this;
    await this.waitForGpu();
    const [recording] = record(webgpu, [() => this.predict().dispose()]);
    this.programs = recording.length;
    if (device.features.has('timestamp-query')) {
      const encode = (runs: number): EncodePass => pass => {
        for (let i = 0; i < runs; ++i) {
          replay(pass, recording);
        }
      };
      const clock = {
        time: async (leadIn: EncodePass, pass: EncodePass) => (await timePasses(device, leadIn, [pass]))[0],
      };
      const mostRuns = Math.max(1, Math.floor(MAX_DISPATCHES / recording.length));
      const {runs} = await timeOneRun(clock, encode, {leastMs, mostRuns});
      const passes = Array.from({length: PASSES}, () => encode(runs));
      this.gpu.push(...(await timePasses(device, encode(runs), passes)).map(ms => ms / runs));
    }
    flush(webgpu);
  }

  /** Runs a measurement of predict, then of the captured model's. */
  private async ofBoth(run: (predict: Predict, samples: Samples) => Promise<void>): Promise<void> {
    await run(this.predict, this.plain);
    const {fast, x} = this;
    if (fast) {
      await run(() => fast.predict(x) as Tensor, this.captured);
    }
  }

  /** ms of one predict, until the GPU is done. A read-back of one number would compile a program of its own. */
  private async timeOnce(): Promise<number> {
    const start = performance.now();
    const y = this.predict();
    await this.waitForGpu();
    const ms = performance.now() - start;
    y.dispose();
    return ms;
  }

  private async waitForGpu(): Promise<void> {
    flush(this.webgpu);
    await this.webgpu.device.queue.onSubmittedWorkDone();
  }
}

function repeat(times: number, predict: Predict): void {
  for (let i = 0; i < times; ++i) {
    predict().dispose();
  }
}

/** Waits for one number of a prediction, and disposes the prediction. */
async function readOne(y: Tensor): Promise<void> {
  const one = slice(y, [0, 0], [1, 1]);
  y.dispose();
  await one.data();
  one.dispose();
}

async function timeLatency(predict: Predict): Promise<number> {
  const start = performance.now();
  await readOne(predict());
  return performance.now() - start;
}

/** Returns ms of one predict, for each burst. At least one burst runs. */
async function timeBursts(predict: Predict, ms: number): Promise<number[]> {
  const times: number[] = [];
  let start = performance.now();
  const end = start + ms;
  do {
    repeat(BURST - 1, predict);
    await readOne(predict());
    const now = performance.now();
    times.push((now - start) / BURST);
    start = now;
  } while (start < end);
  return times;
}

/** Reads and disposes two tensors. */
async function bothOf(a: Tensor, b: Tensor): Promise<Float32Array[]> {
  const values = await Promise.all([a.data(), b.data()]);
  dispose([a, b]);
  return values as Float32Array[];
}
