/** What recordings refuse, because dispatches alone do not repeat it. */
import {engine} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {dataOf} from './internals.js';

/** Thrown where a model cannot be recorded, or a recording cannot stand in for its predict. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  /** Whether it lies in the model, so that trying again is of no use. */
  isLasting = false;

  /** @param reason what is in the way and what to do: the message without the name of the function. */
  constructor(reason: string, options?: ErrorOptions) {
    super(`captureModel: ${reason}`, options);
  }
}

/** Gives an object another value or method until the trace ends. */
export type Replace = (target: object, name: string, value: unknown) => void;

/** Kernels that read an image. Its pixels may be others at the next call. */
const IMAGE_KERNELS = ['FromPixels', 'Draw'];
/** Ends the name of the scope that tfjs opens for an op. */
const OP_SUFFIX = '__op';

/** Notes why a trace is refused, as the model might catch the error. @returns the error, to be thrown. */
export type Refuse = (reason: string) => Refusal;

/** Makes ops throw that differ from call to call or leave the GPU. */
export function refuseUnrepeatable(webgpu: WebGPUBackend, replace: Replace, refuse: Refuse): void {
  for (const name of ['readToGPU', 'createTensorFromGPUData', 'time']) {
    replace(webgpu, name, () => {
      throw refuse('the model copies GPU buffers (dataToGPU, or tf.tensor of a GPUBuffer) or runs tf.time; ' +
        'run model.predict.');
    });
  }
  replace(Math, 'random', () => {
    throw refuse(`the model draws other random numbers at each call${inOp()}; run model.predict, ` +
      'or give the op a seed.');
  });
  const runKernel = engine().runKernel.bind(engine());
  replace(engine(), 'runKernel', (name: string, ...rest: [never, never]) => {
    if (IMAGE_KERNELS.includes(name)) {
      throw refuse(`the model runs ${name}, whose image may change; run it before predict.`);
    }
    if (engine().backend !== webgpu) {
      throw refuse(`the model runs ${name} on the backend '${engine().backendName}', which cannot be recorded; ` +
        'run model.predict.');
    }
    return runKernel(name, ...rest);
  });
}

/** Lets only values be read that lie on the CPU: constants. Inputs and what is computed from them lie on the GPU. */
export function refuseReads(webgpu: WebGPUBackend, replace: Replace, refuse: Refuse): void {
  const {read, readSync} = webgpu;
  const hasValues = (dataId: object) => dataOf(webgpu, dataId).values != null;
  const refusal = () => refuse(`the model reads results back to the CPU${inOp()}, which a recording cannot do; ` +
    'run model.predict, or take that part out of the model.');
  replace(webgpu, 'readSync', (dataId: object) => {
    if (!hasValues(dataId)) {
      throw refusal();
    }
    return readSync.call(webgpu, dataId);
  });
  replace(webgpu, 'read', (dataId: object) => {
    if (!hasValues(dataId)) {
      refusal();
      return new Promise(() => undefined); // a rejected one, not handled, would end a process of Node
    }
    return read.call(webgpu, dataId);
  });
}

export function keepsState(): Refusal {
  return new Refusal('the model keeps state from call to call: tensors made by predict outlive it, or it changes ' +
    'tensors that it reads; run model.predict.');
}

/** @throws Refusal for tensors without elements, which WebGPU cannot bind. */
export function checkSize(size: number, what: string): void {
  if (size === 0) {
    throw new Refusal(`${what} has no elements; run model.predict.`);
  }
}

/** @returns the ops that are running, outermost first, in brackets; '' outside of ops. */
function inOp(): string {
  const ops = engine().state.scopeStack.map(({name}) => name).filter(name => name.endsWith(OP_SUFFIX));
  return ops.length === 0 ? '' : ` (${ops.map(name => name.slice(0, -OP_SUFFIX.length)).join(' > ')})`;
}
