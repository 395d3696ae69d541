/**
 * Registers kernels and gradients with tfjs: the side effect of importing this package. WebGPU, webgl, wasm and cpu
 * have kernels of their own; every other backend gets the composite ones. Known names are registered at once, others
 * at first use.
 *
 * Importing asks nothing of the backend that tfjs has or is setting up, so it works at any time.
 */
import {
  engine, getBackend, getKernel, registerGradient, registerKernel, type KernelConfig,
} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {sharingExpansions} from '../../kernels/expansion.js';
import {compositeMatMul, gatherKernels} from '../../kernels/composite/nm_sparse_mat_mul.js';
import {NM_SPARSE_MAT_MUL} from '../../kernels/contract.js';
import {cpuKernels, hostKernels} from '../../kernels/cpu/nm_sparse_mat_mul.js';
import {wasmMatMul} from '../../kernels/wasm/nm_sparse_mat_mul.js';
import {webglMatMul} from '../../kernels/webgl/nm_sparse_mat_mul.js';
import {isWebGPUBackend} from '../../kernels/webgpu/is_webgpu_backend.js';
import {webgpuKernels} from '../../kernels/webgpu/run_plan.js';
import {chooseInterimPlan, choosePlan} from '../tuning/choose.js';
import {gradients} from './gradient.js';

/** Kernels stay with the tfjs instance, so a second copy of this package must not register twice: tfjs would warn. */
function registerOnce(kernels: KernelConfig[]): void {
  for (const kernel of kernels) {
    if (!getKernel(kernel.kernelName, kernel.backendName)) {
      registerKernel(kernel);
    }
  }
}

/** Called when a WebGPU backend is set up, or is found set up. */
let onWebGPU: (backend: WebGPUBackend) => void = () => undefined;

function expectProducts(backend: unknown): void {
  if (isWebGPUBackend(backend)) {
    onWebGPU(backend);
  }
}

/** The WebGPU kernels under a name; tfjs calls setupFunc whenever the backend of that name becomes the active one. */
function kernelsOnWebGPU(backendName: string): KernelConfig[] {
  return webgpuKernels(choosePlan, {backendName, chooseInterim: chooseInterimPlan}).map(kernel =>
    kernel.kernelName === NM_SPARSE_MAT_MUL ? {...kernel, setupFunc: expectProducts} : kernel);
}

/** @param setUp called when a WebGPU backend is set up; an entry with tuning starts to load tuned plans then. */
export function registerAll(setUp = onWebGPU): void {
  onWebGPU = setUp;
  const [decompress, gather] = hostKernels('tensorflow');
  registerOnce([...kernelsOnWebGPU('webgpu'), ...cpuKernels,
    webglMatMul(compositeMatMul('webgl')), ...gatherKernels('webgl'),
    wasmMatMul(compositeMatMul('wasm')), ...hostKernels('wasm'),
    compositeMatMul('tensorflow'), sharingExpansions(decompress), gather]);
  gradients.forEach(registerGradient);
  // The active backend was set up before there was a setupFunc of ours. One that is still pending is not listed yet.
  expectProducts(engine().registry[getBackend()]);
}

/** Makes sure that the active backend has the kernels. */
export function ensureKernels(): void {
  // Reading the backend first settles which one is active, or throws tfjs's own advice to await tf.ready().
  const {backend} = engine();
  const backendName = getBackend();
  if (!getKernel(NM_SPARSE_MAT_MUL, backendName)) {
    registerOnce(isWebGPUBackend(backend) ? kernelsOnWebGPU(backendName) :
      [compositeMatMul(backendName), ...gatherKernels(backendName)]);
    expectProducts(backend);
  }
}
