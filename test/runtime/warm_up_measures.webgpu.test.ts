/** warmUp() on a GPU that the cost model was not fitted to: it measures plans, within its budget, and says so. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import type {LayersModel} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {warmUp} from '../../src/index.js';
import {chooserOf, PlanChooser} from '../../src/tuning/choose.js';
import {NO_EPILOGUE} from '../../kernels/webgpu/wgsl/epilogue.js';
import {parsePattern} from '../../src/format/pattern.js';
import {disposeModel, predicted, relativeDifference} from '../support/models.js';
import {mulberry32, seed} from '../support/random.js';
import {randomValues} from '../support/reference.js';
import {forgetTuned, prunedModel} from '../tuning/support.js';

const webgpu = () => tf.backend() as WebGPUBackend;

describe('warmUp on a GPU that the cost model was not fitted to', function() {
  this.timeout(60_000);
  let model: LayersModel;
  const isFitted = Object.getOwnPropertyDescriptor(PlanChooser.prototype, 'isFitted')!;
  const setFitted = (fitted: boolean) =>
    Object.defineProperty(PlanChooser.prototype, 'isFitted', {configurable: true, get: () => fitted});

  beforeEach(async () => {
    forgetTuned();
    setFitted(false);
    model = await prunedModel();
  });

  afterEach(() => {
    Object.defineProperty(PlanChooser.prototype, 'isFitted', isFitted);
    disposeModel(model);
  });

  it('measures the plans of its products, the longest first, and predict runs them', async () => {
    const x = tf.tensor2d(randomValues(20 * 64, mulberry32(seed)), [20, 64]);
    const [before] = await predicted(model, x);
    const {tuned, skipped} = await warmUp(model, x, {cache: false, measureMs: 30_000});
    expect(skipped).to.deep.equal([]);
    expect(tuned.map(({rows, k, n, cached}) => [rows, k, n, cached])).to.have.deep.members(
      [[20, 64, 96, false], [20, 96, 40, false]]);
    for (const {rows, k, n, ms} of tuned) {
      const known = chooserOf(webgpu()).tunedPlan(
        {rows, shape: [k, n], pattern: parsePattern('4:8v8'), dtype: 'float32', epilogue: NO_EPILOGUE})!;
      expect(known.tuned.ms).to.equal(ms);
    }
    expect(tuned[0].predictedMs).to.be.at.least(tuned[1].predictedMs * 0.5);
    const [after] = await predicted(model, x);
    expect(relativeDifference(after, before)).to.be.below(1e-5);
    const again = await warmUp(model, x, {cache: false});
    expect(again.tuned.map(({cached, ms}) => [cached, ms])).to.have.deep.members(tuned.map(({ms}) => [true, ms]));
    x.dispose();
  });

  it('stops at its budget, and says what it did not reach', async () => {
    const {tuned, skipped} = await warmUp(model, undefined, {cache: false, measureMs: 1e-6});
    expect(tuned).to.deep.equal([]);
    expect(skipped.map(({k}) => k)).to.have.members([64, 96]);
    // A page's clock may stand still until the first product is reached.
    skipped.forEach(({reason}) => expect(reason).to.match(/ms for measuring were over|the deadline passed/));
  });

  it('measures nothing where it is told not to, nor on a GPU that the model was fitted to', async () => {
    const untold = await warmUp(model, undefined, {cache: false, measureMs: 0});
    expect([untold.tuned, untold.skipped]).to.deep.equal([[], []]);
    setFitted(true);
    const fitted = await warmUp(model, undefined, {cache: false});
    expect([fitted.tuned, fitted.skipped]).to.deep.equal([[], []]);
  });

  it('knows the GPU that the model was fitted to by its name', () => {
    Object.defineProperty(PlanChooser.prototype, 'isFitted', isFitted);
    const of = (vendor: string, architecture: string) =>
      new PlanChooser(webgpu().device.limits, {vendor, architecture, device: '', description: ''}).isFitted;
    expect(of('nvidia', 'hopper')).to.equal(true);
    expect(of('nvidia', 'ampere')).to.equal(false);
    expect(of('apple', 'metal-3')).to.equal(false);
  });
});
