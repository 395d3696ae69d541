/** Two visits: what the first one tuned, the second one runs. The second has a device and a chooser of its own. */
import {mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import * as tf from '@tensorflow/tfjs-core';
import {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {NO_EPILOGUE} from '../../kernels/webgpu/wgsl/epilogue.js';
import {type MatMulProblem, planName} from '../../kernels/webgpu/plan.js';
import {tune, warmUp} from '../../src/index.js';
import {parsePattern} from '../../src/format/pattern.js';
import {chooserOf} from '../../src/tuning/choose.js';
import {loadTuned, productKey, storeTuned} from '../../src/tuning/plan_cache.js';
import {watchDevice} from '../support/backend.js';
import {disposeModel, predicted, relativeDifference} from '../support/models.js';
import {mulberry32, seed} from '../support/random.js';
import {randomValues} from '../support/reference.js';
import {cacheFolder, warningsOf} from './stored.js';
import {forgetTuned, prunedModel} from './support.js';

const webgpu = () => tf.backend() as WebGPUBackend;

function products(rows: number): MatMulProblem[] {
  return [[64, 96], [96, 40]].map(([k, n]) =>
    ({rows, shape: [k, n], pattern: parsePattern('4:8v8'), dtype: 'float32', epilogue: NO_EPILOGUE}));
}

/** A backend as another visit has it, of the same GPU. */
async function anotherVisit(): Promise<WebGPUBackend> {
  const adapter = (await navigator.gpu.requestAdapter())!;
  const {maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup} = webgpu().device.limits;
  const device = await adapter.requestDevice(
    {requiredLimits: {maxComputeWorkgroupStorageSize, maxComputeInvocationsPerWorkgroup}});
  watchDevice(device);
  return new WebGPUBackend(device, adapter.info);
}

describe('what one visit tunes', function() {
  this.timeout(60_000);
  let folder: string;
  let file: string;
  let restore: () => void;

  beforeEach(() => {
    forgetTuned();
    // What is stored is read once for each device.
    chooserOf(webgpu()).loading = undefined;
    folder = mkdtempSync(join(tmpdir(), 'nm-sparse-visits-'));
    restore = cacheFolder(folder);
    file = join(folder, 'tfjs-nm-sparse', 'tuned-plans.json');
  });

  afterEach(() => {
    restore();
    rmSync(folder, {recursive: true, force: true});
  });

  it('is loaded by the next visit: same plans, same profile, nothing measured', async () => {
    const model = await prunedModel();
    const report = await tune(model, {rows: 26});
    expect(report.storedIn).to.equal(file);
    expect(report.tuned).to.have.length(2);
    const visit = await anotherVisit();
    const chooser = chooserOf(visit);
    await loadTuned(chooser);
    expect(chooser.isMeasured).to.equal(true);
    expect(chooser.profile).to.deep.equal(chooserOf(webgpu()).profile);
    for (const [i, product] of products(26).entries()) {
      expect(chooser.tunedPlan(product)?.tuned.ms).to.equal(report.tuned[i].ms);
      expect(chooser.choose(product)).to.deep.equal(chooserOf(webgpu()).choose(product));
    }
    const again = await tune(model, {rows: 26});
    expect(again.tuned.map(({cached, ms}) => [cached, ms])).to.deep.equal(report.tuned.map(({ms}) => [true, ms]));
    expect(again).to.not.have.any.keys('storedIn', 'notStored');
    visit.device.destroy();
    disposeModel(model);
  });

  it('predict runs once warmUp has read it, and is as right as before', async () => {
    const model = await prunedModel();
    const x = tf.tensor2d(randomValues(27 * 64, mulberry32(seed)), [27, 64]);
    const [before] = await predicted(model, x);
    const chooser = chooserOf(webgpu());
    // As if another plan than the predicted one had been measured to be best.
    const last = products(27).map(product => chooser.ranked(product).at(-1)!.plan);
    await storeTuned(chooser.adapter, {plans: Object.fromEntries(products(27).map((product, i) =>
      [productKey(product), [{rows: 27, plan: planName(last[i]), ms: 1, defaultMs: 2}]]))});
    await warmUp(model, x, {measureMs: 0});
    products(27).forEach((product, i) => expect(chooser.choose(product)).to.deep.equal(last[i]));
    const [after] = await predicted(model, x);
    expect(relativeDifference(after, before)).to.be.below(1e-5);
    x.dispose();
    disposeModel(model);
  });

  it('is passed over where it names programs that do not exist, and predict is right all the same', async () => {
    const model = await prunedModel();
    const x = tf.tensor2d(randomValues(28 * 64, mulberry32(seed)), [28, 64]);
    const [before] = await predicted(model, x);
    const chooser = chooserOf(webgpu());
    const predictedPlans = products(28).map(product => chooser.choose(product));
    await storeTuned(chooser.adapter, {plans: Object.fromEntries(products(28).map((product, i) => [
      productKey(product), [{rows: 28, plan: planName({...predictedPlans[i], splits: 77}), ms: 1, defaultMs: 2}],
    ]))});
    await warmUp(model, x, {measureMs: 0});
    products(28).forEach((product, i) => expect(chooser.choose(product)).to.deep.equal(predictedPlans[i]));
    const [after] = await predicted(model, x);
    expect(relativeDifference(after, before)).to.be.below(1e-5);
    x.dispose();
    disposeModel(model);
  });

  it('survives a damaged file: a warning, and the file is written anew', async () => {
    mkdirSync(dirname(file));
    writeFileSync(file, '{"version": 1, "adapters": {');
    const shapes = [{rows: 29, k: 16, n: 8, pattern: '2:4'}];
    const warnings = await warningsOf(async () => {
      const {storedIn, tuned} = await tune(shapes);
      expect([storedIn, tuned.length]).to.deep.equal([file, 1]);
    });
    expect(warnings).to.have.length(1);
    expect(warnings[0]).to.include(file);
    const {adapters} = JSON.parse(readFileSync(file, 'utf8')) as {adapters: Record<string, {plans: object}>};
    expect(Object.keys(adapters[chooserOf(webgpu()).adapter].plans)).to.deep.equal(['n 8 k 16 2:4 float32']);
  });

  it('is kept for the visit, and the report says why not longer, where it cannot be stored', async () => {
    const shapes = [{rows: 30, k: 16, n: 8, pattern: '2:4'}];
    mkdirSync(file, {recursive: true}); // a folder is in the way
    const {tuned, storedIn, notStored} = await tune(shapes);
    expect([tuned.length, storedIn]).to.deep.equal([1, undefined]);
    expect(notStored).to.include('EISDIR');
    expect((await tune(shapes, {cache: false})).tuned[0].cached).to.equal(true);
  });
});
