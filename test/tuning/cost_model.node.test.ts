/** The cost model: what it promises for any plan on offer, and what it must see in plans made to show it. */
import {expect} from 'chai';
import fc from 'fast-check';
import {NO_EPILOGUE} from '../../kernels/webgpu/wgsl/epilogue.js';
import {gemmGeometry} from '../../kernels/webgpu/gemm/geometry.js';
import {candidatePlans} from '../../kernels/webgpu/candidates.js';
import type {MatMulProblem, Plan} from '../../kernels/webgpu/plan.js';
import {parsePattern, VECTOR_LENGTHS} from '../../src/format/pattern.js';
import {COST, predict} from '../../src/tuning/cost_model.js';
import {profileOf, type DeviceProfile} from '../../src/tuning/device_profile.js';
import {kindOf} from '../support/products.js';
import {seed} from '../support/random.js';
import {DEFAULT_LIMITS} from '../support/reference.js';

const HOPPER = profileOf({vendor: 'nvidia', architecture: 'hopper'});
const PROFILES = [HOPPER, ...['apple', 'intel', 'arm', 'google swiftshader', ''].map(vendor => profileOf({vendor}))];

function problem(rows: number, n: number, k: number, pattern: string, dtype: 'float32' | 'float16' = 'float32') {
  return {rows, shape: [k, n] as [number, number], pattern: parsePattern(pattern), dtype, epilogue: NO_EPILOGUE};
}

/** The plan predicted to be fastest, of those that are `wanted`. */
function fastest(of: MatMulProblem, on = HOPPER, wanted: (plan: Plan) => boolean = () => true): Plan {
  return candidatePlans(of, DEFAULT_LIMITS).filter(wanted)
    .reduce((a, b) => predict(b, of, on).ms < predict(a, of, on).ms ? b : a);
}

/** Any plan on offer, by a number. */
function anyPlan(of: MatMulProblem, which: number): Plan {
  const plans = candidatePlans(of, DEFAULT_LIMITS);
  return plans[which % plans.length];
}

/** A Hopper cut down to so many cores, each as fast as before. */
function hopperOf(cores: number): DeviceProfile {
  const share = cores / HOPPER.cores;
  return {
    ...HOPPER, cores, tflops: share * HOPPER.tflops, workgroupMemoryGBs: share * HOPPER.workgroupMemoryGBs,
    cacheGBs: share * HOPPER.cacheGBs,
  };
}

function ms(of: MatMulProblem, on: DeviceProfile = HOPPER, planned = fastest(of)): number {
  return predict(planned, of, on).ms;
}

const isWhole = ({kind, splits}: Plan) => kind === 'gemm' && splits === 1;

const sizes = (most: number) => fc.oneof(fc.integer({min: 1, max: 40}), fc.integer({min: 1, max: most}));
const problems: fc.Arbitrary<MatMulProblem> = fc.record({
  rows: sizes(10_000),
  shape: fc.tuple(sizes(20_000), sizes(20_000)),
  pattern: fc.integer({min: 1, max: 256}).chain(m => fc.record({
    n: fc.integer({min: 1, max: m}), m: fc.constant(m), vectorLength: fc.constantFrom(...VECTOR_LENGTHS),
  })).map(parsePattern),
  dtype: fc.constantFrom('float32' as const, 'float16' as const),
  epilogue: fc.constant(NO_EPILOGUE),
});

describe('the cost model', () => {
  it('has a time for every product on every device, and says what bounds it', () => {
    fc.assert(fc.property(problems, fc.nat(), fc.constantFrom(...PROFILES), (of, which, on) => {
      const prediction = predict(anyPlan(of, which), of, on);
      const {bound, efficiency, compute, memory, workgroupMemory, launch} = prediction;
      const terms = {compute, memory, 'workgroup memory': workgroupMemory, launch};
      Object.values(terms).forEach(term => expect(term).to.be.above(0).and.below(Infinity));
      expect(terms[bound]).to.equal(Math.max(...Object.values(terms)));
      expect(prediction.ms).to.be.at.least(terms[bound]);
      expect(efficiency).to.be.above(0).and.at.most(1);
    }), {seed, numRuns: 500});
  });

  for (const [what, grow] of [
    ['rows', (of, by) => ({...of, rows: of.rows + by})],
    ['columns', (of, by) => ({...of, shape: [of.shape[0], of.shape[1] + by]})],
    ['depth', (of, by) => ({...of, shape: [of.shape[0] + by, of.shape[1]]})],
  ] as Array<[string, (of: MatMulProblem, by: number) => MatMulProblem]>) {
    it(`never gets faster with more ${what}`, () => {
      const steps = fc.integer({min: 1, max: 5000});
      fc.assert(fc.property(problems, steps, fc.nat(), fc.constantFrom(...PROFILES), (of, by, which, on) => {
        const plan = anyPlan(of, which);
        expect(predict(plan, grow(of, by), on).ms).to.be.at.least((1 - 1e-9) * predict(plan, of, on).ms);
      }), {seed, numRuns: 500});
    });
  }

  it('sees what bounds a product', () => {
    const bound = (of: MatMulProblem, on = HOPPER, wanted?: (plan: Plan) => boolean) =>
      predict(fastest(of, on, wanted), of, on).bound;
    expect(bound(problem(4096, 4096, 4096, '32:32v32'))).to.equal('compute');
    expect(bound(problem(1, 8192, 22016, '8:32v32'))).to.equal('memory');
    expect(bound(problem(20, 64, 64, '8:32v32'))).to.equal('launch');
    expect(bound(problem(4096, 4096, 4096, '32:32v32'), {...HOPPER, workgroupMemoryGBs: 3000}, isWhole))
      .to.equal('workgroup memory');
  });

  it('follows the figure of the device that bounds the product, and hardly any other', () => {
    const slower = (of: MatMulProblem, figure: keyof DeviceProfile) =>
      ms(of, {...HOPPER, [figure]: HOPPER[figure] as number / 2}) / ms(of);
    const [gemm, gemv] = [problem(4096, 4096, 4096, '32:32v32'), problem(1, 8192, 22016, '16:32v32')];
    expect(slower(gemm, 'tflops')).to.be.within(1.7, 2);
    expect(slower(gemm, 'memoryGBs')).to.be.within(1, 1.2);
    expect(slower(gemv, 'memoryGBs')).to.be.within(1.7, 2);
    expect(slower(gemv, 'tflops')).to.be.within(1, 1.2);
  });

  it('takes less time for fewer kept weights, and for half as many bytes where bytes bound', () => {
    const times = ['32:32v32', '16:32v32', '8:32v32', '4:32v32'].map(pattern =>
      ms(problem(4096, 4096, 4096, pattern)));
    times.slice(1).forEach((time, i) => expect(time).to.be.below(0.65 * times[i]));
    const gemv = (dtype: 'float32' | 'float16') => ms(problem(1, 8192, 22016, '8:32v32', dtype));
    expect(gemv('float16')).to.be.within(0.45 * gemv('float32'), 0.7 * gemv('float32'));
  });

  it('charges whole tiles at an edge', () => {
    const of = (rows: number, n: number) => problem(rows, n, 4096, '8:32v32');
    const planned = fastest(of(4096, 4096), HOPPER, isWhole);
    const {tileRows, tileCols} = planned.config as {tileRows: number; tileCols: number};
    const compute = (rows: number, n: number) => predict(planned, of(rows, n), hopperOf(1)).compute;
    expect(compute(tileRows * 40 + 1, 4096)).to.equal(compute(tileRows * 41, 4096));
    expect(compute(4096, tileCols * 40 + 1)).to.equal(compute(4096, tileCols * 41));
    expect(compute(tileRows * 41, 4096)).to.be.above(compute(tileRows * 40, 4096));
  });

  it('takes as long as the core with the most waves', () => {
    const planned = fastest(problem(4096, 4096, 4096, '8:32v32'), HOPPER, isWhole);
    const {tileRows, tileCols} = planned.config as {tileRows: number; tileCols: number};
    const compute = (workgroups: number) =>
      predict(planned, problem(tileRows * workgroups, tileCols, 4096, '8:32v32'), hopperOf(10)).compute;
    expect(planned.splits).to.equal(1);
    expect(compute(50)).to.be.closeTo(compute(41), 1e-9);
    expect(compute(41)).to.be.above(1.1 * compute(40));
  });

  describe('of one core', () => {
    const pattern = '8:32v32';
    const planned = candidatePlans(problem(4096, 4096, 4096, pattern), DEFAULT_LIMITS).find(({kind, config, splits}) =>
      kind === 'gemm' && config.tileRows === 128 && config.tileCols === 32 && config.threadRows === 8 &&
      config.block === 8 && config.slices === 1 && splits === 1)!;
    const compute = (workgroups: number) =>
      predict(planned, problem(128 * workgroups, 32, 4096, pattern), hopperOf(1)).compute;

    it('deals subgroups out whole to the schedulers: five workgroups of two take as long as six', () => {
      expect(compute(5)).to.be.closeTo(compute(6), 1e-9);
      expect(compute(5)).to.be.above(1.1 * compute(4));
    });

    it('has registers for six of these workgroups: a seventh comes in a wave of its own', () => {
      expect(compute(7)).to.be.closeTo(compute(6) + compute(1), 1e-9);
    });

    it('has memory for as many small ones as fit: one more comes in a wave of its own', () => {
      const small = candidatePlans(problem(16, 4096, 4096, pattern), DEFAULT_LIMITS).find(({kind, config, splits}) =>
        kind === 'gemm' && config.tileRows === 16 && config.tileCols === 32 && config.block === 16 &&
        config.slices === 1 && splits === 1)!;
      const {workgroupBytes, threads} = gemmGeometry((small as Extract<Plan, {kind: 'gemm'}>).config);
      const fit = Math.floor(HOPPER.coreMemoryBytes / (workgroupBytes + HOPPER.reservedBytes));
      const waves = (workgroups: number) =>
        predict(small, problem(16, 32 * workgroups, 4096, pattern), hopperOf(1)).compute;
      // Registers would do for more, of threads that need about a hundred.
      expect(fit).to.be.below(COST.registers / (threads * 112));
      expect(waves(fit + 1)).to.be.closeTo(waves(fit) + waves(1), 1e-9);
    });

    it('adds the K-tile latency for a single workgroup, and hides it if several share a core', () => {
      const steps = 1024 / 8;
      expect(compute(1)).to.be.above(steps * COST.kTileMs);
      expect(compute(2)).to.be.closeTo(compute(1), 1e-9);
      expect(compute(6)).to.be.above(1.2 * compute(1));
    });
  });

  it('ranks GEMVs of few rows as they were measured on an H200', () => {
    const gemv = (of: MatMulProblem, vecCols: number, splits: number) => {
      const planned = candidatePlans(of, DEFAULT_LIMITS).find(({kind, config, splits: theirs}) => kind === 'gemv' &&
        'vecCols' in config && config.vecCols === vecCols && config.turn === 4 && config.threads === 256 &&
        theirs === splits)!;
      return ms(of, HOPPER, planned);
    };
    // Three workgroups of 16 KB run at once: 23.0 µs and 30.1; 15.2 and 18.5.
    for (const pattern of ['16:32v32', '8:32v32']) {
      const of = problem(4, 11008, 4096, pattern, 'float16');
      expect(gemv(of, 8, 1), pattern).to.be.below(gemv(of, 16, 1));
    }
    // 54.4 µs and 62.1.
    const dense = problem(4, 11008, 4096, '1:1');
    expect(gemv(dense, 32, 8)).to.be.below(gemv(dense, 8, 1));
  });

  it('splits k of a small output, where cores would idle, and not of a large one', () => {
    const split = (rows: number, splits: number) => {
      const of = problem(rows, 512, 8192, '8:32v32');
      const whole = fastest(problem(4096, 4096, 4096, '8:32v32'), HOPPER, isWhole);
      return ms(of, HOPPER, {...whole, splits});
    };
    expect(split(64, 4)).to.be.below(split(64, 1));
    expect(split(8192, 4)).to.be.above(split(8192, 1));
  });

  it('adds dispatch overhead per pass: transpose, decompression, product, sum over splits', () => {
    const of = problem(64, 512, 8192, '8:32v32');
    const launches = (kind: string, splits: number) => {
      const planned = candidatePlans(kind === 'gemv' ? {...of, rows: 1} : of, DEFAULT_LIMITS)
        .find(each => kindOf(each) === kind && each.splits === splits)!;
      return predict(planned, of, {...HOPPER, launchUs: 1000}).launch;
    };
    const counts = [
      launches('gemv', 1), launches('packed', 1), launches('packed', 2), launches('expand', 1), launches('expand', 2),
    ];
    const passes = counts.map(count => (count - counts[0]) / (counts[1] - counts[0]));
    [0, 1, 2, 2, 3].forEach((expected, i) => expect(passes[i]).to.be.closeTo(expected, 1e-9));
    expect(counts[0]).to.equal(1);
    expect(counts[1]).to.be.above(1);
  });
});
