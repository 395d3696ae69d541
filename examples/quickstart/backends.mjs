/**
 * The tfjs backends of this example. wasm trains: it is quick, and works in plain Node on any machine. cpu, plain
 * JavaScript, has a kernel of its own for N:M weights, as webgpu does; webgpu takes part where there is a GPU.
 */
import {execFileSync} from 'node:child_process';
import {fileURLToPath} from 'node:url';
import * as tf from '@tensorflow/tfjs';
import '@tensorflow/tfjs-backend-wasm';

/** Sets up wasm, then webgpu if it can be had; wasm is active afterwards. Returns the names of all to measure. */
export async function setUpBackends() {
  tf.enableProdMode(); // or the cpu backend advertises tfjs-node
  const gpu = await setUpWebGPU();
  await tf.setBackend('wasm');
  speedUpTraining();
  return ['cpu', 'wasm', ...(gpu ? ['webgpu'] : [])];
}

/**
 * Makes training on wasm some four times as fast. Gradients are products with transposed matrices, and tfjs 4.22's
 * wasm multiplies these in a plain loop, all others with XNNPACK: so they are transposed beforehand.
 */
function speedUpTraining() {
  const {kernelName, backendName, ...kernel} = tf.getKernel('BatchMatMul', 'wasm');
  const lastTwoSwapped = ({shape: {length}}) => [...Array(length).keys()].with(-1, length - 2).with(-2, length - 1);
  const plain = (matrix, isTransposed) => isTransposed ? tf.transpose(matrix, lastTwoSwapped(matrix)) : matrix;
  tf.unregisterKernel(kernelName, backendName);
  tf.registerKernel({
    ...kernel, kernelName, backendName,
    kernelFunc: ({inputs: {a, b}, attrs: {transposeA, transposeB}, backend}) => tf.tidy(() => kernel.kernelFunc({
      inputs: {a: plain(a, transposeA), b: plain(b, transposeB)},
      attrs: {transposeA: false, transposeB: false},
      backend,
    })),
  });
}

/** Asked in a process of its own, for Dawn is loud where there is no driver. Software would be slower than cpu. */
const FIND_GPU = `
  import {create} from 'webgpu';
  const info = (await create([]).requestAdapter())?.info;
  process.exit(info && !info.isFallbackAdapter && !/swiftshader|llvmpipe/i.test(info.description) ? 0 : 1);`;

/** Dawn, npm package `webgpu`, brings WebGPU to Node. False if there is no GPU. */
async function setUpWebGPU() {
  try {
    execFileSync(process.execPath, ['--input-type=module', '--eval', FIND_GPU], {
      cwd: fileURLToPath(new URL('.', import.meta.url)), stdio: 'ignore',
    });
  } catch {
    return false;
  }
  const {create, globals} = await import('webgpu');
  Object.assign(globalThis, globals);
  if (!globalThis.navigator) { // Node 20 has none
    Object.defineProperty(globalThis, 'navigator', {value: {}});
  }
  Object.defineProperty(navigator, 'gpu', {value: create([])});
  await import('@tensorflow/tfjs-backend-webgpu'); // registers itself if there is a navigator.gpu by now
  tf.env().set('WEBGPU_CPU_FORWARD', false); // small tensors too are to be computed on the GPU
  return tf.setBackend('webgpu');
}
