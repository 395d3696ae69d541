/** The recorder of tfjs's dispatches: what is recorded runs when it is replayed, and not before. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {compress, nmSparseMatMul} from '../../src/index.js';
import {flush, freeUnusedBuffers, record, replay, type Recording} from '../../src/tfjs/recorder.js';
import {mulberry32, seed} from '../support/random.js';
import {randomValues} from '../support/reference.js';

const webgpu = () => tf.backend() as WebGPUBackend;

function run(recording: Recording): void {
  const encoder = webgpu().device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  replay(pass, recording);
  pass.end();
  webgpu().device.queue.submit([encoder.finish()]);
}

describe('a recording', () => {
  it('of a product runs when it is replayed, and not before', async () => {
    const x = tf.tensor2d(randomValues(40 * 200, mulberry32(seed)), [40, 200]);
    const dense = tf.tensor2d(randomValues(200 * 48, mulberry32(seed + 1)), [200, 48]);
    const w = await compress(dense, {pattern: '2:4v4'});
    const expected = nmSparseMatMul(x, w); // compiles and uploads
    const right = Array.from(await expected.data());
    let y!: tf.Tensor;
    const [recording] = record(webgpu(), [() => y = nmSparseMatMul(x, w)]);
    const before = tf.mul(y, 1); // reading y itself would keep its values on the CPU
    expect(Array.from(await before.data())).not.to.deep.equal(right);
    run(recording);
    flush(webgpu());
    expect(Array.from(await y.data())).to.deep.equal(right);
    tf.dispose([x, dense, expected, before, y]);
    w.dispose();
  });

  it('has buffers of its own until the next flush, although its tensors are disposed', async () => {
    const x = tf.tensor1d([1, 2, 3]);
    tf.dispose([tf.add(x, x), tf.mul(x, x)]);
    const outputs: GPUBuffer[] = [];
    const recordings = record(webgpu(), [tf.add, tf.mul].map(op => () => {
      const y = (op as typeof tf.add)(x, x);
      outputs.push(webgpu().tensorMap.get(y.dataId).resource as GPUBuffer);
      y.dispose();
    }));
    expect(recordings.map(dispatches => dispatches.length)).to.deep.equal([1, 1]);
    expect(outputs[0]).to.not.equal(outputs[1]);
    flush(webgpu());
    x.dispose();
  });

  it('is refused where the function copies buffers, and tfjs works as before', async () => {
    const batchSize = tf.env().getNumber('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE');
    const big = new Float32Array(5000).fill(2);
    const x = tf.tensor1d(big);
    const squares = tf.square(x);
    expect(() => record(webgpu(), [() => squares.dataToGPU()])).to.throw('record: the function copies buffers');
    tf.dispose([x, squares]);
    expect(tf.env().getNumber('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE')).to.equal(batchSize);
    const y = tf.tidy(() => tf.sum(tf.square(tf.tensor1d(big))));
    expect((await y.data())[0]).to.equal(20_000);
    y.dispose();
  });

  it('leaves buffers that can be given back to the GPU', () => {
    tf.dispose(tf.tidy(() => tf.square(tf.zeros([777, 3]))));
    freeUnusedBuffers(webgpu());
    const {numBytesAllocated, numBytesUsed} = webgpu().bufferManager;
    expect(numBytesAllocated).to.equal(numBytesUsed);
  });
});
