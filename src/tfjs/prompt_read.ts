/**
 * Makes Chromium deliver results of the GPU as soon as they are there. Its GPU process looks whether the GPU is done
 * when commands arrive. If none do, it looks 2 to 3 ms after the last ones, however short the work was. So while a
 * read-back is pending, this file submits nothing, several times: twice at once, then every millisecond. It soon stops,
 * because after each submission the GPU process begins to count its 2 ms again; what takes longer is left to it.
 */
import {env} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {override} from './internals.js';

/** Delays between the empty submissions of a read-back, in ms. */
const DELAYS = [0, 0, 1, 1, 1];

interface Prompted {
  users: number;
  undo: () => void;
}

const prompted = new WeakMap<WebGPUBackend, Prompted>();

/**
 * Makes the read-backs of a backend prompt, in browsers. Values and errors stay the same.
 * @returns a function that ends this, once all callers have called theirs.
 */
export function makeReadsPrompt(webgpu: WebGPUBackend): () => void {
  if (!env().getBool('IS_BROWSER')) {
    return () => undefined;
  }
  const {users, undo} = prompted.get(webgpu) ?? {users: 0, undo: wrapRead(webgpu)};
  prompted.set(webgpu, {users: users + 1, undo});
  let isOver = false;
  return () => {
    const now = prompted.get(webgpu)!;
    if (!isOver && --now.users === 0) {
      now.undo();
      prompted.delete(webgpu);
    }
    isOver = true;
  };
}

function wrapRead(webgpu: WebGPUBackend): () => void {
  const {read} = webgpu;
  return override(webgpu, 'read', (dataId: object) => {
    const values = read.call(webgpu, dataId);
    void submitUntil(values, webgpu);
    return values;
  });
}

/** Submits nothing, several times, until the promise is settled. */
async function submitUntil(promise: Promise<unknown>, {queue}: WebGPUBackend): Promise<void> {
  let isPending = true;
  const end = () => {
    isPending = false;
  };
  promise.then(end, end);
  for (const delay of DELAYS) {
    await sleep(delay);
    if (!isPending) {
      return;
    }
    queue.submit([]);
  }
}

/** A timer. Browsers let timers that timers start wait for 4 ms at least, so a message comes between. */
function sleep(ms: number): Promise<void> {
  return new Promise(resolve => {
    const {port1, port2} = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      setTimeout(resolve, ms);
    };
    port2.postMessage(undefined);
  });
}
