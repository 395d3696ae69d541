/** Two visits of a page: what the first one tuned lies in IndexedDB, and the second one finds it there. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {createStore, del} from 'idb-keyval';
import {expect} from 'chai';
import {NO_EPILOGUE} from '../../kernels/webgpu/wgsl/epilogue.js';
import {tune} from '../../src/index.js';
import {parsePattern} from '../../src/format/pattern.js';
import {chooserOf, PlanChooser} from '../../src/tuning/choose.js';
import {loadTuned} from '../../src/tuning/plan_cache.js';
import {adapterNames} from '../../src/tuning/device_profile.js';
import {forgetTuned} from './support.js';

describe('what a page tunes', function() {
  this.timeout(60_000);
  after(() => del('tuned-plans', createStore('tfjs-nm-sparse', 'keyval')));

  it('the next visit finds in IndexedDB', async () => {
    forgetTuned();
    const backend = tf.backend() as WebGPUBackend;
    const shape = {rows: 31, k: 32, n: 16, pattern: '2:4v4'};
    const {storedIn, tuned} = await tune([shape]);
    expect(storedIn).to.equal('IndexedDB tfjs-nm-sparse');
    const visit = new PlanChooser(backend.device.limits, adapterNames(backend));
    const problem = {
      rows: 31, shape: [32, 16] as [number, number], pattern: parsePattern('2:4v4'), dtype: 'float32' as const,
      epilogue: NO_EPILOGUE,
    };
    expect(visit.tunedPlan(problem)).to.equal(undefined);
    await loadTuned(visit);
    expect(visit.tunedPlan(problem)?.tuned.ms).to.equal(tuned[0].ms);
    expect(visit.choose(problem)).to.deep.equal(chooserOf(backend).choose(problem));
    expect(visit.profile).to.deep.equal(chooserOf(backend).profile);
  });
});
