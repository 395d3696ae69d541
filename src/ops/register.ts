/**
 * Registers kernels and gradients with tfjs: the side effect of importing this package. webgpu and cpu have kernels of
 * their own; every other backend gets the composite ones, the known ones at once and any other when first used.
 */
import {
  engine, getBackend, getKernel, registerGradient, registerKernel, type KernelConfig,
} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {compositeKernels} from '../../kernels/composite/nm_sparse_mat_mul.js';
import {NM_SPARSE_MAT_MUL} from '../../kernels/contract.js';
import {cpuKernels} from '../../kernels/cpu/nm_sparse_mat_mul.js';
import {webgpuKernels} from '../../kernels/webgpu/nm_sparse_mat_mul.js';
import {choosePlan, chooserOf} from '../tuning/choose.js';
import {gradients} from './gradient.js';

const COMPOSITE_BACKENDS = ['webgl', 'wasm', 'tensorflow'];

/** Kernels stay with the tfjs instance, so a second copy of this package must not register twice: tfjs would warn. */
function registerOnce(kernels: KernelConfig[]): void {
  for (const kernel of kernels) {
    if (!getKernel(kernel.kernelName, kernel.backendName)) {
      registerKernel(kernel);
    }
  }
}

/** Sends for the plans that were tuned for a WebGPU device, so that they are there when the first model runs. */
function expectProducts(backend: unknown): void {
  chooserOf(backend as WebGPUBackend);
}

export function registerAll(): void {
  const onWebGPU = webgpuKernels(choosePlan).map(kernel =>
    kernel.kernelName === NM_SPARSE_MAT_MUL ? {...kernel, setupFunc: expectProducts} : kernel);
  registerOnce([...onWebGPU, ...cpuKernels, ...COMPOSITE_BACKENDS.flatMap(compositeKernels)]);
  gradients.forEach(registerGradient);
  if (getBackend() === 'webgpu') { // set up before there was anything of ours to set up
    expectProducts(engine().backend);
  }
}

/** Makes sure that the active backend has the kernels. */
export function ensureKernels(): void {
  // Reading the backend first settles which one is active, or throws tfjs's own advice to await tf.ready().
  void engine().backend;
  const backendName = getBackend();
  if (!getKernel(NM_SPARSE_MAT_MUL, backendName)) {
    registerOnce(compositeKernels(backendName));
  }
}
