/** The plans that the kernels offer for a product; the first is their own rule of thumb. */
import {choosePlan, type MatMulProblem, type Plan, type ProgramLimits} from '../../kernels/webgpu/select.js';

export function candidatePlans(problem: MatMulProblem, limits: ProgramLimits): Plan[] {
  return [choosePlan(problem, limits)];
}
