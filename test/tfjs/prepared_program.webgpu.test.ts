/** Prepared programs: every execution computes what tfjs's own computes, whatever changes between two of them. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {NMTransposeProgram} from '../../kernels/webgpu/passes/transpose_webgpu.js';
import {PreparedProgram} from '../../src/tfjs/prepared_program.js';
import {override} from '../../src/tfjs/internals.js';

const webgpu = () => tf.backend() as WebGPUBackend;
const [ROWS, DEPTH] = [5, 6];

function transposition(): PreparedProgram {
  const program = new NMTransposeProgram(ROWS, DEPTH, 8, 65535);
  return new PreparedProgram(program, program.uniformData());
}

const numbers = (first: number) => Array.from({length: ROWS * DEPTH}, (_, i) => first + i);

/** Transposes x and checks it. */
async function check(program: PreparedProgram, x: tf.Tensor, first: number): Promise<void> {
  const y = tf.engine().makeTensorFromTensorInfo(program.run(webgpu(), [x]));
  const expected = Array.from({length: DEPTH * 8}, (_, i) => i % 8 < ROWS ? first + (i % 8) * DEPTH + (i >> 3) : 0);
  expect([...await y.data()]).to.deep.equal(expected);
  y.dispose();
}

/** What tfjs itself does while `run` runs: executions, and uniform buffers. */
function countTfjs(run: () => void): {executions: number; uniforms: number} {
  const count = {executions: 0, uniforms: 0};
  const internals = webgpu() as unknown as Record<string, (...args: unknown[]) => unknown>;
  const undo = ([['runWebGPUProgram', 'executions'], ['makeUniforms', 'uniforms']] as const).map(([name, counter]) => {
    const method = internals[name].bind(webgpu());
    return override(webgpu(), name, (...args: unknown[]) => {
      ++count[counter];
      return method(...args);
    });
  });
  try {
    run();
  } finally {
    undo.forEach(each => each());
  }
  return count;
}

describe('a prepared program', () => {
  it('computes the same in every execution, from other data each time', async () => {
    const program = transposition();
    for (let first = 0; first < 5; ++first) {
      const x = tf.tensor2d(numbers(first), [ROWS, DEPTH]);
      await check(program, x, first);
      x.dispose();
    }
  });

  it('runs by tfjs twice, and then without it', () => {
    const program = transposition();
    const x = tf.ones([ROWS, DEPTH]);
    const counts = [1, 2, 3, 4].map(() => countTfjs(() => webgpu().disposeData(program.run(webgpu(), [x]).dataId)));
    expect(counts.map(({executions}) => executions)).to.deep.equal([1, 1, 0, 0]);
    expect(counts.map(({uniforms}) => uniforms)).to.deep.equal([1, 1, 0, 0]);
    x.dispose();
  });

  it('is compiled once, however often tfjs runs it', async () => {
    const program = transposition();
    const {pipelineCache} = webgpu() as unknown as {pipelineCache: Record<string, unknown>};
    const x = tf.ones([ROWS, DEPTH]);
    webgpu().disposeData(program.run(webgpu(), [x]).dataId);
    const compiled = Object.keys(pipelineCache).length;
    for (let i = 0; i < 3; ++i) {
      webgpu().disposeData(program.run(webgpu(), [x]).dataId);
      await tf.time(() => webgpu().disposeData(program.run(webgpu(), [x]).dataId));
    }
    expect(Object.keys(pipelineCache)).to.have.length(compiled);
    x.dispose();
  });

  it('is submitted with tfjs’s own programs, in order', async () => {
    const program = transposition();
    for (let i = 0; i < 40; ++i) {
      const x = tf.tidy(() => tf.add(tf.tensor2d(numbers(0), [ROWS, DEPTH]), i));
      await check(program, x, i);
      x.dispose();
    }
  });

  it('follows a change of the buffer’s dtype, and of the compiled programs', async () => {
    const program = transposition();
    const floats = tf.tensor2d(numbers(1), [ROWS, DEPTH]);
    const ints = tf.tidy(() => tf.cast(tf.tensor2d(numbers(2), [ROWS, DEPTH], 'int32'), 'float32'));
    for (let i = 0; i < 3; ++i) {
      await check(program, floats, 1);
    }
    for (let i = 0; i < 3; ++i) {
      await check(program, ints, 2);
      await check(program, floats, 1);
    }
    const {pipelineCache} = webgpu() as unknown as {pipelineCache: Record<string, unknown>};
    Object.keys(pipelineCache).forEach(key => delete pipelineCache[key]);
    await check(program, floats, 1);
    await check(program, floats, 1);
    tf.dispose([floats, ints]);
  });

  it('is timed by tf.time, and leaves no tensors and no bytes behind', async () => {
    const program = transposition();
    const x = tf.tensor2d(numbers(3), [ROWS, DEPTH]);
    for (let i = 0; i < 3; ++i) {
      await check(program, x, 3);
    }
    const before = {...tf.memory(), bytes: webgpu().bufferManager.numBytesAllocated};
    let executions = 0;
    await tf.time(() => {
      executions = countTfjs(() => webgpu().disposeData(program.run(webgpu(), [x]).dataId)).executions;
    });
    expect(executions).to.equal(1);
    for (let i = 0; i < 50; ++i) {
      await check(program, x, 3);
    }
    expect(tf.memory().numTensors).to.equal(before.numTensors);
    expect(webgpu().bufferManager.numBytesAllocated - before.bytes).to.be.at.most(1024); // tf.time's own buffers
    x.dispose();
  });
});
