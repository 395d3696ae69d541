/** tune() on a GPU: what it measures, what it leaves alone, and that what it chooses is right. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {input, layers, model as functionalModel, type LayersModel, type SymbolicTensor} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {NO_EPILOGUE} from '../../kernels/webgpu/wgsl/epilogue.js';
import {candidatePlans} from '../../kernels/webgpu/candidates.js';
import {type MatMulProblem, type Plan, planName} from '../../kernels/webgpu/plan.js';
import {layers as nmLayers, tune, type TunedProduct, type TuneProgress} from '../../src/index.js';
import {parsePattern} from '../../src/format/pattern.js';
import {chooserOf} from '../../src/tuning/choose.js';
import {GpuClock, type EncodePass} from '../../src/tuning/measure/clock.js';
import {fastestPlan} from '../../src/tuning/measure/compare_plans.js';
import {SampleProduct} from '../../src/tuning/measure/sample_product.js';
import {disposeModel, predicted, relativeDifference} from '../support/models.js';
import {kindOf, type PlanKind} from '../support/products.js';
import {mulberry32, seed} from '../support/random.js';
import {activeLimits, randomValues} from '../support/reference.js';
import {warningsOf} from './stored.js';
import {forgetTuned, prunedModel, rejection} from './support.js';

/** Each test measures for itself (forgetTuned) and stores nothing. */
const FRESH = {cache: false} as const;

const webgpu = () => tf.backend() as WebGPUBackend;

function problem(rows: number, k: number, n: number, pattern: string): MatMulProblem {
  return {rows, shape: [k, n], pattern: parsePattern(pattern), dtype: 'float32', epilogue: NO_EPILOGUE};
}

function expectMeasured(product: TunedProduct): void {
  const {ms, defaultMs, predictedMs, speedup, plan} = product;
  [ms, defaultMs, predictedMs].forEach(time => expect(time).to.be.above(0).and.below(10_000));
  expect(speedup).to.be.at.least(1).and.equal(defaultMs / ms);
  expect(plan).to.match(/^gem[mv], .*splits \d+$/);
}

describe('tune', function() {
  this.timeout(60_000);
  let model: LayersModel;
  let x: tf.Tensor;
  let before: Float32Array;

  beforeEach(async () => {
    forgetTuned();
    model = await prunedModel();
    x = tf.tensor2d(randomValues(20 * 64, mulberry32(seed)), [20, 64]);
    [before] = await predicted(model, x);
  });

  afterEach(() => {
    x.dispose();
    disposeModel(model);
  });

  it('finds a model’s products and their fastest plans, and predict is as right as before', async () => {
    const tensors = tf.memory().numTensors;
    const progress: TuneProgress[] = [];
    const report = await tune(model, {...FRESH, rows: [1, 20], onProgress: each => progress.push(each)});
    expect(tf.memory().numTensors).to.equal(tensors);
    expect(report.skipped).to.deep.equal([]);
    expect(report.tuned.map(({rows, k, n, pattern, dtype}) => ({rows, k, n, pattern, dtype}))).to.deep.equal([
      [1, 64, 96], [1, 96, 40], [20, 64, 96], [20, 96, 40],
    ].map(([rows, k, n]) => ({rows, k, n, pattern: '4:8v8', dtype: 'float32'})));
    report.tuned.forEach(expectMeasured);
    expect(report.tuned.every(({cached}) => !cached)).to.equal(true);
    expect(report.ms).to.be.above(0);
    expect(report).to.not.have.any.keys('storedIn', 'notStored');
    expect(progress.map(({done, total, plan, ms, problem: of}) => [done, total, plan, ms, of])).to.deep.equal(
      report.tuned.map((product, i) => [i + 1, 4, product.plan, product.ms, product]));
    const [after] = await predicted(model, x);
    expect(relativeDifference(after, before)).to.be.below(1e-5);
  });

  it('has its plans run from then on, and does not measure them again', async () => {
    const [first] = (await tune(model, {...FRESH, rows: 20})).tuned;
    const {plan, tuned} = chooserOf(webgpu()).tunedPlan(problem(20, 64, 96, '4:8v8'))!;
    expect(tuned).to.include({ms: first.ms, defaultMs: first.defaultMs});
    expect(chooserOf(webgpu()).choose(problem(20, 64, 96, '4:8v8'))).to.deep.equal(plan);
    const [again] = (await tune(model, {cache: false, rows: 20})).tuned;
    expect(again).to.deep.equal({...first, cached: true});
  });

  it('leaves the user’s backend alone: its buffers, programs and flags', async () => {
    await tune(model, {...FRESH, rows: 20}); // compiles what the model needs, whichever plans that takes
    await predicted(model, x);
    const state = () => {
      const {bufferManager, pipelineCache} = webgpu() as unknown as
        {bufferManager: {numBytesAllocated: number}; pipelineCache: object};
      return {
        bytes: bufferManager.numBytesAllocated, programs: Object.keys(pipelineCache).length,
        dataIds: tf.engine().backend.numDataIds(), flags: JSON.stringify(tf.env().getFlags()),
      };
    };
    const earlier = state();
    await tune([{rows: 24, k: 72, n: 36, pattern: '1:3v4', activation: 'prelu', bias: true, dtype: 'float16'}], FRESH);
    expect(state()).to.deep.equal(earlier);
    expect(tf.env().getNumber('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE')).to.equal(15); // tfjs's own
  });

  /** The buffers of the device that are made while `run` runs and not destroyed; making number `failing` throws. */
  async function buffersLeftBy(run: () => Promise<void>, failing = Infinity): Promise<number> {
    const {device} = webgpu();
    const alive = new Set<GPUBuffer>();
    let made = 0;
    const createBuffer = device.createBuffer.bind(device);
    Object.defineProperty(device, 'createBuffer', {configurable: true, value: (descriptor: GPUBufferDescriptor) => {
      if (++made === failing) {
        throw new RangeError('out of memory');
      }
      const buffer = createBuffer(descriptor);
      const destroy = buffer.destroy.bind(buffer);
      alive.add(buffer);
      Object.defineProperty(buffer, 'destroy', {value: () => {
        alive.delete(buffer);
        return destroy();
      }});
      return buffer;
    }});
    try {
      await run();
    } finally {
      delete (device as Partial<GPUDevice>).createBuffer;
    }
    return alive.size;
  }

  it('gives all GPU memory back', async () => {
    expect(await buffersLeftBy(async () => {
      const shape = {k: 48, n: 20, pattern: '2:4v4', bias: true};
      const {tuned} = await tune([{...shape, rows: 1}, {...shape, rows: 18, dtype: 'float16'}], FRESH);
      expect(tuned).to.have.length(2);
    })).to.equal(0);
  });

  it('gives all GPU memory back where an upload fails for want of memory, and says so', async () => {
    await tune([{rows: 1, k: 8, n: 8, pattern: '2:4'}], FRESH); // measures the device's profile, if none did before
    for (const failing of [2, 6]) {
      forgetTuned();
      expect(await buffersLeftBy(async () => {
        const {tuned, skipped} = await tune(
          [{rows: 3, k: 48, n: 20, pattern: '2:4v4'}, {rows: 2, k: 16, n: 8, pattern: '2:4'}], FRESH);
        expect(skipped.map(({k, reason}) => [k, reason])).to.deep.equal([[48, 'out of memory']]);
        expect(tuned.map(({k}) => k)).to.deep.equal([16]);
      }, failing)).to.equal(0);
    }
  });

  it('does not disturb what runs meanwhile', async () => {
    const tuning = tune([{rows: 20, k: 128, n: 64, pattern: '2:4v4'}], FRESH);
    let running = true;
    void tuning.finally(() => running = false);
    let runs = 0;
    for (; running; ++runs) {
      const [now] = await predicted(model, x);
      expect(relativeDifference(now, before)).to.be.below(1e-5);
      await new Promise(resolve => setTimeout(resolve, 20));
    }
    expect(runs).to.be.above(1);
    expectMeasured((await tuning).tuned[0]);
  });

  it('takes calls at once one after the other', async () => {
    const order: string[] = [];
    const shapes = (n: number) => [8, 12].map(rows => ({rows, k: 32, n, pattern: '2:4'}));
    const report = await Promise.all([16, 20].map(n => tune(shapes(n), {
      ...FRESH, onProgress: ({problem: of}) => order.push(`${of.n} ${of.rows}`),
    })));
    expect(order).to.deep.equal(['16 8', '16 12', '20 8', '20 12']);
    report.forEach(({tuned}) => expect(tuned).to.have.length(2));
  });

  it('stops when the time is over, and says what it did not reach', async () => {
    let clock = 0;
    Object.defineProperty(performance, 'now', {configurable: true, value: () => ++clock}); // each look takes 1 ms
    const {tuned, skipped} = await tune(
      [45, 46, 47].map(rows => ({rows, k: 32, n: 8, pattern: '2:4'})), {...FRESH, maxMs: 1e-3})
      .finally(() => Reflect.deleteProperty(performance, 'now'));
    expect(tuned).to.deep.equal([]);
    expect(skipped.map(({rows}) => rows)).to.deep.equal([45, 46, 47]);
    expect(skipped[0].reason).to.equal('the 0.001 ms for measuring were over before it was reached');
  });

  it('keeps what it has when the time is over, or its listener throws', async () => {
    const shapes = [9, 10].map(rows => ({rows, k: 32, n: 24, pattern: '2:4'}));
    expect(await rejection(tune(shapes, {...FRESH, onProgress: () => {
      throw new Error('stop');
    }}))).to.equal('stop');
    const {tuned} = await tune(shapes, FRESH);
    expect(tuned.map(({cached}) => cached)).to.deep.equal([true, false]);
  });

  it('counts a product once, whatever comes after it and however many layers have it', async () => {
    const shape = {rows: 3, k: 32, n: 24, pattern: '2:4v2'};
    const {tuned} = await tune(
      [shape, {...shape, bias: true}, {...shape, activation: 'relu'}, {...shape, rows: 4}], FRESH);
    expect(tuned.map(({rows}) => rows)).to.deep.equal([3, 4]);
  });

  it('skips a product that does not fit on the device, says why, and goes on', async () => {
    const rows = Math.ceil(webgpu().device.limits.maxStorageBufferBindingSize / 4 / 4096) + 1;
    const {tuned, skipped} = await tune(
      [{rows, k: 4096, n: 4, pattern: '2:4'}, {rows: 2, k: 16, n: 8, pattern: '2:4'}], FRESH);
    expect(skipped.map(({k, reason}) => [k, reason])).to.deep.equal([[4096,
      `one of its tensors takes ${rows * 4 * 4096} bytes; this device has room for ${(rows - 1) * 4 * 4096} in one`]]);
    expect(tuned.map(({k}) => k)).to.deep.equal([16]);
  });

  it('sees the products of layers over sequences, and of models with several inputs', async () => {
    const [words, extra] = [input({shape: [5, 12]}), input({shape: [8]})];
    const over = nmLayers.nmDense({units: 8, pattern: '2:4'}).apply(words) as SymbolicTensor;
    const beside = nmLayers.nmDense({units: 6, pattern: '2:4'}).apply(extra) as SymbolicTensor;
    const joined = functionalModel({inputs: [words, extra], outputs: [over, beside]});
    const {tuned} = await tune(joined, {...FRESH, rows: 3});
    expect(tuned.map(({rows, k, n}) => [rows, k, n])).to.deep.equal([[15, 12, 8], [3, 8, 6]]);
    disposeModel(joined);
  });

  it('predicts what it is given, and asks for it where the model does not say', async () => {
    const asked: unknown[] = [];
    const like = {predict: (given: tf.Tensor) => {
      asked.push(given);
      return model.predict(given);
    }};
    expect(await rejection(tune(like, FRESH))).to.equal(
      'tune: the model does not say what inputs it takes; give inputs.');
    const open = {...like, inputs: [{name: 'x', shape: [null, null, 64], dtype: 'float32' as const}]};
    expect(await rejection(tune(open, FRESH))).to.equal(
      "tune: the model's input 'x' has shape [null,null,64] and dtype float32; give inputs.");
    expect(asked).to.deep.equal([]);
    const {tuned} = await tune(like, {...FRESH, inputs: x});
    expect(asked).to.deep.equal([x]);
    expect(tuned.map(({rows}) => rows)).to.deep.equal([20, 20]);
  });

  it('refuses a model without N:M matrices', async () => {
    const x = input({shape: [4]});
    const dense = functionalModel({inputs: x, outputs: layers.dense({units: 2}).apply(x) as SymbolicTensor});
    expect(await rejection(tune(dense, FRESH))).to.match(/multiplies by no N:M matrix.*pruneLayersModel/);
    disposeModel(dense);
  });
});

describe('the head-to-head measurement of plans', function() {
  this.timeout(60_000);
  const of = problem(40, 512, 64, '8:32v32');
  /** The first plan on offer of that kind that takes one pass. */
  const offered = (kind: PlanKind, product = of) => candidatePlans(product, activeLimits())
    .find(plan => kindOf(plan) === kind && plan.splits === 1)!;
  const right = () => offered('packed') as Extract<Plan, {kind: 'gemm'}>;
  const soon = () => performance.now() + 30_000;

  it('rejects a plan whose output differs, even if it is faster', async () => {
    const single = problem(1, 2048, 64, '8:32v32');
    const whole = offered('gemv', single) as Extract<Plan, {kind: 'gemv'}>;
    // Takes other rows of x: windows half as long.
    const sloppy: Plan = {...whole, config: {...whole.config, pattern: parsePattern('8:16v32')}};
    const warnings = await warningsOf(async () => {
      const {plan, ms, defaultMs} = await fastestPlan(webgpu(), single, [whole, sloppy], soon());
      expect(planName(plan)).to.equal(planName(whole));
      expect(ms).to.equal(defaultMs);
    });
    expect(warnings).to.have.length(1);
    expect(warnings[0]).to.include(planName(sloppy)).and.include('its output differs by');
  });

  it('has no place for a plan that this GPU cannot run', async () => {
    const most = webgpu().device.limits.maxComputeWorkgroupStorageSize;
    const {config} = right();
    const giant: Plan = {...right(), config: {...config, block: Math.ceil(most / 4 / config.tileCols) * config.block}};
    const warnings = await warningsOf(async () => {
      const {plan} = await fastestPlan(webgpu(), of, [right(), giant], soon());
      expect(planName(plan)).to.equal(planName(right()));
    });
    expect(warnings).to.have.length(1);
    expect(warnings[0]).to.include('does not compile');
  });

  /** Compares plans that take these ms in each round, by the clock. */
  async function raced(plans: Plan[], msOf: (plan: Plan, round: number) => number) {
    const {encoder} = SampleProduct.prototype;
    const {time} = GpuClock.prototype;
    const rounds = new Map<Plan, number>();
    const encoded = new Map<EncodePass, number>();
    SampleProduct.prototype.encoder = function(plan) {
      const pass: EncodePass = () => {
        throw new Error('only the clock runs a pass');
      };
      const round = rounds.get(plan) ?? 0;
      rounds.set(plan, round + 1);
      encoded.set(pass, 10 * msOf(plan, round)); // 10 runs
      return () => pass;
    };
    GpuClock.prototype.time = (_, pass) => Promise.resolve(encoded.get(pass)!);
    try {
      return await fastestPlan(webgpu(), of, plans, soon());
    } finally {
      SampleProduct.prototype.encoder = encoder;
      GpuClock.prototype.time = time;
    }
  }

  it('is won by the faster plan', async () => {
    const [first, other] = [right(), offered('window')];
    const {plan, ms, defaultMs} = await raced([first, other], plan => plan === first ? 4 : 3);
    expect([planName(plan), ms / defaultMs]).to.deep.equal([planName(other), 0.75]);
  });

  it('keeps the first plan where another is hardly faster, or in one round only', async () => {
    const [first, other] = [right(), offered('window')];
    for (const msOf of [
      (plan: Plan) => plan === first ? 4 : 3.95,
      (plan: Plan, round: number) => plan === first || round !== 2 ? 4 : 1,
      (plan: Plan) => plan === first ? 4 : 40,
    ]) {
      const {plan, ms, defaultMs} = await raced([first, other], msOf);
      expect([planName(plan), ms]).to.deep.equal([planName(first), defaultMs]);
    }
  });

  it('fails if every time is below the resolution of the clock', async () => {
    const {time} = GpuClock.prototype;
    GpuClock.prototype.time = () => Promise.resolve(0);
    try {
      const small = problem(1, 32, 8, '2:4');
      expect(await rejection(fastestPlan(webgpu(), small, [offered('gemv', small)], soon())))
        .to.equal('it takes less time than the clock of this device can measure');
    } finally {
      GpuClock.prototype.time = time;
    }
  });

  it('does not start when the time is over', async () => {
    expect(await rejection(fastestPlan(webgpu(), of, [right()], performance.now() - 1)))
      .to.equal('the deadline passed before the first measurement');
  });
});
