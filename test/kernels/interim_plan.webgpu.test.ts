/** Products that run before their plan is compiled: which plan runs, when the selected one takes over, and errors. */
import * as tf from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import {compress, decompress, nmSparseMatMul} from '../../src/index.js';
import {candidatePlans} from '../../kernels/webgpu/candidates.js';
import {interimPlan} from '../../kernels/webgpu/interim_plan.js';
import {planName, type Plan} from '../../kernels/webgpu/plan.js';
import {NO_EPILOGUE} from '../../kernels/webgpu/wgsl/epilogue.js';
import {parsePattern} from '../../src/format/pattern.js';
import {compileInParallel} from '../../src/tfjs/compile.js';
import {override} from '../../src/tfjs/internals.js';
import {chooserOf} from '../../src/tuning/choose.js';
import {checkProduct, kindOf, problemOf, type Product} from '../support/products.js';
import {mulberry32, seed} from '../support/random.js';
import {activeLimits, between, pick, randomValues} from '../support/reference.js';

const INTERIM = 'NM_SPARSE_INTERIM_PLANS';
const webgpu = () => tf.backend() as WebGPUBackend;
const cache = () => (webgpu() as unknown as {pipelineCache: Record<string, unknown>}).pipelineCache;

/** Forgets all programs and plans, so that the next product is the first. */
function forget(): void {
  Object.keys(cache()).forEach(key => delete cache()[key]);
  chooserOf(webgpu()).learn({plans: {}});
}

/** Runs `use` with a product of one row whose programs are new, and with interim plans. */
async function withNewProduct(
    use: (multiply: () => tf.Tensor, expected: Float32Array) => Promise<void>): Promise<void> {
  const random = mulberry32(seed);
  const x = tf.tensor2d(randomValues(96, random), [1, 96]);
  const dense = tf.tensor2d(randomValues(96 * 64, random), [96, 64]);
  const w = await compress(dense, {pattern: '2:4'});
  const expected = tf.tidy(() => tf.matMul(x, decompress(w)));
  const values = await expected.data() as Float32Array;
  forget();
  tf.env().set(INTERIM, true);
  try {
    await use(() => nmSparseMatMul(x, w), values);
  } finally {
    tf.env().set(INTERIM, false);
    tf.dispose([x, dense, expected]);
    w.dispose();
  }
}

async function expectProduct(y: tf.Tensor, expected: Float32Array): Promise<void> {
  const values = await y.data() as Float32Array;
  y.dispose();
  values.forEach((value, i) => expect(value).to.be.closeTo(expected[i], 1e-4));
}

/** The number of pipelines that `run` makes while nothing else runs, each way. */
async function pipelinesMade(run: () => Promise<void>): Promise<{sync: number; async: number}> {
  const {device} = webgpu();
  const made = {sync: 0, async: 0};
  const [sync, async] = [device.createComputePipeline.bind(device), device.createComputePipelineAsync.bind(device)];
  const restore = [
    override(device, 'createComputePipeline', (descriptor: GPUComputePipelineDescriptor) => {
      ++made.sync;
      return sync(descriptor);
    }),
    override(device, 'createComputePipelineAsync', (descriptor: GPUComputePipelineDescriptor) => {
      ++made.async;
      return async(descriptor);
    }),
  ];
  try {
    await run();
  } finally {
    restore.forEach(undo => undo());
  }
  return made;
}

describe('a product whose plan is not compiled yet', () => {
  it('runs an interim plan, and the selected one once that is compiled', () =>
    withNewProduct(async (multiply, expected) => {
      const made = await pipelinesMade(async () => {
        await expectProduct(multiply(), expected);
        await compileInParallel(webgpu(), () => multiply().dispose()); // waits
      });
      expect(made.sync, 'interim').to.be.within(1, 3);
      expect(made.async, 'selected').to.be.within(1, 3);
      const later = await pipelinesMade(() => expectProduct(multiply(), expected));
      expect(later).to.deep.equal({sync: 0, async: 0});
    }));

  it('waits for no interim plan after its programs were compiled', () => withNewProduct(async (multiply, expected) => {
    await compileInParallel(webgpu(), () => multiply().dispose());
    const made = await pipelinesMade(() => expectProduct(multiply(), expected));
    expect(made).to.deep.equal({sync: 0, async: 0});
  }));

  it('waits for its plan if NM_SPARSE_INTERIM_PLANS is false', () => withNewProduct(async (multiply, expected) => {
    tf.env().set(INTERIM, false);
    const made = await pipelinesMade(() => expectProduct(multiply(), expected));
    expect(made.sync).to.be.within(1, 3);
    expect(made.async).to.equal(0);
  }));

  it('runs on if its plan does not compile, until tfjs reports why', () =>
    withNewProduct(async (multiply, expected) => {
      const fail = () => Promise.reject(new Error('no memory'));
      const restore = override(webgpu().device, 'createComputePipelineAsync', fail);
      await expectProduct(multiply(), expected);
      await new Promise(resolve => setTimeout(resolve));
      restore();
      const made = await pipelinesMade(() => expectProduct(multiply(), expected));
      expect(made.sync, 'compiled as without interim plans').to.be.within(1, 3);
    }));

  it('is right however often it runs meanwhile', () => withNewProduct(async (multiply, expected) => {
    for (let i = 0; i < 20; ++i) {
      await expectProduct(multiply(), expected);
    }
  }));
});

describe('interim plans', () => {
  const problem = (rows: number, pattern: string) => ({
    rows, shape: [4096, 4096] as [number, number], pattern: parsePattern(pattern), dtype: 'float32' as const,
    epilogue: NO_EPILOGUE,
  });

  it('are candidates made compact, and have none themselves', () => {
    const {limits} = webgpu().device;
    for (const pattern of ['8:32v32', '2:4', '2:16', '16:32v32', '32:32']) {
      for (const rows of [1, 2, 4, 16, 64, 512, 2048]) {
        const candidates = candidatePlans(problem(rows, pattern), limits);
        const names = new Set(candidates.map(planName));
        const interims = candidates.map(best => interimPlan(best, candidates, rows)).filter(plan => plan !== undefined);
        expect(interims, `${pattern}, ${rows} rows`).to.not.be.empty;
        for (const interim of new Set(interims)) {
          expect(interim.config.compact).to.equal(true);
          const {kind, config} = interim;
          expect(names).to.include(planName({...interim, kind, config: {...config, compact: false}} as Plan));
          expect(interimPlan(interim, candidates, rows)).to.equal(undefined);
        }
      }
    }
  });

  it('are offered for large register tiles, and not for one row of wide groups', () => {
    const {limits} = webgpu().device;
    const offered = (rows: number, pattern: string, wanted: (plan: Plan) => boolean) => {
      const candidates = candidatePlans(problem(rows, pattern), limits);
      const best = candidates.find(plan => wanted(plan) && plan.splits === 1)!;
      return interimPlan(best, candidates, rows) !== undefined;
    };
    expect(offered(512, '8:32v32', plan => plan.kind === 'gemm' && plan.config.threadRows === 8)).to.equal(true);
    expect(offered(64, '2:4', plan => plan.kind === 'gemm' && plan.config.threadRows === 8)).to.equal(true);
    expect(offered(1, '8:32v32', plan => plan.kind === 'gemv' && plan.config.threads === 256)).to.equal(false);
  });

  it('multiply, by every strategy', async function() {
    this.timeout(240_000);
    const random = mulberry32(seed + 1);
    const run = new Set<string>();
    for (const pattern of ['8:32v32', '3:5v8', '2:4', '1:4v2', '2:16', '1:33v1', '32:32', '16:32v128']) {
      for (const rows of [1, 2, 5, 16, 33, 90]) {
        const product: Product = {
          rows, shape: [between(random, 60, 250), between(random, 20, 90)], pattern,
          dtype: pick(random, ['float32', 'float16']), activation: 'gelu', hasBias: random() < 0.5,
        };
        const candidates = candidatePlans(problemOf(product), activeLimits());
        for (const plan of new Set(candidates.map(best => interimPlan(best, candidates, rows)))) {
          if (plan) {
            run.add(plan.kind === 'gemv' ? `gemv of ${plan.config.rows}` : `${kindOf(plan)}`);
            await checkProduct(product, {random, plan, sick: rows % 2 === 0});
          }
        }
      }
    }
    expect([...run]).to.include.members(['gemv of 1', 'gemv of 2', 'gemv of 8', 'packed', 'spread', 'expand', 'dense']);
  });
});
