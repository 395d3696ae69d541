/** Traces and recordings: a trace runs nothing and takes no memory, a recording repeats it with memory of its own. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {override} from '../../src/tfjs/internals.js';
import {flush} from '../../src/tfjs/recorder.js';
import {Recording, specOf} from '../../src/tfjs/recording.js';
import {isTracing} from '../../src/tfjs/internals.js';
import {trace} from '../../src/tfjs/trace.js';

const webgpu = () => tf.backend() as WebGPUBackend;
const SPEC = {shape: [4], dtype: 'float32', storedDtype: 'float32'} as const;
const spec = () => ({...SPEC, shape: [...SPEC.shape]});

/** How often a method of the device or its queue is called. */
async function calls(target: object, name: string, run: () => Promise<void> | void): Promise<number> {
  const method = (target as Record<string, (...args: unknown[]) => unknown>)[name].bind(target);
  let count = 0;
  const restore = override(target, name, (...args: unknown[]) => {
    ++count;
    return method(...args);
  });
  try {
    await run();
  } finally {
    restore();
  }
  return count;
}

describe('a trace', () => {
  const chain = ([x]: tf.Tensor[]) => {
    expect(isTracing(webgpu())).to.equal(true);
    return [tf.add(tf.exp(tf.mul(x, tf.scalar(2))), tf.tensor1d([1, 2, 3, 4]))];
  };

  it('lists the dispatches, and creates no buffer', async () => {
    tf.dispose(tf.tidy(() => {
      const x = tf.ones([4]);
      return [tf.add(x, x), tf.exp(x), tf.mul(x, tf.scalar(2))];
    }));
    expect(await calls(webgpu().device, 'createBuffer', () => {
      const {dispatches, inputs, outputs, externals} = trace(webgpu(), [spec()], chain);
      expect(dispatches).to.have.length(3);
      expect([inputs.length, outputs.length, externals.length]).to.deep.equal([1, 1, 0]);
      expect(outputs[0]).to.deep.include(SPEC);
    })).to.equal(0);
    expect(isTracing(webgpu())).to.equal(false);
  });

  it('becomes a recording, which submits once', async () => {
    const recording = new Recording(webgpu(), trace(webgpu(), [spec()], chain), []);
    const x = tf.tensor1d([0, 1, -1, 2]);
    let y!: tf.Tensor;
    expect(await calls(webgpu().queue, 'submit', () => {
      [y] = recording.replay([x]);
    })).to.equal(1);
    expect(specOf(webgpu(), y)).to.deep.equal(SPEC);
    (await y.data()).forEach((value, i) => expect(value).to.be.closeTo(Math.exp(2 * [0, 1, -1, 2][i]) + i + 1, 1e-4));
    recording.destroy();
    tf.dispose([x, y]);
  });

  it('uploads weights to buffers of tfjs, and notices that they change', async () => {
    tf.dispose(tf.tidy(() => tf.square(tf.ones([4])))); // leaves buffers in tfjs's pool, so that uploads are staged
    flush(webgpu());
    const first = tf.tensor1d([1, 10, 100, 1000]);
    const weight = tf.variable(first);
    first.dispose();
    const {numBytesUsed} = webgpu().bufferManager;
    const recording = new Recording(webgpu(), trace(webgpu(), [spec()], ([x]) => [tf.mul(x, weight)]), []);
    expect(webgpu().bufferManager.numBytesUsed).to.equal(numBytesUsed + 16);
    const x = tf.tensor1d([1, 2, 3, 4]);
    const [y] = recording.replay([x]);
    expect([...await y.data()]).to.deep.equal([1, 20, 300, 4000]);
    expect([...await weight.data()]).to.deep.equal([1, 10, 100, 1000]);
    expect(recording.isCurrent()).to.equal(true);
    weight.assign(x);
    expect([recording.isCurrent(), recording.hasLostData()]).to.deep.equal([false, false]);
    weight.dispose();
    expect([recording.isCurrent(), recording.hasLostData()]).to.deep.equal([false, true]);
    recording.destroy();
    tf.dispose([x, y]);
  });

  it('passes on what the function throws, and leaves tfjs as it was', async () => {
    const before = {...tf.memory()};
    expect(() => trace(webgpu(), [spec()], ([x]) => {
      tf.square(x);
      throw new Error('broken function');
    })).to.throw('broken function');
    expect({...tf.memory()}).to.deep.equal(before);
    const y = tf.tidy(() => tf.square(tf.tensor1d([1, 2, 3, 4])));
    expect([...await y.data()]).to.deep.equal([1, 4, 9, 16]);
    y.dispose();
  });
});
