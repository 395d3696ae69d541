/**
 * Runs the programs of one kernel call. Every program of this package goes through {@link runPasses}, which checks all
 * buffers before it runs the first program.
 *
 * The check is needed because WebGPU does not throw: a buffer larger than the device binds makes the bind group
 * invalid, the dispatch is dropped, and the output holds whatever was in its buffer.
 */
import type {TensorInfo} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import type {PreparedProgram} from '../../src/tfjs/prepared_program.js';
import {checkDevice} from './device_loss.js';

/** One program to run. */
export interface Pass {
  program: PreparedProgram;
  /** Tensors, or passes whose output the program reads. */
  inputs: Array<TensorInfo | Pass>;
  /** What the program writes, as error messages name it. */
  output: string;
}

/** The device limits that bound the size of one tensor. */
export interface BufferLimits {
  maxStorageBufferBindingSize: number;
  maxBufferSize: number;
}

/** All tensors here are float32 or int32. */
const BYTES_PER_ELEMENT = 4;
/** Tensors whose size is in proportion to the rows of x. */
const SIZED_BY_ROWS = ['x', 'y', 'x transposed', 'partial sums of y'];

/** Bytes of the largest tensor that programs can read or write on a device. */
export function largestTensor({maxStorageBufferBindingSize, maxBufferSize}: BufferLimits): number {
  return Math.min(maxStorageBufferBindingSize, maxBufferSize);
}

/**
 * Runs a pass after the passes it reads from, and releases what those wrote.
 * @param caller the op, as error messages name it.
 * @returns what the pass wrote, float32.
 * @throws Error naming the tensor that is too large for the device, before any program runs; or if the device is lost.
 */
export function runPasses(caller: string, backend: WebGPUBackend, pass: Pass): TensorInfo {
  checkDevice(caller, backend.device);
  checkSizes(caller, backend.device.limits, pass);
  return run(backend, pass);
}

function checkSizes(caller: string, limits: BufferLimits, {program: {program}, inputs, output}: Pass): void {
  inputs.forEach((input, i) => {
    if (isPass(input)) {
      checkSizes(caller, limits, input);
    } else {
      checkSize(caller, limits, program.variableNames[i], input.shape);
    }
  });
  checkSize(caller, limits, output, program.outputShape);
}

function checkSize(caller: string, limits: BufferLimits, name: string, shape: number[]): void {
  const bytes = BYTES_PER_ELEMENT * shape.reduce((a, b) => a * b, 1);
  const most = largestTensor(limits);
  if (bytes > most) {
    const remedy = SIZED_BY_ROWS.includes(name) ? 'multiply fewer rows at a time, or use' : 'use';
    throw new Error(`${caller}: ${name} has shape [${shape}], ${bytes} bytes; this WebGPU device takes at most ` +
      `${most} bytes in one tensor: ${remedy} a device with a larger maxStorageBufferBindingSize and maxBufferSize.`);
  }
}

function run(backend: WebGPUBackend, {program, inputs}: Pass): TensorInfo {
  const temporary: TensorInfo[] = [];
  try {
    const tensors = inputs.map(input => {
      if (!isPass(input)) {
        return input;
      }
      const written = run(backend, input);
      temporary.push(written);
      return written;
    });
    return program.run(backend, tensors);
  } finally {
    temporary.forEach(({dataId}) => backend.disposeData(dataId));
  }
}

function isPass(input: TensorInfo | Pass): input is Pass {
  return 'program' in input;
}
