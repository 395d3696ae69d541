/** Recognises a WebGPU backend by its members, not its name: tf.registerBackend accepts any name. */
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';

export function isWebGPUBackend(backend: unknown): backend is WebGPUBackend {
  const {device, runWebGPUProgram} = (backend ?? {}) as Partial<WebGPUBackend>;
  return typeof runWebGPUProgram === 'function' && typeof device === 'object' && device !== null;
}
