/**
 * The programs of a lesser device than the one at hand, and dispatches folded because a dimension is too short: the
 * kernels see limits that are not the device's own. Both happen to users and would otherwise not happen in tests, for
 * software GPUs are generous and 65,535 workgroups take long on them.
 */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {candidatePlans, type ProgramLimits} from '../../kernels/webgpu/candidates.js';
import {type Plan, planName, transposedX} from '../../kernels/webgpu/plan.js';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {decompress, NMSparseMatrix, nmSparseMatMul} from '../../src/index.js';
import {allowLeak} from '../support/backend.js';
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
  const of = plainProduct({rows: 20, shape: [400, 40], pattern: '2:4v4', activation: 'relu', hasBias: true});
  const binding = (bytes: number) => ({...DEFAULT_LIMITS, maxStorageBufferBindingSize: bytes});
  // Of x transposed, whose 20 rows any tile rounds up to 32; of W dense; of the sums of two splits.
  const [x, expanded, partial] = [4 * 32 * 400, 4 * 400 * 40, 4 * 2 * 20 * 40];
  const plansFor = (bytes: number) => candidatePlans(problemOf(of), binding(bytes));
  const multiply = (random: Random, rows = of.rows, n = of.shape[1]) => {
    const matrix = toSparseMatrix(drawMatrix([400, n], of.pattern, of.dtype, random));
    const inputs = [tf.zeros([rows, 400]), tf.zeros([n])] as const;
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
      expect(splits * 20 * 40 * 4).to.be.at.most(splits > 1 ? x : Infinity);
    }
    for (const bytes of [expanded, expanded - 1, x]) {
      expect(plansFor(bytes).length).to.be.above(1);
    }
  });

  it('gets right results from what is left', () =>
    check(of, pick(mulberry32(seed), plansFor(x)), {maxStorageBufferBindingSize: x}));

  it('has a plan refused that needs a larger temporary buffer, before any work is done', () => {
    const random = mulberry32(seed);
    const cases = [
      ['gemv', 'x transposed has shape [400,32]', x],
      ['expand', 'the dense W has shape [400,40]', expanded],
    ] as const;
    for (const [kind, what, bytes] of cases) {
      const plan = plansFor(2 ** 27).find(each => kindOf(each) === kind && each.splits === 1 &&
        (kind === 'expand' || transposedX(each, 20).kMajor))!;
      const before = tf.memory().numTensors;
      expect(() => byPlan(plan, () => multiply(random), {maxStorageBufferBindingSize: bytes - 4})).to.throw(
        `nmSparseMatMul: ${what}, ${bytes} bytes; this WebGPU device takes at most ${bytes - 4} bytes in one tensor`);
      expect(tf.memory().numTensors).to.equal(before);
    }
    const many = {...of, rows: 60, shape: [400, 300] as [number, number]};
    const split = candidatePlans(problemOf(many), DEFAULT_LIMITS)
      .find(({kind, splits}) => kind === 'gemm' && splits >= 4)!;
    const sums = 4 * split.splits * 60 * 300;
    expect(() => byPlan(split, () => multiply(random, 60, 300), {maxBufferSize: sums - 4}))
      .to.throw(`partial sums of y has shape [${split.splits},60,300], ${sums} bytes`);
  });
});

describe('a tensor that is too large for the device', () => {
  const of = plainProduct({rows: 20, shape: [400, 300], pattern: '2:4v4', hasBias: true});
  /** The plan without temporary buffers: two rows of x at a time, in place. */
  const plan = candidatePlans(problemOf({...of, rows: 1}), DEFAULT_LIMITS).find(({splits}) => splits === 1)!;
  let matrix: NMSparseMatrix;
  let inputs: tf.Tensor[];

  beforeEach(() => {
    matrix = toSparseMatrix(drawMatrix(of.shape, of.pattern, of.dtype, mulberry32(seed)));
    inputs = [tf.zeros([20, 400]), tf.zeros([300])];
  });

  afterEach(() => {
    tf.dispose(inputs);
    matrix.dispose();
  });

  /** Has the backend's device seem to have these limits while `run` runs. */
  function limited(limits: Limits, run: () => void): void {
    const {device} = tf.backend() as WebGPUBackend;
    const own = device.limits;
    const before = Object.getOwnPropertyDescriptor(device, 'limits'); // Chromium has it in the prototype, Dawn here
    Object.defineProperty(device, 'limits', {configurable: true, value: new Proxy(own, {
      get: (_, name) => limits[name as keyof Limits] ?? own[name as keyof Limits],
    })});
    try {
      run();
    } finally {
      if (before) {
        Object.defineProperty(device, 'limits', before);
      } else {
        Reflect.deleteProperty(device, 'limits');
      }
    }
  }

  const CASES: Array<[string, number, RegExp]> = [
    ['x', 4 * 20 * 400, /nmSparseMatMul: x has shape \[20,400\].*multiply fewer rows at a time/],
    ['W', 4 * 200 * 300, /nmSparseMatMul: values has shape \[200,300\].*: use a device with a larger/],
  ];
  for (const [what, bytes, message] of CASES) {
    for (const limit of ['maxStorageBufferBindingSize', 'maxBufferSize']) {
      it(`is refused by name where it is ${what} and exceeds ${limit}`, () => {
        const multiply = () => nmSparseMatMul(inputs[0], matrix, {bias: inputs[1] as tf.Tensor1D});
        const tensors = tf.memory().numTensors;
        expect(() => byPlan(plan, multiply, {[limit]: bytes - 4})).to.throw(message);
        expect(tf.memory().numTensors).to.equal(tensors);
      });
    }
  }

  it('is refused by name where it is y', () => {
    const wide = toSparseMatrix(drawMatrix([8, 1200], '2:4v4', 'float32', mulberry32(seed)));
    const x = tf.zeros([20, 8]);
    limited({maxStorageBufferBindingSize: 4 * 20 * 1200 - 4}, () => expect(() => nmSparseMatMul(x, wide)).to.throw(
      'nmSparseMatMul: y has shape [20,1200], 96000 bytes; this WebGPU device takes at most 95996 bytes in one tensor' +
      ': multiply fewer rows at a time, or use a device with a larger maxStorageBufferBindingSize and maxBufferSize.'));
    x.dispose();
    wide.dispose();
  });

  it('is refused by decompress', () => {
    limited({maxStorageBufferBindingSize: 4 * 400 * 300 - 4}, () => expect(() => decompress(matrix)).to.throw(
      'decompress: the dense W has shape [400,300], 480000 bytes; this WebGPU device takes at most 479996 bytes'));
  });

  it('is refused where a gradient needs it', () => {
    allowLeak('tfjs keeps the tape of a gradient that throws');
    const {indices, pattern, shape} = matrix;
    const ofValues = (values: tf.Tensor) =>
      nmSparseMatMul(inputs[0], new NMSparseMatrix({values: values as tf.Tensor2D, indices, pattern, shape}));
    limited({maxStorageBufferBindingSize: 4 * 400 * 300 - 4}, () => {
      expect(() => tf.tidy(() => tf.grad(x => nmSparseMatMul(x, matrix))(inputs[0])))
        .to.throw('decompress: the dense W has shape [400,300]');
      expect(() => tf.tidy(() => tf.grad(ofValues)(matrix.values)))
        .to.throw('nmGatherKept: dense has shape [400,300]');
    });
  });
});

describe('a product for which the device runs out of memory', () => {
  it('releases what its first programs wrote', () => {
    const of = plainProduct({rows: 60, shape: [400, 300], pattern: '2:4v4'});
    const plan = candidatePlans(problemOf(of), DEFAULT_LIMITS).find(({kind, splits}) => kind === 'gemm' && splits > 1)!;
    const matrix = toSparseMatrix(drawMatrix(of.shape, of.pattern, of.dtype, mulberry32(seed)));
    const x = tf.zeros([60, 400]);
    const backend = tf.backend() as WebGPUBackend;
    const {runWebGPUProgram} = backend;
    const before = backend.numDataIds();
    for (const failing of [1, 2, 3]) { // the transpose, the product, the sum of its splits
      let programs = 0;
      backend.runWebGPUProgram = (...args) => {
        if (++programs === failing) {
          throw new RangeError('out of memory');
        }
        return runWebGPUProgram.apply(backend, args);
      };
      try {
        expect(() => byPlan(plan, () => nmSparseMatMul(x, matrix))).to.throw('out of memory');
      } finally {
        Reflect.deleteProperty(backend, 'runWebGPUProgram');
      }
      expect(programs).to.equal(failing);
      expect(backend.numDataIds()).to.equal(before);
    }
    x.dispose();
    matrix.dispose();
  });
});

describe('a product whose tensors fit where x transposed does not', () => {
  const of = plainProduct({rows: 21, shape: [400, 4], pattern: '2:4', activation: 'relu', hasBias: true});

  it('is right, for every pattern', async () => {
    for (const pattern of ['2:4', '1:4v4', '8:32v32', '1:8', '3:3']) {
      for (const rows of [5, 21, 70]) {
        const product = {...of, pattern, rows};
        const limits = {...DEFAULT_LIMITS, maxStorageBufferBindingSize: 4 * rows * 400};
        const plans = candidatePlans(problemOf(product), limits);
        expect(plans.every(plan => !transposedX(plan, rows).kMajor), pattern).to.equal(true);
        await check(product, pick(mulberry32(seed), plans), {maxStorageBufferBindingSize: 4 * rows * 400});
      }
    }
  });
});
