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

  it('becomes a recording, whose replays are submitted with tfjs’s own programs', async () => {
    const recording = new Recording(webgpu(), trace(webgpu(), [spec()], chain), []);
    const x = tf.tensor1d([0, 1, -1, 2]);
    let y!: tf.Tensor;
    expect(await calls(webgpu().queue, 'submit', () => {
      [y] = recording.replay([x]);
    })).to.equal(0);
    const most = tf.env().getNumber('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE');
    const onGpu = tf.tidy(() => tf.add(x, 0));
    expect(await calls(webgpu().queue, 'submit', () => {
      for (let dispatches = 0; dispatches < 3 * most; dispatches += 3) {
        tf.dispose(recording.replay([onGpu]));
      }
    })).to.be.within(2, 4);
    onGpu.dispose();
    expect(specOf(webgpu(), y)).to.deep.equal(SPEC);
    (await y.data()).forEach((value, i) => expect(value).to.be.closeTo(Math.exp(2 * [0, 1, -1, 2][i]) + i + 1, 1e-4));
    recording.destroy();
    tf.dispose([x, y]);
  });

  it('becomes a recording that may be replayed with other CPU values, or destroyed, before anything is submitted',
    async () => {
      const recording = new Recording(webgpu(), trace(webgpu(), [spec()], ([x]) => [tf.mul(x, 3)]), []);
      const ys = [1, 2, 3].map(value => {
        const x = tf.fill([4], value);
        const onCpu = tf.tensor1d([value, value, value, value + 10]);
        const [y] = recording.replay([value === 2 ? x : onCpu]);
        tf.dispose([x, onCpu]);
        return y;
      });
      recording.destroy();
      const values = await Promise.all(ys.map(async y => [...await y.data()]));
      expect(values).to.deep.equal([[3, 3, 3, 33], [6, 6, 6, 6], [9, 9, 9, 39]]);
      tf.dispose(ys);
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
