/**
 * What a plan costs its user: GPU time and host time. tfjs spends more time on the host to set up a small program than
 * the GPU takes to execute it (allocation, uniforms, bind group, and in a browser the GPU process). So the plan that is
 * fastest on the GPU may be slower for the user, if it runs more programs.
 */
import {programCount, type Plan} from '../../kernels/webgpu/plan.js';
import type {DeviceProfile} from './device_profile.js';

/** Fraction of the shorter of GPU time and host time that is added to the longer. */
const SHORTER_SHARE = 0.25;

/**
 * Returns the ms that a user waits for one product. Host and GPU work at the same time, so the longer of the two limits
 * the number of predicts per second. A fraction of the shorter is added, because a single predict waits for both.
 * @param gpuMs predicted or measured.
 */
export function userMs(gpuMs: number, plan: Plan, rows: number, {hostUs}: DeviceProfile): number {
  const hostMs = programCount(plan, rows) * hostUs * 1e-3;
  return Math.max(gpuMs, hostMs) + SHORTER_SHARE * Math.min(gpuMs, hostMs);
}
