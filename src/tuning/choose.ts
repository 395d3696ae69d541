/**
 * Selects the plan that runs a product: the tuned one if this product was tuned on this GPU, else the one for which
 * the user is predicted to wait least (user_time.ts). Every kernel call needs a plan, so selections are cached under a
 * short string.
 *
 * Kernels are synchronous, but storage is asynchronous. Products that run before the stored plans have arrived
 * (plan_cache.ts) use the predicted plan; warmUp and tune wait for the stored ones.
 */
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {candidatePlans, type ProgramLimits} from '../../kernels/webgpu/candidates.js';
import {watchLoss} from '../../kernels/webgpu/device_loss.js';
import {interimPlan} from '../../kernels/webgpu/interim_plan.js';
import {
  describePlan, isDenseFallback, planName, programCount, type MatMulProblem, type Plan,
} from '../../kernels/webgpu/plan.js';
import {predict, type Prediction} from './cost_model.js';
import {adapterNames, FITTED_FAMILY, profileOf, type AdapterNames, type DeviceProfile} from './device_profile.js';
import {allowsInterimPlans, forcedPlan, printPlan} from './plan_flags.js';
import {adapterKey, mergeRecords, productKey, type TunedPlan, type TuningRecord} from './plan_cache.js';
import {userMs} from './user_time.js';

/** Largest number of cached selections: enough for any model, a bound for an app whose rows never repeat. */
const MAX_SELECTIONS = 4096;

/**
 * A tuned plan also serves other numbers of rows, if their ratio is at most ROWS_RATIO and both exceed FEW_ROWS. The
 * number of workgroups hardly changes then. A GEMV for few rows is made for one number of them.
 */
const ROWS_RATIO = 1.25;
const FEW_ROWS = 16;

export interface RankedPlan {
  plan: Plan;
  prediction: Prediction;
  /** Predicted ms that the user waits, host time included. */
  userMs: number;
}

/** Selects plans on one device. */
export class PlanChooser {
  /** The GPU's key in the stored plans. */
  readonly adapter: string;
  private readonly known: DeviceProfile;
  private record: TuningRecord = {plans: {}};
  private readonly selections = new Map<string, Plan>();
  /** Counts what was learned: another number may mean other plans. */
  revision = 0;
  /** Set by loadTuned() (plan_cache.ts): settled when the stored measurements have arrived. */
  loading: Promise<void> | undefined;

  constructor(private readonly limits: ProgramLimits, names: Required<AdapterNames>) {
    this.adapter = adapterKey(names);
    this.known = profileOf(names);
  }

  /** The device's profile: measured by tune(), else looked up. */
  get profile(): DeviceProfile {
    return this.record.profile ?? this.known;
  }

  /** Whether the cost model was fitted to this GPU's family; on any other, predictions rest on a guessed profile. */
  get isFitted(): boolean {
    return this.known.name === FITTED_FAMILY;
  }

  get isMeasured(): boolean {
    return this.record.profile !== undefined;
  }

  choose(problem: MatMulProblem): Plan {
    const {rows, shape, pattern, dtype, epilogue} = problem;
    const key = `${rows} ${shape[0]} ${shape[1]} ${pattern.n} ${pattern.m} ${pattern.vectorLength} ${dtype} ` +
        `${epilogue.activation} ${epilogue.hasBias} ${epilogue.prelu} ${forcedPlan()}`;
    let plan = this.selections.get(key);
    if (!plan) {
      if (this.selections.size >= MAX_SELECTIONS) {
        this.selections.clear();
      }
      const {why, ...choice} = this.explain(problem);
      plan = choice.plan;
      printPlan(problem, plan, why);
      this.selections.set(key, plan);
    }
    return plan;
  }

  /** Selects the plan that runs a product, and says why. */
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
        ...this.rank(plan, problem),
        why: `measured: ${(ms * 1000).toFixed(1)} µs${unmet}`,
      };
    }
    const [best] = ranked;
    const {plan, prediction} = best;
    const sparse = isDenseFallback(plan) ? ranked.find(each => !isDenseFallback(each.plan)) : undefined;
    const slower = sparse && `; the best sparse plan is predicted to take ` +
        `${(sparse.userMs / best.userMs).toFixed(2)} times as long`;
    const hostMs = programCount(plan, problem.rows) * this.profile.hostUs * 1e-3;
    const bound = hostMs > prediction.ms ? 'the host' : prediction.bound;
    return {...best, why: `predicted fastest of ${ranked.length}, bound by ${bound}${slower ?? ''}${unmet}`};
  }

  /** All candidate plans, the fastest for the user first. Of equal predictions, the earlier candidate is first. */
  ranked(problem: MatMulProblem): RankedPlan[] {
    return candidatePlans(problem, this.limits)
      .map(plan => this.rank(plan, problem))
      .sort((a, b) => a.userMs - b.userMs);
  }

  private rank(plan: Plan, problem: MatMulProblem): RankedPlan {
    const prediction = predict(plan, problem, this.profile);
    return {plan, prediction, userMs: userMs(prediction.ms, plan, problem.rows, this.profile)};
  }

  /** The plan measured for this product or for a similar number of rows, if it is still a candidate. */
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

  /** Selects by these measurements from now on. */
  learn(record: TuningRecord): void {
    this.record = mergeRecords(this.record, record);
    this.forget();
  }

  /** Learns measurements of an earlier visit; those of this one are newer. */
  learnStored(record: TuningRecord): void {
    this.record = mergeRecords(record, this.record);
    this.forget();
  }

  private forget(): void {
    this.selections.clear();
    ++this.revision;
  }
}

const choosers = new WeakMap<GPUDevice, PlanChooser>();

/** The chooser of a backend's device. */
export function chooserOf(backend: WebGPUBackend): PlanChooser {
  let chooser = choosers.get(backend.device);
  if (!chooser) {
    watchLoss(backend.device);
    chooser = new PlanChooser(backend.device.limits, adapterNames(backend));
    choosers.set(backend.device, chooser);
  }
  return chooser;
}

let observer: ((problem: MatMulProblem) => void) | undefined;

/** Selects the plan of a kernel call on the WebGPU backend. */
export function choosePlan(problem: MatMulProblem, backend: WebGPUBackend): Plan {
  observer?.(problem);
  return chooserOf(backend).choose(problem);
}

/** Selects the plan that runs a product until `plan` is compiled; undefined if it should wait for that. */
export function chooseInterimPlan(plan: Plan, problem: MatMulProblem, {device}: WebGPUBackend): Plan | undefined {
  return allowsInterimPlans() ? interimPlan(plan, candidatePlans(problem, device.limits), problem.rows) : undefined;
}

/** @returns the products multiplied on WebGPU while `run` runs. */
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
