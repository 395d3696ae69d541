/**
 * Which plan runs a product: the tuned one if this product was tuned on this GPU, else the one predicted to be fastest.
 * Asked at every kernel call, so what was answered once is a look-up by a short string.
 *
 * Kernels are synchronous and storage is not. So tuned plans are read once for each device, from the moment its backend
 * is set up; products that run before they have arrived take the predicted plan, later ones the tuned one. warmUp and
 * tune wait for them.
 */
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {candidatePlans, type ProgramLimits} from '../../kernels/webgpu/candidates.js';
import {watchLoss} from '../../kernels/webgpu/device_loss.js';
import {describePlan, planName, type MatMulProblem, type Plan} from '../../kernels/webgpu/plan.js';
import {predict, type Prediction} from './cost_model.js';
import {adapterNames, profileOf, type AdapterNames, type DeviceProfile} from './device_profile.js';
import {forcedPlan, printPlan} from './plan_flags.js';
import type {CachePlace} from './plan_store.js';
import {adapterKey, mergeRecords, productKey, readTuned, type TunedPlan, type TuningRecord} from './plan_cache.js';

/** Answers kept at most: enough for any model, and a bound for an app whose rows never repeat. */
const MAX_ANSWERS = 4096;

/**
 * A plan tuned for some rows serves up to so many times more or fewer, if none was tuned for just these: how many
 * workgroups there are hardly changes then. Not where rows are few: a GEMV is made for a certain number.
 */
const ROWS_RATIO = 1.25;
const FEW_ROWS = 16;

export interface RankedPlan {
  plan: Plan;
  prediction: Prediction;
}

/** Chooses on one device. */
export class PlanChooser {
  /** Which GPU's tuning this is, in the cache. */
  readonly adapter: string;
  private readonly known: DeviceProfile;
  private record: TuningRecord = {plans: {}};
  private readonly answers = new Map<string, Plan>();
  private readonly loads = new Map<CachePlace, Promise<void>>();

  constructor(private readonly limits: ProgramLimits, names: Required<AdapterNames>) {
    this.adapter = adapterKey(names);
    this.known = profileOf(names);
  }

  /** The device's figures: measured if they were, else its family's. */
  get profile(): DeviceProfile {
    return this.record.profile ?? this.known;
  }

  get isMeasured(): boolean {
    return this.record.profile !== undefined;
  }

  choose(problem: MatMulProblem): Plan {
    const {rows, shape, pattern, dtype, epilogue} = problem;
    const key = `${rows} ${shape[0]} ${shape[1]} ${pattern.n} ${pattern.m} ${pattern.vectorLength} ${dtype} ` +
        `${epilogue.activation} ${epilogue.hasBias} ${epilogue.prelu} ${forcedPlan()}`;
    let plan = this.answers.get(key);
    if (!plan) {
      if (this.answers.size >= MAX_ANSWERS) {
        this.answers.clear();
      }
      const {why, ...choice} = this.explain(problem);
      plan = choice.plan;
      printPlan(problem, plan, why);
      this.answers.set(key, plan);
    }
    return plan;
  }

  /** The plan that runs a product, and why that one. */
  explain(problem: MatMulProblem): RankedPlan & {why: string} {
    const forced = forcedPlan();
    const ranked = this.ranked(problem);
    const byFlag = forced === '' ? undefined : ranked.find(({plan}) => describePlan(plan).includes(forced));
    if (byFlag) {
      return {...byFlag, why: `NM_SPARSE_PLAN is '${forced}'`};
    }
    const unmet = forced === '' ? '' : `; no program fits NM_SPARSE_PLAN '${forced}'`;
    const tuned = this.tunedPlan(problem);
    if (tuned) {
      const {plan, tuned: {ms}} = tuned;
      return {
        plan, prediction: predict(plan, problem, this.profile),
        why: `measured by tune(): ${(ms * 1000).toFixed(1)} µs${unmet}`,
      };
    }
    const [{plan, prediction}] = ranked;
    return {plan, prediction, why: `predicted fastest of ${ranked.length}, bound by ${prediction.bound}${unmet}`};
  }

  /** Every plan on offer, the one predicted fastest first; of two alike the one that the kernels name first. */
  ranked(problem: MatMulProblem): RankedPlan[] {
    return candidatePlans(problem, this.limits)
      .map(plan => ({plan, prediction: predict(plan, problem, this.profile)}))
      .sort((a, b) => a.prediction.ms - b.prediction.ms);
  }

  /** What was measured for this product, or for nearly as many rows, if the kernels still offer it. */
  tunedPlan(problem: MatMulProblem): {plan: Plan; tuned: TunedPlan} | undefined {
    const {rows} = problem;
    const ratio = (tuned: TunedPlan) => Math.max(tuned.rows, rows) / Math.min(tuned.rows, rows);
    const near = (this.record.plans[productKey(problem)] ?? [])
      .filter(tuned => tuned.rows === rows ||
          (Math.min(tuned.rows, rows) > FEW_ROWS && ratio(tuned) <= ROWS_RATIO))
      .sort((a, b) => ratio(a) - ratio(b));
    const offered = near.length === 0 ? [] : candidatePlans(problem, this.limits);
    for (const tuned of near) {
      const plan = offered.find(each => planName(each) === tuned.plan);
      if (plan) {
        return {plan, tuned};
      }
    }
    return undefined;
  }

  /** Goes by these measurements from now on. */
  learn(record: TuningRecord): void {
    this.record = mergeRecords(this.record, record);
    this.answers.clear();
  }

  /** Learns what is stored there, once. */
  load(place: CachePlace): Promise<void> {
    let load = this.loads.get(place);
    if (!load) {
      load = readTuned(place, this.adapter).then(record => {
        if (record) {
          // What was measured here since is newer.
          this.record = mergeRecords(record, this.record);
          this.answers.clear();
        }
      });
      this.loads.set(place, load);
    }
    return load;
  }
}

const choosers = new WeakMap<GPUDevice, PlanChooser>();

/** The chooser of a backend's device; made, and sent for what is stored, when first asked for. */
export function chooserOf(backend: WebGPUBackend): PlanChooser {
  let chooser = choosers.get(backend.device);
  if (!chooser) {
    watchLoss(backend.device);
    chooser = new PlanChooser(backend.device.limits, adapterNames(backend));
    choosers.set(backend.device, chooser);
    void chooser.load(true);
  }
  return chooser;
}

let observer: ((problem: MatMulProblem) => void) | undefined;

/** The kernels' choice on the WebGPU backend. */
export function choosePlan(problem: MatMulProblem, backend: WebGPUBackend): Plan {
  observer?.(problem);
  return chooserOf(backend).choose(problem);
}

/** The products that are multiplied on WebGPU while `run` runs. */
export function observeProblems(run: () => void): MatMulProblem[] {
  const problems: MatMulProblem[] = [];
  const outer = observer;
  observer = problem => problems.push(problem);
  try {
    run();
  } finally {
    observer = outer;
  }
  return problems;
}
