/**
 * What the package's cost model says of a product: the plan that runs, what bounds it, and the least time the device
 * could take, by what was measured of it in the same run.
 */
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import type {MatMulProblem, Plan} from '../../../kernels/webgpu/plan.js';
import {chooserOf} from '../../../src/tuning/choose.js';
import {predict, type Prediction} from '../../../src/tuning/cost_model.js';
import type {DeviceProfile} from '../../../src/tuning/device_profile.js';
import type {DeviceFigures} from './device.js';

export interface Limits {
  plan: Plan;
  bound: Prediction['bound'];
  /** By the profile that the package itself goes by. */
  predictedMs: number;
  leastMs: number;
}

export function limitsOf(
    webgpu: WebGPUBackend, problem: MatMulProblem, device: DeviceFigures,
    plan = chooserOf(webgpu).choose(problem)): Limits {
  const profile: DeviceProfile = {
    ...chooserOf(webgpu).profile,
    tflops: device.fmaTflops,
    memoryGBs: device.copyGigabytesPerSecond,
  };
  const {bound, ms, efficiency} = predict(plan, problem, profile);
  const {ms: predictedMs} = predict(plan, problem, chooserOf(webgpu).profile);
  return {plan, bound, predictedMs, leastMs: ms * efficiency};
}
