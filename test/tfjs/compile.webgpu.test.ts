/** Compiling in parallel: what it compiles, and that nobody else notices. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend, WebGPUProgram} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {compileInParallel} from '../../src/tfjs/compile.js';
import {override} from '../../src/tfjs/internals.js';
import {rejection} from '../tuning/support.js';

const webgpu = () => tf.backend() as WebGPUBackend;
const pipelines = () => (webgpu() as unknown as {pipelineCache: Record<string, unknown>}).pipelineCache;
const isCompileOnly = () => tf.env().getBool('WEBGPU_ENGINE_COMPILE_ONLY');

let made = 0;

interface Adding {
  added: number;
  /** Makes the program: tfjs writes its own things into one that it runs. */
  program: () => WebGPUProgram;
}

/** A program that no one has compiled yet: adds a number. */
function adding(declarations = '', more = '0.0'): Adding {
  const added = ++made;
  return {added, program: () => ({
    outputShape: [4], dispatchLayout: {x: [0]}, dispatch: [1, 1, 1], workgroupSize: [64, 1, 1], variableNames: ['x'],
    uniforms: '', size: true, shaderKey: `compile_test_${added}`,
    getUserCode: () => `${declarations}
      fn main(index : i32) { if (index < uniforms.size) { result[index] = x[index] + ${added}.0 + ${more}; } }`,
  } as unknown as WebGPUProgram)};
}

/** Runs a program as a user would. */
async function run({program, added}: Adding): Promise<void> {
  const x = tf.tensor1d([1, 2, 3, 4]);
  const y = tf.engine().makeTensorFromTensorInfo(webgpu().runWebGPUProgram(program(), [x], 'float32'));
  expect([...await y.data()]).to.deep.equal([1, 2, 3, 4].map(value => value + added));
  tf.dispose([x, y]);
}

function record(...programs: Adding[]): void {
  const x = tf.tensor1d([1, 2, 3, 4]);
  for (const {program} of programs) {
    webgpu().disposeData(webgpu().runWebGPUProgram(program(), [x], 'float32').dataId);
  }
  x.dispose();
}

function compile(...programs: Adding[]): Promise<number> {
  return compileInParallel(webgpu(), () => record(...programs));
}

describe('compiling in parallel', () => {
  it('has programs ready that were never run, and counts the new ones', async () => {
    const [first, second] = [adding(), adding()];
    expect(await compile(first, second)).to.equal(2);
    expect(await compile(first, second)).to.equal(0);
    const compiled = Object.keys(pipelines()).length;
    await run(first);
    await run(second);
    expect(Object.keys(pipelines())).to.have.length(compiled);
    expect(Object.values(pipelines()).some(each => each instanceof Promise || each === undefined)).to.equal(false);
  });

  it('lets others run meanwhile: the same programs, and new ones', async () => {
    const [same, other] = [adding(), adding()];
    const compiling = compile(same);
    expect(isCompileOnly()).to.equal(false);
    await Promise.all([run(same), run(other)]);
    expect(await compiling).to.equal(1);
    await Promise.all([run(same), run(other)]);
  });

  it('waits for a program that is being compiled, and compiles it once', async () => {
    const [same, other] = [adding(), adding()];
    const {device} = webgpu();
    const create = device.createComputePipelineAsync.bind(device);
    let created = 0;
    const restore = override(device, 'createComputePipelineAsync', (descriptor: GPUComputePipelineDescriptor) => {
      ++created;
      return create(descriptor);
    });
    const first = compile(same);
    const unrelated = compile(other);
    const second = compile(same);
    restore();
    expect(created).to.equal(2);
    expect(Object.values(pipelines()).some(each => each instanceof Promise)).to.equal(false);
    expect(await second).to.equal(1);
    expect(await compile(same)).to.equal(0);
    expect(await Promise.all([first, unrelated])).to.deep.equal([1, 1]);
    await run(same);
    await run(other);
  });

  it('puts the flag back, and the cache in order, where something throws', async () => {
    const left = adding();
    const before = Object.keys(pipelines()).length;
    expect(await rejection(compileInParallel(webgpu(), () => {
      record(left);
      throw new Error('no such model');
    }))).to.equal('no such model');
    expect(isCompileOnly()).to.equal(false);
    expect(Object.keys(pipelines())).to.have.length(before);
    await run(left);
  });

  it('says so if a program does not compile, and forgets it', async () => {
    // Valid WGSL, of which this device has not enough: only making the pipeline fails.
    const most = webgpu().device.limits.maxComputeWorkgroupStorageSize;
    const huge = adding(`var<workgroup> many: array<f32, ${most}>;`, 'many[index % 7]');
    const before = Object.keys(pipelines());
    expect(await rejection(compile(huge))).to.include('a WebGPU program does not compile: ');
    expect(Object.keys(pipelines())).to.deep.equal(before);
  });
});
