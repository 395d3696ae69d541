/** Recognises a WebGPU backend by what it has. Its name proves nothing: tf.registerBackend takes any. */
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';

export function isWebGPUBackend(backend: unknown): backend is WebGPUBackend {
  const {device, runWebGPUProgram} = (backend ?? {}) as Partial<WebGPUBackend>;
  return typeof runWebGPUProgram === 'function' && typeof device === 'object' && device !== null;
}
