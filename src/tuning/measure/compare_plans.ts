/**
 * Which of several plans is fastest on this GPU, by measuring them on a product made up for it. They take turns, round
 * after round, so that a clock that rises or a laptop that throttles meets all of them alike.
 */
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {type MatMulProblem, type Plan, planName} from '../../../kernels/webgpu/plan.js';
import {GpuClock, timeOneRun} from './clock.js';
import {SampleProduct} from './sample_product.js';

/** The GPU's clock rises under load: so long before the first round. */
const WARM_UP_MS = 50;
/** A plan runs so long in a round; the median of the rounds counts. */
const ROUND_MS = 10;
const ROUNDS = 5;
const MAX_RUNS = 2000;
/** After a round, plans slower than the fastest by more than this are out. */
const HOPELESS = 1.5;
/** So much of the first plan's time another may take to replace it: nearer is noise. */
const CLEARLY_FASTER = 0.98;
/** Sums of the same numbers in another order differ by less than so much of the largest. */
const SAME = 1e-4;

export interface FastestPlan {
  plan: Plan;
  /** Milliseconds of one product, on the GPU: by this plan, and by the first. */
  ms: number;
  defaultMs: number;
}

interface Contender {
  plan: Plan;
  times: number[];
  runs: number;
  mostRuns: number;
}

/**
 * @param plans the first is the one to keep unless another is clearly faster, and computes the same.
 * @param deadline as of performance.now(): no measurement is begun later, and what was measured by then decides.
 * @throws Error if the first plan fails or is not reached.
 */
export async function fastestPlan(
    backend: WebGPUBackend, problem: MatMulProblem, plans: Plan[], deadline: number): Promise<FastestPlan> {
  const sample = new SampleProduct(backend, problem);
  const clock = new GpuClock(backend.device);
  try {
    const first = await contender(sample, plans[0]);
    const expected = await sample.output(plans[0]);
    const others = await Promise.allSettled(plans.slice(1).map(plan => contender(sample, plan)));
    const inTheRace = [first];
    for (const [i, other] of others.entries()) {
      const wrong = other.status === 'rejected' ? (other.reason as Error).message :
        await whyWrong(sample, other.value.plan, expected);
      if (other.status === 'rejected' || wrong !== undefined) {
        console.warn(`tfjs-nm-sparse: this GPU is wrong about ${planName(plans[i + 1])}: ${wrong}`);
      } else {
        inTheRace.push(other.value);
      }
    }
    await timeOneRun(clock, sample.record(first.plan), {leastMs: WARM_UP_MS, mostRuns: first.mostRuns});
    await race(sample, clock, inTheRace, deadline);
    if (first.times.length === 0) {
      throw new Error('the time was over before the first measurement');
    }
    // A clock that sees no time pass says nothing about a plan.
    const timed = inTheRace.filter(({times}) => times.length > 0 && median(times) > 0);
    if (timed[0] !== first) {
      throw new Error('it takes less time than the clock of this device can measure');
    }
    const best = timed.reduce((a, b) => median(b.times) < median(a.times) ? b : a);
    const defaultMs = median(first.times);
    const {plan, times} = median(best.times) < CLEARLY_FASTER * defaultMs ? best : first;
    return {plan, ms: median(times), defaultMs};
  } finally {
    sample.dispose();
  }
}

async function contender(sample: SampleProduct, plan: Plan): Promise<Contender> {
  await sample.compile(plan);
  return {plan, times: [], runs: 1, mostRuns: Math.min(MAX_RUNS, sample.mostRuns(plan))};
}

async function race(sample: SampleProduct, clock: GpuClock, all: Contender[], deadline: number): Promise<void> {
  let running = all;
  for (let round = 0; round < ROUNDS; ++round) {
    for (const each of running) {
      if (performance.now() >= deadline) {
        return;
      }
      const {ms, runs} = await timeOneRun(clock, sample.record(each.plan), {...each, leastMs: ROUND_MS});
      each.times.push(ms);
      each.runs = runs;
    }
    const fastest = Math.min(...running.map(({times}) => median(times)));
    // The first stays: its time is the one to compare with.
    running = running.filter((each, i) => i === 0 || median(each.times) <= HOPELESS * fastest);
  }
}

/** What a plan's output has that it should not; undefined if it is as expected. */
async function whyWrong(sample: SampleProduct, plan: Plan, expected: Float32Array): Promise<string | undefined> {
  const output = await sample.output(plan).catch((error: Error) => error.message);
  if (typeof output === 'string') {
    return output;
  }
  let largest = 0;
  let difference = 0;
  expected.forEach((value, i) => {
    largest = Math.max(largest, Math.abs(value));
    const delta = Math.abs(output[i] - value);
    difference = Number.isNaN(delta) ? Infinity : Math.max(difference, delta);
  });
  return difference <= SAME * largest ? undefined : `it computes something else, by ${difference} of ${largest}`;
}

function median(times: number[]): number {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
}
