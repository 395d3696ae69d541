/** Choosing a plan: predicted, tuned, remembered. On plain data: no GPU is asked anything. */
import {expect} from 'chai';
import {NO_EPILOGUE} from '../../kernels/webgpu/wgsl/epilogue.js';
import {candidatePlans} from '../../kernels/webgpu/candidates.js';
import {type MatMulProblem, type Plan, planName, programCount} from '../../kernels/webgpu/plan.js';
import {parsePattern} from '../../src/format/pattern.js';
import {PlanChooser} from '../../src/tuning/choose.js';
import {predict} from '../../src/tuning/cost_model.js';
import {profileOf} from '../../src/tuning/device_profile.js';
import {productKey} from '../../src/tuning/plan_cache.js';
import {userMs} from '../../src/tuning/user_time.js';
import {kindOf} from '../support/products.js';
import {DEFAULT_LIMITS} from '../support/reference.js';

const NAMES = {vendor: 'nvidia', architecture: 'ampere', device: '', description: ''};

function chooser(): PlanChooser {
  return new PlanChooser(DEFAULT_LIMITS, NAMES);
}

function problem(rows: number, pattern = '8:32v32'): MatMulProblem {
  return {rows, shape: [1024, 2048], pattern: parsePattern(pattern), dtype: 'float32', epilogue: NO_EPILOGUE};
}

/** Tuning that says: for these rows the plan predicted slowest. */
function tunedToLast(rows: number, of = problem(rows)) {
  const {plan} = chooser().ranked(of).at(-1)!;
  return {plans: {[productKey(of)]: [{rows, plan: planName(plan), ms: 1, defaultMs: 2}]}};
}

const slowest = (of: MatMulProblem) => chooser().ranked(of).at(-1)!.plan;

describe('the choice of a plan', () => {
  it('is the one predicted to be fastest, of all that the kernels offer', () => {
    for (const rows of [1, 64, 3000]) {
      const of = problem(rows);
      const profile = profileOf(NAMES);
      const cost = (plan: Plan) => userMs(predict(plan, of, profile).ms, plan, of.rows, profile);
      const times = candidatePlans(of, DEFAULT_LIMITS).map(cost);
      expect(cost(chooser().choose(of))).to.equal(Math.min(...times));
      expect(chooser().ranked(of)).to.have.length(times.length);
    }
  });

  it('counts host time: the slower a program is to set up, the fewer there are', () => {
    const programs = (of: MatMulProblem, hostUs: number) => {
      const one = chooser();
      one.learn({plans: {}, profile: {...one.profile, hostUs}});
      return programCount(one.choose(of), of.rows);
    };
    for (const pattern of ['8:32v32', '2:4', '16:32']) {
      for (const rows of [1, 8, 40, 197]) {
        expect(programs(problem(rows, pattern), 10_000), `${rows} rows, ${pattern}`).to.equal(1);
      }
      expect(programs(problem(1000, pattern), 0.001)).to.be.at.least(2);
    }
    const of = problem(64);
    const one = chooser();
    one.learn({plans: {}, profile: {...one.profile, hostUs: 10_000}});
    expect(one.explain(of).why).to.match(/bound by the host$/);
  });

  it('is cached under everything that a plan depends on', () => {
    const same = chooser();
    const base = problem(64);
    expect(same.choose(base)).to.equal(same.choose({...base}));
    const others: MatMulProblem[] = [
      problem(65), problem(64, '8:32v64'), problem(64, '7:32v32'), problem(64, '8:31v32'),
      {...base, shape: [1025, 2048]}, {...base, shape: [1024, 2049]}, {...base, dtype: 'float16'},
      {...base, epilogue: {...NO_EPILOGUE, hasBias: true}}, {...base, epilogue: {...NO_EPILOGUE, activation: 'relu'}},
      {...base, epilogue: {...NO_EPILOGUE, activation: 'prelu', prelu: 'column'}},
      {...base, epilogue: {...NO_EPILOGUE, activation: 'prelu', prelu: 'scalar'}},
    ];
    const plans = new Set([base, ...others].map(each => same.choose(each)));
    expect(plans.size).to.equal(1 + others.length);
  });

  it('suits the size: few rows, small outputs, large ones', () => {
    for (const names of [NAMES, {...NAMES, architecture: 'hopper'}, {...NAMES, vendor: 'apple', architecture: ''}]) {
      const one = new PlanChooser(DEFAULT_LIMITS, names);
      const area = (rows: number, n: number) => {
        const {kind, config} = one.choose({...problem(rows, '32:32v32'), shape: [1024, n]});
        return kind === 'gemm' ? config.tileRows * config.tileCols : 0;
      };
      expect(one.choose(problem(1)).kind).to.equal('gemv');
      expect(one.choose(problem(4096)).kind).to.equal('gemm');
      expect(area(4096, 4096)).to.be.at.least(4096);
      expect(area(300, 100)).to.be.above(0).and.at.most(area(4096, 4096));
    }
  });

  it('depends on the pattern: sparse tiles for few kept rows, else zero-filled windows or the dense fallback', () => {
    const kind = (pattern: string, rows = 4096) =>
      kindOf(chooser().choose({...problem(rows, pattern), shape: [4096, 4096]}));
    expect(kind('4:32v32')).to.be.oneOf(['packed', 'window']);
    expect(kind('1:8v4')).to.be.oneOf(['packed', 'window']);
    expect(kind('31:32v4')).to.equal('expand');
    expect(kind('2:4')).to.equal('expand');
    expect(kind('2:4', 256)).to.equal('spread');
    expect(kind('8:32', 256)).to.equal('expand');
    expect(kind('4:4v4')).to.equal('dense');
  });

  it('says by how much a dense fallback is faster than the best sparse plan', () => {
    const of: MatMulProblem = {...problem(4096, '2:4'), shape: [4096, 4096]};
    const [fastest, ...others] = chooser().ranked(of);
    expect(kindOf(fastest.plan)).to.equal('expand');
    const sparse = others.find(({plan}) => kindOf(plan) !== 'expand')!;
    expect(chooser().explain(of).why).to.include('; the best sparse plan is predicted to take ' +
        `${(sparse.prediction.ms / fastest.prediction.ms).toFixed(2)} times as long`);
    expect(chooser().explain(problem(1)).why).to.not.include('sparse plan');
  });

  it('is cached for a bounded number of products', () => {
    const one = chooser();
    const small = (rows: number): MatMulProblem => ({...problem(rows), shape: [8, 8]});
    const [from, to] = [2000, 7000]; // few plans are offered for so many rows
    const first = one.choose(small(from));
    for (let rows = from + 1; rows < to; ++rows) {
      one.choose(small(rows));
    }
    expect(one.choose(small(from))).to.deep.equal(first);
    expect(one.choose(small(from))).to.not.equal(first); // thrown out meanwhile, and made again
  });

  it('is the tuned plan once that is known, also where the product was seen before', () => {
    const one = chooser();
    const of = problem(3000);
    one.choose(of);
    one.learn(tunedToLast(3000));
    expect(one.choose(of)).to.deep.equal(slowest(of));
    expect(one.tunedPlan(of)?.tuned.defaultMs).to.equal(2);
    // Bias and activation do not change which plan is best.
    const epilogue = {...NO_EPILOGUE, activation: 'relu' as const, hasBias: true};
    expect(planName(one.choose({...of, epilogue}))).to.equal(planName(slowest(of)));
    // Any other product is its own.
    expect(one.tunedPlan({...of, dtype: 'float16'})).to.equal(undefined);
    expect(one.tunedPlan({...of, shape: [1024, 2052]})).to.equal(undefined);
    expect(one.tunedPlan({...of, pattern: parsePattern('4:32v32')})).to.equal(undefined);
  });

  it('is the plan tuned for the nearest row count within 1.25, above 16 rows; else only for the same count', () => {
    const one = chooser();
    one.learn(tunedToLast(3000));
    expect(one.tunedPlan(problem(2400))?.tuned.rows).to.equal(3000);
    expect(one.tunedPlan(problem(3750))?.tuned.rows).to.equal(3000);
    expect(one.tunedPlan(problem(2399))).to.equal(undefined);
    expect(one.tunedPlan(problem(3751))).to.equal(undefined);
    one.learn(tunedToLast(2900));
    expect(one.tunedPlan(problem(2910))?.tuned.rows).to.equal(2900);
    expect(one.tunedPlan(problem(3000))?.tuned.rows).to.equal(3000);
    one.learn(tunedToLast(16));
    expect(one.tunedPlan(problem(16))?.tuned.rows).to.equal(16);
    expect(one.tunedPlan(problem(15))).to.equal(undefined);
    expect(one.tunedPlan(problem(17))).to.equal(undefined);
  });

  it('ignores tuned plans that are not candidates on this device', () => {
    const one = chooser();
    const of = problem(3000);
    const predicted = one.choose(of);
    const stored = (plan: string) =>
      one.learn({plans: {[productKey(of)]: [{rows: 3000, plan, ms: 1, defaultMs: 2}]}});
    stored('{"kind":"gemm","splits":1}');
    expect(one.choose(of)).to.deep.equal(predicted);
    const larger = {...slowest(of), splits: 999};
    stored(planName(larger));
    expect(one.choose(of)).to.deep.equal(predicted);
    expect(one.tunedPlan(of)).to.equal(undefined);
  });

  it('goes by the measured profile once there is one', () => {
    const one = chooser();
    expect(one.isMeasured).to.equal(false);
    const before = one.ranked(problem(3000))[0].prediction.ms;
    const profile = {...one.profile, tflops: one.profile.tflops / 100, workgroupMemoryGBs: 1};
    one.learn({profile, plans: {}});
    expect(one.isMeasured).to.equal(true);
    expect(one.ranked(problem(3000))[0].prediction.ms).to.be.above(10 * before);
    one.learn(tunedToLast(3000));
    expect(one.profile).to.equal(profile);
  });
});
