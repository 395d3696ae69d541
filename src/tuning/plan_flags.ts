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

env().registerFlag(PLAN, () => '');
env().registerFlag(PRINT_PLAN, () => false);

/** The text that a plan's description must contain; '' if the choice is free. */
export function forcedPlan(): string {
  return String(env().get(PLAN));
}

/** Prints the plan that was selected for a product, if the flag says so. */
export function printPlan({rows, shape: [k, n], pattern, dtype}: MatMulProblem, plan: Plan, why: string): void {
  if (env().getBool(PRINT_PLAN)) {
    console.log(
      `nmSparseMatMul [${rows},${k}] · [${k},${n}] ${formatPattern(pattern)} ${dtype}: ${describePlan(plan)} (${why})`);
  }
}
