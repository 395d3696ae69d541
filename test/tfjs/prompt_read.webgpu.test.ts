/** Read-backs that wake Chromium's GPU process: how often, and that nothing else changes. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {override} from '../../src/tfjs/internals.js';
import {makeReadsPrompt} from '../../src/tfjs/prompt_read.js';

const webgpu = () => tf.backend() as WebGPUBackend;
const isBrowser = () => tf.env().getBool('IS_BROWSER');

/** @returns the number of empty submissions while `run` runs, and shortly after. */
async function emptySubmissions(run: () => Promise<void>): Promise<number> {
  const {queue} = webgpu();
  const submit = queue.submit.bind(queue);
  let count = 0;
  const restore = override(queue, 'submit', (buffers: GPUCommandBuffer[]) => {
    count += buffers.length === 0 ? 1 : 0;
    submit(buffers);
  });
  await run();
  await new Promise(resolve => setTimeout(resolve, 20));
  restore();
  return count;
}

/** Reads a result that takes the GPU a while. */
async function readProduct(): Promise<void> {
  const y = tf.tidy(() => {
    let product: tf.Tensor = tf.mul(tf.eye(128), 2);
    for (let i = 0; i < 8; ++i) {
      product = tf.matMul(product, tf.eye(128));
    }
    return tf.sum(product);
  });
  expect([...await y.data()]).to.deep.equal([256]);
  y.dispose();
}

describe('prompt reads', () => {
  it('submit nothing up to five times per read, in browsers only', async () => {
    const end = makeReadsPrompt(webgpu());
    const count = await emptySubmissions(readProduct);
    end();
    if (isBrowser()) {
      expect(count).to.be.within(1, 5);
    } else {
      expect(count).to.equal(0);
    }
  });

  it('last until all that asked for them have ended them', async () => {
    const before = webgpu().read;
    const [first, second] = [makeReadsPrompt(webgpu()), makeReadsPrompt(webgpu())];
    first();
    first();
    expect(webgpu().read !== before).to.equal(isBrowser());
    second();
    expect(webgpu().read).to.equal(before);
    expect(await emptySubmissions(readProduct)).to.equal(0);
  });

  it('fail as others do', async () => {
    const end = makeReadsPrompt(webgpu());
    const restore = override(webgpu(), 'getBufferData', () => Promise.reject(new Error('no buffer')));
    const x = tf.tidy(() => tf.add(tf.ones([4]), 1));
    const failure = await x.data().then(() => undefined, (error: Error) => error);
    restore();
    end();
    expect(failure?.message).to.equal('no buffer');
    x.dispose();
  });
});
