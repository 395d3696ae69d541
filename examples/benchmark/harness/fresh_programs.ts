/**
 * Makes the next predict compile its programs, as on a user's first visit.
 *
 * tfjs's own cache is emptied. That is not enough: Dawn, the driver and their files on disk keep what they compiled
 * before. So each shader gets a number that no shader had before, at a place where it changes no result.
 */
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {chooserOf} from '../../../src/tuning/choose.js';

/** A line of every shader of tfjs 4.22. */
const LOCAL_ID = 'localId = LocalId;';
/** Above every local ID, so that the smaller of both is always the ID. */
const FIRST_NUMBER = 2 ** 16;

/** The next number. Earlier processes had others: it starts from the clock, in ms. */
let number = FIRST_NUMBER + Date.now() % 2 ** 31;

/** Forgets the programs and plans of all models. Plans that were measured stay. */
export function forgetPrograms(webgpu: WebGPUBackend): void {
  const {pipelineCache} = webgpu as unknown as {pipelineCache: Record<string, unknown>};
  Object.keys(pipelineCache).forEach(key => delete pipelineCache[key]);
  chooserOf(webgpu).learn({plans: {}}); // forgets which plans were chosen
}

/**
 * Runs `run` with shaders that neither tfjs nor Dawn nor the driver has compiled before.
 * @throws Error if no shader was compiled, or none could be changed.
 */
export async function withFreshPrograms<T>(webgpu: WebGPUBackend, run: () => Promise<T>): Promise<T> {
  const {device} = webgpu;
  const create = device.createShaderModule;
  let changed = 0;
  forgetPrograms(webgpu);
  device.createShaderModule = descriptor => {
    const code = descriptor.code.replace(LOCAL_ID, () => {
      ++changed;
      return `localId = min(LocalId, vec3<u32>(${++number}u));`;
    });
    return create.call(device, {...descriptor, code});
  };
  try {
    const result = await run();
    if (changed === 0) {
      throw new Error(`no shader with '${LOCAL_ID}' was compiled, so this is no first predict`);
    }
    return result;
  } finally {
    device.createShaderModule = create;
    forgetPrograms(webgpu);
  }
}
