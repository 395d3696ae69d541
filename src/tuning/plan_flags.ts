/**
 * Flags of tf.env() that show and force what runs, as tfjs has them for its own kernels (flags_webgpu.ts).
 */
import {env} from '@tensorflow/tfjs-core';
import {describePlan, type MatMulProblem, type Plan} from '../../kernels/webgpu/plan.js';
import {formatPattern} from '../format/pattern.js';

/** Forces a plan: the first one offered whose description contains this text, such as 'gemm, packed'. */
const PLAN = 'NM_SPARSE_PLAN';
/** Prints the plan of every product when it is first selected. */
const PRINT_PLAN = 'NM_SPARSE_PRINT_PLAN';
/**
 * Whether a smaller program runs a product until its best program is compiled. It may round differently; false makes
 * the first predict wait.
 */
const INTERIM_PLANS = 'NM_SPARSE_INTERIM_PLANS';

env().registerFlag(PLAN, () => '');
env().registerFlag(PRINT_PLAN, () => false);
env().registerFlag(INTERIM_PLANS, () => true);

/** The text that a plan's description must contain; '' if the choice is free. */
export function forcedPlan(): string {
  return String(env().get(PLAN));
}

/** Whether another plan may run until the selected one is compiled. */
export function allowsInterimPlans(): boolean {
  return env().getBool(INTERIM_PLANS) && forcedPlan() === '';
}

/** Prints the plan that was selected for a product, if the flag says so. */
export function printPlan({rows, shape: [k, n], pattern, dtype}: MatMulProblem, plan: Plan, why: string): void {
  if (env().getBool(PRINT_PLAN)) {
    console.log(
      `nmSparseMatMul [${rows},${k}] · [${k},${n}] ${formatPattern(pattern)} ${dtype}: ${describePlan(plan)} (${why})`);
  }
}
