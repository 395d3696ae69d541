/**
 * Measures which of several plans is fastest on this GPU, on a sample product. Rounds alternate between the plans, so
 * that a rising clock or a laptop that throttles affects all of them equally.
 */
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {type MatMulProblem, type Plan, planName} from '../../../kernels/webgpu/plan.js';
import {GpuClock, timeOneRun} from './clock.js';
import {SampleProduct} from './sample_product.js';

/** Duration of the work before the first round, in ms: the GPU raises its clock under load. */
const WARM_UP_MS = 50;
/** Duration of one round of a plan, in ms. A plan's time is the median over its rounds. */
const ROUND_MS = 10;
const ROUNDS = 5;
/** Largest number of products in a round. */
const MAX_RUNS = 2000;
/** A plan is dropped after a round if it costs more than this multiple of the cheapest plan. */
const HOPELESS = 1.5;
/** A plan replaces the default only if it takes less than this fraction of its time; smaller differences are noise. */
const CLEARLY_FASTER = 0.98;
/** Largest difference of two correct outputs, relative to the largest value: they add in different orders. */
const SAME = 1e-4;

export interface FastestPlan {
  plan: Plan;
  /** ms of one product on the GPU: by this plan, and by the first of the list. */
  ms: number;
  defaultMs: number;
}

/** ms that the user waits for a product that takes `gpuMs` on the GPU. */
export type PlanCost = (gpuMs: number, plan: Plan) => number;

interface Contender {
  plan: Plan;
  times: number[];
  /** Products in the last round. */
  runs: number;
}

/**
 * Measures the plans on the GPU, and picks the one that costs the user least.
 * @param plans the first is the default, which is kept unless another is clearly faster and computes the same.
 * @param deadline as of performance.now(): no measurement begins after it; those finished by then decide.
 * @throws Error if the default fails or is not measured in time.
 */
export async function fastestPlan(
    backend: WebGPUBackend, problem: MatMulProblem, plans: Plan[], deadline: number,
    cost: PlanCost = gpuMs => gpuMs): Promise<FastestPlan> {
  const sample = new SampleProduct(backend, problem);
  const clock = new GpuClock(backend.device);
  try {
    const first = await contender(sample, plans[0]);
    const expected = await sample.output(plans[0]);
    const others = await Promise.allSettled(plans.slice(1).map(plan => contender(sample, plan)));
    const contenders = [first];
    for (const [i, other] of others.entries()) {
      const wrong = other.status === 'rejected' ? (other.reason as Error).message :
        await whyWrong(sample, other.value.plan, expected);
      if (other.status === 'rejected' || wrong !== undefined) {
        console.warn(`tfjs-nm-sparse: ${planName(plans[i + 1])} does not work on this GPU: ${wrong}`);
      } else {
        contenders.push(other.value);
      }
    }
    await timeOneRun(clock, sample.encoder(first.plan), {leastMs: WARM_UP_MS, mostRuns: MAX_RUNS});
    await measureRounds(sample, clock, contenders, deadline, cost);
    if (first.times.length === 0) {
      throw new Error('the deadline passed before the first measurement');
    }
    // A time of 0 is below the clock's resolution.
    const timed = contenders.filter(({times}) => times.length > 0 && median(times) > 0);
    if (timed[0] !== first) {
      throw new Error('it takes less time than the clock of this device can measure');
    }
    const costOf = ({plan, times}: Contender) => cost(median(times), plan);
    const best = timed.reduce((a, b) => costOf(b) < costOf(a) ? b : a);
    const {plan, times} = costOf(best) < CLEARLY_FASTER * costOf(first) ? best : first;
    return {plan, ms: median(times), defaultMs: median(first.times)};
  } finally {
    sample.dispose();
  }
}

async function contender(sample: SampleProduct, plan: Plan): Promise<Contender> {
  await sample.compile(plan);
  return {plan, times: [], runs: 1};
}

/** Adds the time of each round to the contenders' times, until the deadline. */
async function measureRounds(
    sample: SampleProduct, clock: GpuClock, all: Contender[], deadline: number, cost: PlanCost): Promise<void> {
  let running = all;
  for (let round = 0; round < ROUNDS; ++round) {
    for (const each of running) {
      if (performance.now() >= deadline) {
        return;
      }
      const {ms, runs} = await timeOneRun(
        clock, sample.encoder(each.plan), {runs: each.runs, leastMs: ROUND_MS, mostRuns: MAX_RUNS});
      each.times.push(ms);
      each.runs = runs;
    }
    const costOf = ({plan, times}: Contender) => cost(median(times), plan);
    const least = Math.min(...running.map(costOf));
    // The default stays, because the result reports its time.
    running = running.filter((each, i) => i === 0 || costOf(each) <= HOPELESS * least);
  }
}

/** @returns how a plan's output differs from the default's; undefined if it does not. */
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
  return difference <= SAME * largest ? undefined :
    `its output differs by ${difference}, where the largest value is ${largest}`;
}

function median(times: number[]): number {
  return [...times].sort((a, b) => a - b)[Math.floor(times.length / 2)];
}
