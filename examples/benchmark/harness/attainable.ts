/**
 * What the package's cost model says of a product: the plan that runs, what bounds it, and the least time the device
 * could take, by what was measured of it in the same run.
 */
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import type {MatMulProblem, Plan} from '../../../kernels/webgpu/select.js';
import {chooserOf} from '../../../src/tuning/choose.js';
import {predict, type Prediction} from '../../../src/tuning/cost_model.js';
import type {DeviceProfile} from '../../../src/tuning/device_profile.js';
import type {DeviceFigures} from './device.js';

export interface Limits {
  plan: Plan;
  bound: Prediction['bound'];
  leastMs: number;
}

export function limitsOf(
    webgpu: WebGPUBackend, problem: MatMulProblem, device: DeviceFigures,
    plan = chooserOf(webgpu).choose(problem)): Limits {
  const profile: DeviceProfile = {
    ...chooserOf(webgpu).profile,
    tflops: device.fmaTflops,
    memoryGBs: Math.max(device.copyGigabytesPerSecond, device.readGigabytesPerSecond),
  };
  const {bound, ms, efficiency} = predict(plan, problem, profile);
  return {plan, bound, leastMs: ms * efficiency};
}
