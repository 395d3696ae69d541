/**
 * The programs of a lesser device than the one at hand, and dispatches folded because a dimension is too short: the
 * kernels see limits that are not the device's own. Both happen to users and would otherwise not happen in tests, for
 * software GPUs are generous and 65,535 workgroups take long on them.
 */
import * as tf from '@tensorflow/tfjs-core';
import {expect} from 'chai';
import {NM_SPARSE_MAT_MUL, toAttrs, type MatMulAttrs} from '../../kernels/contract.js';
import {webgpuKernels} from '../../kernels/webgpu/nm_sparse_mat_mul.js';
import {choosePlan, type Plan} from '../../kernels/webgpu/select.js';
import {parsePattern} from '../../src/format/pattern.js';
import {mulberry32, seed} from '../support/random.js';
import {
  activeLimits, DEFAULT_LIMITS, drawMatrix, expectNear, poisonBuffers, randomValues, referenceSums, toSparseMatrix,
} from '../support/reference.js';

const {kernelFunc} = webgpuKernels((problem, {device}) => choosePlan(problem, device.limits))
    .find(({kernelName}) => kernelName === NM_SPARSE_MAT_MUL)!;

type Limits = Partial<Record<keyof GPUSupportedLimits, number>>;

/** The active backend, with these limits. */
function limitedBackend(limits: Limits): object {
  const backend = tf.backend() as unknown as {device: GPUDevice};
  const all = new Proxy(backend.device.limits, {
    get: (own, name) => limits[name as keyof Limits] ?? own[name as keyof Limits],
  });
  return new Proxy(backend, {
    get: (target, name) => {
      const value = name === 'device' ? {limits: all} : Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
}

interface Case {
  rows: number;
  shape: [number, number];
  pattern: string;
}

async function check({rows, shape, pattern}: Case, limits: Limits): Promise<void> {
  const random = mulberry32(seed);
  const drawn = drawMatrix(shape, pattern, 'float32', random);
  const x = randomValues(rows * shape[0], random);
  await poisonBuffers([rows, shape[1]]);
  const matrix = toSparseMatrix(drawn);
  const xTensor = tf.tensor2d(x, [rows, shape[0]]);
  const attrs: MatMulAttrs = {
    pattern: drawn.pattern, shape, dtype: 'float32', activation: 'linear', leakyreluAlpha: 0.2,
  };
  const y = tf.engine().makeTensorFromTensorInfo(kernelFunc({
    inputs: {x: xTensor, values: matrix.values, indices: matrix.indices}, attrs: toAttrs(attrs),
    backend: limitedBackend(limits),
  }) as tf.TensorInfo);
  const got = await y.data();
  tf.dispose([y, xTensor]);
  matrix.dispose();
  expectNear(got, referenceSums(x, drawn), `${rows} rows, ${pattern}`);
}

function planOf({rows, shape, pattern}: Case, limits = DEFAULT_LIMITS): Plan {
  return choosePlan({rows, shape, pattern: parsePattern(pattern), dtype: 'float32',
    epilogue: {activation: 'linear', hasBias: false, prelu: 'none'}}, limits);
}

describe('a device whose dispatches have room for three workgroups a dimension', () => {
  const cases: Array<[string, Case]> = [
    ['tiles', {rows: 70, shape: [100, 130], pattern: '2:4v4'}],
    ['tiles with k split', {rows: 40, shape: [900, 70], pattern: '2:4v4'}],
    ['the GEMV', {rows: 2, shape: [60, 301], pattern: '2:4v4'}],
    ['the GEMV with k split', {rows: 1, shape: [1100, 140], pattern: '2:4v4'}],
  ];
  for (const [what, of] of cases) {
    it(`gets every output from ${what}`, () => check(of, {maxComputeWorkgroupsPerDimension: 3}));
  }
});

describe('a device with 16 KB of workgroup memory', () => {
  const cases: Array<[string, Case]> = [
    ['packed', {rows: 20, shape: [200, 36], pattern: '60:128v8'}], // elsewhere window
    ['decompress', {rows: 1024, shape: [64, 1024], pattern: '1:2'}],
  ];
  for (const [strategy, of] of cases) {
    it(`gets its own ${strategy} tiles for ${of.pattern}, and right results from them`, async () => {
      const plan = planOf(of);
      expect(plan.kind === 'gemm' && plan.config.strategy).to.equal(strategy);
      if (activeLimits().maxComputeWorkgroupStorageSize > DEFAULT_LIMITS.maxComputeWorkgroupStorageSize) {
        expect(planOf(of, activeLimits())).to.not.deep.equal(plan);
      }
      await check(of, DEFAULT_LIMITS as unknown as Limits);
    });
  }
});
