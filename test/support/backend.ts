/**
 * What every test stands on: the backend the runner asked for, and two things no test has to remember to check.
 *
 * - The GPU raised no error. An invalid shader or bind group does not throw in WebGPU: the dispatch is dropped and the
 *   result is whatever lay in the buffer, often plausible. The only trace is an 'uncapturederror' event.
 * - No tensor outlived the test. On a GPU nothing collects a forgotten tensor.
 *
 * Both are checked at the end of the test's own body, not in an afterEach hook: mocha stops the whole run when a root
 * hook throws, and a failure reported after 'pass' is lost on the way through karma. So tensors that a beforeEach hook
 * makes and an afterEach hook disposes are none of the check's business, and those a body makes are.
 */
import * as tf from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import '@tensorflow/tfjs-backend-webgl';
import {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import '../../src/tuning/plan_flags.js';

const BACKENDS = ['cpu', 'wasm', 'tensorflow', 'webgpu', 'webgl'] as const;

export type BackendName = typeof BACKENDS[number];

interface BackendSources {
  process?: {env: Record<string, string | undefined>};
  __karma__?: {config: {backend?: string}};
}

function chooseBackend(): BackendName {
  const {process, __karma__: karma} = globalThis as BackendSources;
  const name = karma?.config.backend ?? process?.env.TEST_BACKEND ?? 'cpu';
  const known = BACKENDS.find(each => each === name);
  if (!known) {
    throw new Error(`no tests run on backend '${name}'; TEST_BACKEND is one of ${BACKENDS.join(', ')}`);
  }
  return known;
}

/** The backend this run tests. */
export const backendName: BackendName = chooseBackend();

let leakAllowed = false;

/** For a test whose tensors are meant to outlive it; the reason is for the reader. */
export function allowLeak(_reason: string): void {
  leakAllowed = true;
}

const gpuErrors: string[] = [];
const watchedDevices = new Set<GPUDevice>();

/** Lets what goes wrong on `device` fail the test that runs. The backend's own device is watched already. */
export function watchDevice(device: GPUDevice): void {
  if (watchedDevices.has(device)) {
    return;
  }
  watchedDevices.add(device);
  device.addEventListener('uncapturederror', ({error}) => gpuErrors.push(error.message));
  void device.lost.then(({reason, message}) => {
    watchedDevices.delete(device);
    if (reason !== 'destroyed') {
      gpuErrors.push(`the device was lost: ${message}`);
    }
  });
}

/** Waits until the GPU has done, and reported on, everything asked of it so far. */
async function settleGpu(): Promise<void> {
  const backend = tf.backend();
  if (backend instanceof WebGPUBackend) {
    watchDevice(backend.device);
    // What tfjs has recorded but not yet submitted can still turn out invalid.
    backend.ensureCommandEncoderReady();
    backend.endComputePassEncoder();
    backend.submitQueue();
  }
  await Promise.all([...watchedDevices].map(device => device.queue.onSubmittedWorkDone()));
  // Chromium dispatches error events as tasks of their own, behind the one that resolves this promise.
  await new Promise(resolve => setTimeout(resolve));
}

function tensorsAlive(): {tensors: number; buffers: number} {
  return {tensors: tf.memory().numTensors, buffers: tf.engine().backend.numDataIds()};
}

function leakSince(before: ReturnType<typeof tensorsAlive>): string | undefined {
  const after = tensorsAlive();
  const tensors = after.tensors - before.tensors;
  const buffers = after.buffers - before.buffers;
  if (tensors <= 0 && buffers <= 0) {
    return undefined;
  }
  return `the test leaks ${tensors} tensors, ${buffers} data buffers: dispose of them, or say why not with allowLeak()`;
}

function throwGpuErrors(cause?: unknown): void {
  if (gpuErrors.length > 0) {
    const thrown = cause instanceof Error ? `\nand the test threw: ${cause.message}` : '';
    throw new Error(`the GPU reported: ${gpuErrors.splice(0).join('\n')}${thrown}`, {cause});
  }
}

const checkedBodies = new WeakSet<Mocha.AsyncFunc | Mocha.Func>();

function checked(body: Mocha.AsyncFunc): Mocha.AsyncFunc {
  const checkedBody: Mocha.AsyncFunc = async function() {
    leakAllowed = false;
    const before = tensorsAlive();
    let thrown: unknown;
    try {
      await body.call(this);
    } catch (error) {
      thrown = error;
    }
    const backendLeft = tf.getBackend();
    await tf.setBackend(backendName);
    await settleGpu();
    throwGpuErrors(thrown); // first, for it is the likelier cause of whatever else went wrong
    if (thrown !== undefined) {
      throw thrown;
    }
    if (backendLeft !== backendName) {
      throw new Error(`the test leaves the backend at '${backendLeft}'`);
    }
    const leak = leakAllowed ? undefined : leakSince(before);
    if (leak !== undefined) {
      throw new Error(leak);
    }
  };
  checkedBodies.add(checkedBody);
  return checkedBody;
}

/** Without the warnings that tfjs-node's copy of tfjs registers kernels a second time. */
function quietly(run: () => void): void {
  const {warn} = console;
  console.warn = () => undefined;
  try {
    run();
  } finally {
    console.warn = warn;
  }
}

before('set the backend', async function() {
  this.timeout(60_000); // a cold start of Chromium's GPU process on a busy machine
  tf.env().set('WEBGPU_CPU_FORWARD', false); // else small tensors never reach the GPU
  tf.env().set('NM_SPARSE_INTERIM_PLANS', false); // else the selected plans hardly ever run
  if (backendName === 'wasm') {
    const {setWasmPaths} = await import('@tensorflow/tfjs-backend-wasm');
    if ('__karma__' in globalThis) {
      setWasmPaths('/base/node_modules/@tensorflow/tfjs-backend-wasm/dist/'); // karma.conf.js serves them
    }
  }
  if (backendName === 'tensorflow') {
    // tfjs-node lies in a folder of its own (test/interop/build_tfjs_node.sh); its tfjs-core shares this engine.
    const {createRequire} = process.getBuiltinModule('node:module');
    quietly(() => createRequire(`${process.env.TFJS_NODE}/`)('@tensorflow/tfjs-node'));
  }
  if (!(await tf.setBackend(backendName))) {
    throw new Error(`backend '${backendName}' does not start here`);
  }
  await settleGpu();
});

beforeEach('let the test check itself', function() {
  const test = this.currentTest!;
  if (test.fn && !checkedBodies.has(test.fn)) {
    if (test.fn.length > 0) {
      throw new Error(`'${test.fullTitle()}' takes a 'done' callback; make it async`);
    }
    test.fn = checked(test.fn as Mocha.AsyncFunc);
  }
});

after('hear what the GPU says last', async () => {
  await settleGpu();
  throwGpuErrors();
});
