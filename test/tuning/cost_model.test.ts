/** The cost model: what it promises for any plan, and what it must see in plans made to show it. */
import {expect} from 'chai';
import fc from 'fast-check';
import {NO_EPILOGUE} from '../../kernels/webgpu/epilogue.js';
import {choosePlan, type MatMulProblem, type Plan} from '../../kernels/webgpu/select.js';
import {keptRowCount, parsePattern, VECTOR_LENGTHS} from '../../src/format/pattern.js';
import {predict} from '../../src/tuning/cost_model.js';
import {profileOf, type DeviceProfile} from '../../src/tuning/device_profile.js';
import {seed} from '../support/random.js';
import {DEFAULT_LIMITS} from '../support/reference.js';

const HOPPER = profileOf({vendor: 'nvidia', architecture: 'hopper'});
const PROFILES = [HOPPER, ...['apple', 'intel', 'arm', 'google swiftshader', ''].map(vendor => profileOf({vendor}))];

function problem(rows: number, n: number, k: number, pattern: string, dtype: 'float32' | 'float16' = 'float32') {
  return {rows, shape: [k, n] as [number, number], pattern: parsePattern(pattern), dtype, epilogue: NO_EPILOGUE};
}

function plan(of: MatMulProblem): Plan {
  return choosePlan(of, DEFAULT_LIMITS);
}

/** A plan's programs for another k: as many splits, each as long as it takes. */
function atDepth(planned: Plan, {shape: [k], pattern}: MatMulProblem): Plan {
  return planned.kind === 'gemm' ? planned :
    {...planned, keptPerSplit: 4 * Math.ceil(keptRowCount(k, pattern) / planned.splits / 4)};
}

/** A Hopper cut down to so many cores, each as fast as before. */
function hopperOf(cores: number): DeviceProfile {
  const share = cores / HOPPER.cores;
  return {
    ...HOPPER, cores, tflops: share * HOPPER.tflops, workgroupMemoryGBs: share * HOPPER.workgroupMemoryGBs,
    cacheGBs: share * HOPPER.cacheGBs,
  };
}

function ms(of: MatMulProblem, on: DeviceProfile = HOPPER, planned = plan(of)): number {
  return predict(planned, of, on).ms;
}

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
    fc.assert(fc.property(problems, fc.constantFrom(...PROFILES), (of, on) => {
      const prediction = predict(plan(of), of, on);
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
      fc.assert(fc.property(problems, fc.integer({min: 1, max: 5000}), fc.constantFrom(...PROFILES), (of, by, on) => {
        const more = grow(of, by);
        const same = plan(of);
        const less = predict(atDepth(same, of), of, on).ms;
        expect(predict(atDepth(same, more), more, on).ms).to.be.at.least(less * (1 - 1e-12));
      }), {seed, numRuns: 500});
    });
  }

  it('sees what bounds a product', () => {
    const bound = (of: MatMulProblem, on = HOPPER) => predict(plan(of), of, on).bound;
    expect(bound(problem(4096, 4096, 4096, '8:32v32'))).to.equal('compute');
    expect(bound(problem(1, 8192, 22016, '8:32v32'))).to.equal('memory');
    expect(bound(problem(20, 64, 64, '8:32v32'))).to.equal('launch');
    expect(bound(problem(4096, 4096, 4096, '8:32v32'), {...HOPPER, workgroupMemoryGBs: 3000}))
      .to.equal('workgroup memory');
  });

  it('follows the figure of the device that bounds the product, and hardly any other', () => {
    const slower = (of: MatMulProblem, figure: keyof DeviceProfile) =>
      ms(of, {...HOPPER, [figure]: HOPPER[figure] as number / 2}) / ms(of);
    const [gemm, gemv] = [problem(4096, 4096, 4096, '16:32v32'), problem(1, 8192, 22016, '16:32v32')];
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
    const planned = plan(of(4096, 4096));
    const {tileRows, tileCols} = planned.config as {tileRows: number; tileCols: number};
    const compute = (rows: number, n: number) => predict(planned, of(rows, n), hopperOf(1)).compute;
    expect(compute(tileRows * 40 + 1, 4096)).to.equal(compute(tileRows * 41, 4096));
    expect(compute(4096, tileCols * 40 + 1)).to.equal(compute(4096, tileCols * 41));
    expect(compute(tileRows * 41, 4096)).to.be.above(compute(tileRows * 40, 4096));
  });

  it('waits for the core that has one workgroup more than the others', () => {
    const planned = plan(problem(4096, 4096, 4096, '8:32v32'));
    const {tileRows, tileCols} = planned.config as {tileRows: number; tileCols: number};
    const compute = (workgroups: number) =>
      predict(planned, problem(tileRows * workgroups, tileCols, 4096, '8:32v32'), hopperOf(10)).compute;
    expect(planned.splits).to.equal(1);
    expect(compute(50)).to.be.closeTo(compute(41), 1e-9);
    expect(compute(51)).to.be.above(1.1 * compute(50));
  });

  it('splits k of a small output, where cores would idle, and not of a large one', () => {
    const split = (rows: number, splits: number) => {
      const of = problem(rows, 512, 8192, '8:32v32');
      const whole = plan(problem(8192, 8192, 8192, '8:32v32'));
      return ms(of, HOPPER, {...whole, splits});
    };
    expect(split(64, 4)).to.be.below(split(64, 1));
    expect(split(8192, 4)).to.be.above(split(8192, 1));
  });

  it('counts a launch for each pass: transpose, product, sum over splits', () => {
    const of = problem(64, 512, 8192, '8:32v32');
    const whole = plan(problem(8192, 8192, 8192, '8:32v32'));
    const launches = (planned: Plan) => predict(planned, of, {...HOPPER, launchUs: 1000}).launch;
    expect(launches({...whole, splits: 1})).to.equal(2);
    expect(launches({...whole, splits: 4})).to.equal(3);
    expect(launches({...plan(problem(1, 64, 64, '2:4')), splits: 1})).to.equal(1);
  });
});
