/**
 * Lets a product run before its best plan is compiled. At the first run of a plan its programs start to compile in the
 * background, and an interim plan (interim_plan.ts) runs until they are there. After warmUp they are there at once.
 */
import type {TensorInfo} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {startCompiling} from '../../src/tfjs/compile.js';
import {runsPlainly} from '../../src/tfjs/internals.js';
import type {MatMulProblem, Plan} from './plan.js';

/** Selects the plan that runs a product while the programs of `plan` are compiled; undefined to wait for them. */
export type ChooseInterimPlan = (plan: Plan, problem: MatMulProblem, backend: WebGPUBackend) => Plan | undefined;

/** The interim plan of a plan that is being compiled; undefined for one that is compiled, or has failed to. */
const interimOf = new WeakMap<Plan, Plan | undefined>();

/**
 * Returns the plan to run now: this one if its programs are compiled, else an interim one if there is one. A plan that
 * is recorded, timed by tf.time, or compiled for later runs is never replaced.
 * @param plan selected for this problem on this backend.
 */
export function compiledPlan(
    plan: Plan, problem: MatMulProblem, webgpu: WebGPUBackend,
    {run, chooseInterim}: {run: (plan: Plan) => TensorInfo; chooseInterim: ChooseInterimPlan}): Plan {
  if (!runsPlainly(webgpu)) {
    return plan;
  }
  if (!interimOf.has(plan)) {
    interimOf.set(plan, undefined);
    const interim = chooseInterim(plan, problem, webgpu);
    if (interim) {
      const {programs, done} = startCompiling(webgpu, () => webgpu.disposeData(run(plan).dataId));
      // A program that does not compile fails again when it runs, and tfjs reports that.
      const finish = () => interimOf.set(plan, undefined);
      done.then(finish, finish);
      interimOf.set(plan, programs > 0 ? interim : undefined);
    }
  }
  return interimOf.get(plan) ?? plan;
}
