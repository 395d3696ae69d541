/**
 * Sets up the tfjs backend: the fastest that is installed. Pruning itself runs in plain loops; only the verification,
 * which predicts twice, can take long on the cpu backend.
 *
 * All backends but cpu are optional packages. They are imported by a computed name, so that bundlers do not resolve
 * them.
 */
import {execFile} from 'node:child_process';
import {promisify} from 'node:util';
import {backend, env, findBackend, findBackendFactory, setBackend} from '@tensorflow/tfjs-core';
import {reasonOf} from './errors.js';

export const BACKENDS = ['tensorflow', 'webgpu', 'cpu'] as const;
export type BackendChoice = typeof BACKENDS[number];

export interface ReadyBackend {
  /** For the reader: 'webgpu (nvidia hopper)'. */
  name: string;
  /** @throws Error if what was computed so far is not to be trusted. */
  check(): Promise<void>;
}

/** tfjs-node under either name registers the backend 'tensorflow'. */
const TENSORFLOW_PACKAGES = ['@tensorflow/tfjs-node-gpu', '@tensorflow/tfjs-node'];
const WEBGPU_PACKAGE: string = '@tensorflow/tfjs-backend-webgpu';
const DAWN_PACKAGE: string = 'webgpu';
const ADAPTER_OPTIONS: GPURequestAdapterOptions = {powerPreference: 'high-performance'};

/**
 * Sets a backend up and makes it tfjs's.
 * @param choice without one: tensorflow if tfjs-node-gpu or tfjs-node is installed, else webgpu if there is a GPU, else
 *     cpu. A WebGPU adapter that is software is taken only by choice: it is slower than cpu.
 * @throws Error if the chosen backend is not available.
 */
export async function setUpBackend(choice?: BackendChoice): Promise<ReadyBackend> {
  if (choice !== undefined) {
    try {
      return await SET_UP[choice](true);
    } catch (error) {
      throw new Error(`--backend ${choice}: ${reasonOf(error)}`, {cause: error});
    }
  }
  for (const name of BACKENDS) {
    try {
      return await SET_UP[name](false);
    } catch {
      // Not installed, or nothing to run it on: the next one. cpu always works.
    }
  }
  throw new Error('no tfjs backend starts here');
}

const SET_UP: Record<BackendChoice, (byChoice: boolean) => Promise<ReadyBackend>> = {
  tensorflow: setUpTensorflow,
  webgpu: setUpWebGPU,
  cpu: async () => {
    await import('@tensorflow/tfjs-backend-cpu');
    await activate('cpu', '@tensorflow/tfjs-backend-cpu');
    return {name: 'cpu', check: neverWrong};
  },
};

async function neverWrong(): Promise<void> {}

async function setUpTensorflow(): Promise<ReadyBackend> {
  // TensorFlow reports the CPU's features on stderr, from C++.
  process.env.TF_CPP_MIN_LOG_LEVEL ??= '2';
  const failures: string[] = [];
  for (const name of TENSORFLOW_PACKAGES) {
    try {
      await import(name);
      await activate('tensorflow', name);
      return {name: `tensorflow (${name})`, check: neverWrong};
    } catch (error) {
      failures.push(importFailure(name, error));
    }
  }
  throw new Error(failures.join('; '));
}

function importFailure(name: string, error: unknown): string {
  return (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND' ? `npm package ${name} is not installed` :
    `${name}: ${reasonOf(error)}`;
}

async function activate(backendName: string, packageName: string): Promise<void> {
  if (findBackendFactory(backendName) === null) {
    throw new Error(`${packageName} brings a copy of tfjs-core of its own; install the same version of both`);
  }
  if (!(await setBackend(backendName))) {
    throw new Error(`tfjs cannot start backend ${backendName}`);
  }
  quietCpu(backendName);
}

/** Suppresses the advertisement for tfjs-node that backend-cpu prints at its first tensor; docs/cli.md mentions it. */
function quietCpu(backendName: string): void {
  const cpu = findBackend(backendName) as {firstUse?: boolean} | null;
  if (cpu?.firstUse) {
    cpu.firstUse = false;
  }
}

async function setUpWebGPU(byChoice: boolean): Promise<ReadyBackend> {
  let provided: boolean;
  try {
    provided = await provideGpu();
  } catch (error) {
    throw new Error(importFailure(DAWN_PACKAGE, error), {cause: error});
  }
  const adapter = provided ? await navigator.gpu.requestAdapter(ADAPTER_OPTIONS) : null;
  if (adapter === null) {
    throw new Error('Dawn finds no GPU adapter');
  }
  const {vendor, architecture, description} = adapter.info;
  const named = [vendor, architecture].filter(Boolean).join(' ') || description;
  const software = (adapter as {isFallbackAdapter?: boolean}).isFallbackAdapter ||
      (adapter.info as {isFallbackAdapter?: boolean}).isFallbackAdapter ||
      /swiftshader|llvmpipe|lavapipe|softwar/i.test(`${named} ${description}`);
  if (software && !byChoice) {
    throw new Error('the only adapter is a software one');
  }
  // It registers itself while it is imported, and only if there is a navigator.gpu by then.
  await import(WEBGPU_PACKAGE);
  await activate('webgpu', WEBGPU_PACKAGE);
  env().set('WEBGPU_CPU_FORWARD', false);
  return {name: `webgpu (${named})`, check: watchDevice((backend() as unknown as {device: GPUDevice}).device)};
}

/** What goes wrong on a GPU does not throw: results are then whatever lay in the buffer. It is only reported. */
function watchDevice(device: GPUDevice): () => Promise<void> {
  const errors: string[] = [];
  device.addEventListener('uncapturederror', ({error}) => errors.push(error.message));
  void device.lost.then(({message}) => errors.push(`the device was lost: ${message}`));
  return async () => {
    await device.queue.onSubmittedWorkDone();
    // Such events are dispatched as tasks of their own.
    await new Promise(resolve => setTimeout(resolve));
    if (errors.length > 0) {
      throw new Error(`the GPU reported: ${reasonOf(new Error(errors[0]))}. Nothing was written; try --backend cpu`);
    }
  };
}

/**
 * Node has no WebGPU; the npm package `webgpu` (Dawn) does.
 * @returns false if Dawn finds no adapter.
 * @throws Error if the package is not installed or does not load.
 */
async function provideGpu(): Promise<boolean> {
  if (globalThis.navigator?.gpu) {
    return true;
  }
  if (await hasNoAdapter()) {
    return false;
  }
  const dawn = await import(DAWN_PACKAGE) as {create(flags: string[]): unknown; globals: object};
  Object.assign(globalThis, dawn.globals);
  if (!globalThis.navigator) { // Node 20 has none, Node 21 and later do
    Object.defineProperty(globalThis, 'navigator', {value: {}, configurable: true});
  }
  // Dawn needs what create() returns to stay referenced for as long as the GPU is used: navigator.gpu does that.
  Object.defineProperty(navigator, 'gpu', {value: dawn.create([]), configurable: true});
  return true;
}

/**
 * Asks Dawn for an adapter in a process of its own. If there is none, Dawn warns on stderr from C++, where this process
 * cannot stop it from reaching the user.
 */
async function hasNoAdapter(): Promise<boolean> {
  const script = `
    import {create} from ${JSON.stringify(import.meta.resolve(DAWN_PACKAGE))};
    const gpu = create([]);
    const adapter = await gpu.requestAdapter(${JSON.stringify(ADAPTER_OPTIONS)});
    process.stdout.write(adapter ? 'adapter' : 'none', () => process.exit());`;
  const {stdout} = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script])
    .catch((failed: {stdout?: string}) => failed); // Dawn can crash at exit; a package that does not load is no answer
  return stdout === 'none';
}
