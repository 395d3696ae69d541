/**
 * The programs of a lesser device than the one at hand, and dispatches folded because a dimension is too short: the
 * kernels see limits that are not the device's own. Both happen to users and would otherwise not happen in tests, for
 * software GPUs are generous and 65,535 workgroups take long on them.
 */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {candidatePlans, type Plan, type ProgramLimits} from '../../kernels/webgpu/select.js';
import {nmSparseMatMul} from '../../src/index.js';
import {planName} from '../../src/tuning/tuned_plans.js';
import {
  byPlan, checkProduct, kindOf, plainProduct, problemOf, type Limits, type Product,
} from '../support/products.js';
import {mulberry32, seed} from '../support/random.js';
import {activeLimits, DEFAULT_LIMITS, drawMatrix, pick, toSparseMatrix, type Random} from '../support/reference.js';

function check(of: Product, plan: Plan, limits: Limits): Promise<void> {
  return checkProduct(of, {random: mulberry32(seed), plan, limits});
}

describe('a device whose dispatches have room for three workgroups a dimension', () => {
  const CASES: Array<[string, Product, (plan: Plan) => boolean]> = [
    ['tiles', plainProduct({rows: 70, shape: [100, 130], pattern: '2:4v4'}),
      plan => kindOf(plan) === 'packed' && plan.splits === 1],
    ['tiles with k split', plainProduct({rows: 40, shape: [900, 70], pattern: '2:4v4'}),
      plan => kindOf(plan) === 'window' && plan.splits > 1],
    ['an expanded W', plainProduct({rows: 70, shape: [100, 130], pattern: '2:4'}),
      plan => kindOf(plan) === 'expand' && plan.splits === 1],
    ['the GEMV', plainProduct({rows: 2, shape: [60, 301], pattern: '2:4v4'}),
      plan => kindOf(plan) === 'gemv' && plan.splits === 1],
    ['the GEMV with k split', plainProduct({rows: 1, shape: [1100, 140], pattern: '2:4v4'}),
      plan => kindOf(plan) === 'gemv' && plan.splits > 1],
    ['the GEMV of several rows', plainProduct({rows: 37, shape: [300, 140], pattern: '2:4'}),
      plan => kindOf(plan) === 'gemv'],
  ];
  for (const [what, of, wanted] of CASES) {
    it(`gets every output from ${what}`, () => {
      const plans = candidatePlans(problemOf(of), DEFAULT_LIMITS).filter(wanted);
      return check(of, pick(mulberry32(seed), plans), {maxComputeWorkgroupsPerDimension: 3});
    });
  }
});

describe('a device with 16 KB of workgroup memory', () => {
  const CASES: Array<[string, Product]> = [
    ['60:128v8', plainProduct({rows: 20, shape: [200, 36], pattern: '60:128v8'})],
    ['8:32v64', plainProduct({rows: 150, shape: [64, 140], pattern: '8:32v64'})],
    ['1:2', plainProduct({rows: 1024, shape: [64, 1024], pattern: '1:2'})],
  ];
  const names = (limits: ProgramLimits, of: Product) => candidatePlans(problemOf(of), limits).map(planName);

  for (const [pattern, of] of CASES) {
    it(`gets tiles that fit, for ${pattern}, and right results from them`, () => {
      const tiles = candidatePlans(problemOf(of), DEFAULT_LIMITS).filter(({kind}) => kind === 'gemm');
      return check(of, pick(mulberry32(seed), tiles), DEFAULT_LIMITS as unknown as Limits);
    });
  }

  it('has fewer plans to choose from than one with more', () => {
    const more = {...DEFAULT_LIMITS, maxComputeWorkgroupStorageSize: 32768};
    for (const [pattern, of] of CASES.slice(0, 2)) {
      expect(names(more, of), pattern).to.include.members(names(DEFAULT_LIMITS, of));
      expect(names(more, of).length, pattern).to.be.above(names(DEFAULT_LIMITS, of).length);
    }
    expect(activeLimits().maxComputeWorkgroupStorageSize)
      .to.be.at.least(DEFAULT_LIMITS.maxComputeWorkgroupStorageSize);
  });
});

describe('a device that binds small buffers only', () => {
  const of = plainProduct({rows: 20, shape: [400, 300], pattern: '2:4v4', activation: 'relu', hasBias: true});
  const binding = (bytes: number) => ({...DEFAULT_LIMITS, maxStorageBufferBindingSize: bytes});
  // Of x transposed, whose 20 rows any tile rounds up to 32; of W dense; of the sums of two splits.
  const [x, expanded, partial] = [4 * 32 * 400, 4 * 400 * 300, 4 * 2 * 20 * 300];
  const plansFor = (bytes: number) => candidatePlans(problemOf(of), binding(bytes));
  const multiply = (random: Random) => {
    const matrix = toSparseMatrix(drawMatrix(of.shape, of.pattern, of.dtype, random));
    const inputs = [tf.zeros([of.rows, 400]), tf.zeros([300])] as const;
    try {
      return nmSparseMatMul(inputs[0], matrix, {activation: of.activation, bias: inputs[1] as tf.Tensor1D});
    } finally {
      tf.dispose(inputs as unknown as tf.Tensor[]);
      matrix.dispose();
    }
  };

  it('does without an expanded W, and without partial sums, that it could not bind', () => {
    const kinds = (bytes: number) => new Set(plansFor(bytes).map(kindOf));
    expect([...kinds(expanded)]).to.have.members(['packed', 'window', 'expand', 'gemv']);
    expect([...kinds(expanded - 1)]).to.have.members(['packed', 'window', 'gemv']);
    expect(plansFor(x).map(({splits}) => splits)).to.include.members([1, 2]);
    expect(partial).to.be.below(x);
    for (const {splits} of plansFor(x)) {
      expect(splits * 20 * 300 * 4).to.be.at.most(splits > 1 ? x : Infinity);
    }
    for (const bytes of [expanded, expanded - 1, x]) {
      expect(plansFor(bytes).length).to.be.above(1);
    }
  });

  it('gets right results from what is left', () =>
    check(of, pick(mulberry32(seed), plansFor(x)), {maxStorageBufferBindingSize: x}));

  it('has a product refused that needs a larger buffer, with its size, before any work is done', () => {
    const random = mulberry32(seed);
    for (const kind of ['packed', 'expand', 'gemv']) {
      const plan = plansFor(2 ** 27).find(each => kindOf(each) === kind && each.splits === 1)!;
      const bytes = kind === 'expand' ? expanded : x;
      const before = tf.memory().numTensors;
      expect(() => byPlan(plan, () => multiply(random), {maxStorageBufferBindingSize: bytes - 4})).to.throw(
        `nmSparseMatMul: x [20,400] times W [400,300] needs a buffer of ${bytes} bytes; ` +
        `this device binds ${bytes - 4} at most. Multiply fewer rows at a time.`);
      expect(tf.memory().numTensors).to.equal(before);
    }
    const split = plansFor(2 ** 27).find(({kind, splits}) => kind === 'gemm' && splits >= 4)!;
    const least = 4 * Math.max(split.splits * 20 * 300, 400 * 32);
    expect(() => byPlan(split, () => multiply(random), {maxStorageBufferBindingSize: least - 4}))
      .to.throw(`a buffer of ${least} bytes`);
  });

  it('is offered a plan all the same, which the kernel then refuses', () => {
    const [plan, ...others] = plansFor(1000);
    expect(others).to.deep.equal([]);
    expect(() => byPlan(plan, () => multiply(mulberry32(seed)), {maxStorageBufferBindingSize: 1000}))
      .to.throw(/needs a buffer of \d+ bytes; this device binds 1000 at most/);
  });
});
