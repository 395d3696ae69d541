/**
 * The choice of a program: what is promised in kernels/webgpu/select.ts, for drawn problems of any size and pattern.
 * Nothing runs here, so sizes that no test machine could multiply are among them.
 */
import {expect} from 'chai';
import fc from 'fast-check';
import {ACTIVATIONS} from '../../kernels/contract.js';
import type {EpilogueConfig} from '../../kernels/webgpu/epilogue.js';
import {blockCount, gemmGeometry} from '../../kernels/webgpu/gemm_config.js';
import {NMGemmProgram} from '../../kernels/webgpu/nm_gemm_webgpu.js';
import {gemvGeometry, NMGemvProgram} from '../../kernels/webgpu/nm_gemv_webgpu.js';
import {choosePlan, type MatMulProblem, type Plan, type ProgramLimits} from '../../kernels/webgpu/select.js';
import {keptRowCount, parsePattern, VECTOR_LENGTHS} from '../../src/format/pattern.js';
import {seed} from '../support/random.js';
import {DEFAULT_LIMITS} from '../support/reference.js';

const MAX_DISPATCH = 65535;

const limits: fc.Arbitrary<ProgramLimits> = fc.constantFrom(
  DEFAULT_LIMITS,
  {maxComputeWorkgroupStorageSize: 32768, maxComputeInvocationsPerWorkgroup: 1024},
  {maxComputeWorkgroupStorageSize: 49152, maxComputeInvocationsPerWorkgroup: 1024},
);

const epilogues: fc.Arbitrary<EpilogueConfig> = fc.record({
  activation: fc.constantFrom(...ACTIVATIONS), hasBias: fc.boolean(), prelu: fc.constant('none' as const),
});

/** Any size, small ones as often as large ones. */
const sizes = (most: number) => fc.oneof(
  fc.integer({min: 1, max: Math.min(40, most)}), fc.integer({min: 1, max: Math.min(1000, most)}),
  fc.integer({min: 1, max: most}));

const problems: fc.Arbitrary<MatMulProblem> = fc.record({
  rows: sizes(20_000),
  shape: fc.tuple(sizes(30_000), sizes(30_000)),
  pattern: fc.integer({min: 1, max: 256}).chain(m => fc.record({
    n: fc.integer({min: 1, max: m}), m: fc.constant(m), vectorLength: fc.constantFrom(...VECTOR_LENGTHS),
  })).map(parsePattern),
  dtype: fc.constantFrom('float32' as const, 'float16' as const),
  epilogue: epilogues,
});

function holdsFor(check: (problem: MatMulProblem, plan: Plan, within: ProgramLimits) => void): void {
  fc.assert(fc.property(problems, limits, (problem, within) => {
    check(problem, choosePlan(problem, within), within);
  }), {seed, numRuns: 400});
}

describe('the choice of a program', () => {
  it('is the GEMV for up to 16 rows and the GEMM beyond', () => holdsFor(({rows}, plan) => {
    expect(plan.kind).to.equal(rows <= 16 ? 'gemv' : 'gemm');
    if (plan.kind === 'gemv') {
      expect(plan.config.rows).to.equal([1, 2, 4, 8, 16].find(size => size >= rows));
    }
  }));

  it('stays within the device limits, whatever the pattern', () => holdsFor((_problem, plan, within) => {
    if (plan.kind === 'gemm') {
      const {threads, workgroupBytes} = gemmGeometry(plan.config);
      expect(threads).to.be.at.most(within.maxComputeInvocationsPerWorkgroup);
      expect(workgroupBytes).to.be.at.most(within.maxComputeWorkgroupStorageSize);
    }
  }));

  it('stays within them for every N of every M, too', () => {
    const problem = {rows: 4096, shape: [4096, 4096] as [number, number], dtype: 'float32' as const,
      epilogue: {activation: 'linear', hasBias: false, prelu: 'none'} as EpilogueConfig};
    for (let m = 1; m <= 256; ++m) {
      for (let n = 1; n <= m; ++n) {
        const vectorLength = VECTOR_LENGTHS[(n + m) % VECTOR_LENGTHS.length];
        const plan = choosePlan({...problem, pattern: {n, m, vectorLength}}, DEFAULT_LIMITS);
        if (plan.kind !== 'gemm' || gemmGeometry(plan.config).workgroupBytes > 16384) {
          throw new Error(`${n}:${m}v${vectorLength} takes ${JSON.stringify(plan)}`);
        }
      }
    }
  });

  it('is dense exactly where N = M, and decompress where groups are narrower than a vec4', () => {
    holdsFor(({pattern: {n, m, vectorLength}}, plan) => {
      if (plan.kind === 'gemm') {
        const {strategy} = plan.config;
        expect(strategy === 'dense').to.equal(n === m);
        if (n < m && vectorLength < 4) {
          expect(strategy).to.equal('decompress');
        }
      }
    });
  });

  it('is packed where that brings fewer rows of x to a tile than whole windows', () => {
    const strategyOf = (pattern: string) => {
      const plan = choosePlan({rows: 2048, shape: [2048, 2048], pattern: parsePattern(pattern), dtype: 'float32',
        epilogue: {activation: 'linear', hasBias: false, prelu: 'none'}}, DEFAULT_LIMITS);
      return plan.kind === 'gemm' ? plan.config.strategy : plan.kind;
    };
    // Two groups of 32 in a tile of 64 columns: packed from 1 of 2 on.
    expect(strategyOf('4:8v32')).to.equal('packed');
    expect(strategyOf('5:8v32')).to.equal('window');
    expect(strategyOf('31:32v64')).to.equal('packed');
    expect(strategyOf('1:4v16')).to.equal('packed');
    expect(strategyOf('2:4v16')).to.equal('window');
    expect(strategyOf('2:16v4')).to.equal('window');
    expect(strategyOf('1:8v8')).to.equal('packed');
    expect(strategyOf('2:4')).to.equal('decompress');
    expect(strategyOf('4:4v4')).to.equal('dense');
  });

  it('takes large tiles for large outputs and small ones for small', () => {
    const tileOf = (rows: number, n: number) => {
      const plan = choosePlan({rows, shape: [512, n], pattern: parsePattern('8:32v32'), dtype: 'float32',
        epilogue: {activation: 'linear', hasBias: false, prelu: 'none'}}, DEFAULT_LIMITS);
      return plan.kind === 'gemm' ? [plan.config.tileRows, plan.config.tileCols] : [];
    };
    expect(tileOf(4096, 4096)).to.deep.equal([128, 64]);
    expect(tileOf(512, 1024)).to.deep.equal([128, 64]);
    expect(tileOf(512, 512)).to.deep.equal([32, 32]);
    expect(tileOf(64, 256)).to.deep.equal([32, 32]);
    expect(tileOf(20, 100_000)).to.deep.equal([32, 32]);
  });

  it('covers every kept row exactly once with its splits', () => holdsFor(({shape: [k], pattern}, plan) => {
    const keptRows = keptRowCount(k, pattern);
    if (plan.kind === 'gemv') {
      expect(plan.keptPerSplit % 4).to.equal(0);
      expect(plan.splits * plan.keptPerSplit).to.be.at.least(keptRows);
      expect((plan.splits - 1) * plan.keptPerSplit).to.be.below(keptRows);
    } else {
      const steps = blockCount(plan.config, k, keptRows);
      const {keptPerBlock, chunksPerWindow} = gemmGeometry(plan.config);
      if (chunksPerWindow === 1) {
        expect(steps * keptPerBlock).to.be.at.least(keptRows);
        expect((steps - 1) * keptPerBlock).to.be.below(keptRows);
      }
      expect(plan.splits * plan.stepsPerSplit).to.be.at.least(steps);
      expect((plan.splits - 1) * plan.stepsPerSplit).to.be.below(steps);
    }
  }));

  it('leaves bias and activation to the second pass exactly where k is split', () => holdsFor(({epilogue}, plan) => {
    expect(plan.config.partial).to.equal(plan.splits > 1);
    expect(plan.config.epilogue).to.deep.equal(plan.splits > 1 ?
      {activation: 'linear', hasBias: false, prelu: 'none'} : epilogue);
  }));

  it('dispatches as many workgroups as there are tiles, no dimension too large', () => {
    holdsFor(({rows, shape: [, n]}, plan) => {
      const program = plan.kind === 'gemv' ? new NMGemvProgram(plan.config, rows, n, plan.splits, MAX_DISPATCH) :
        new NMGemmProgram(plan.config, rows, n, plan.splits, MAX_DISPATCH);
      const [tileRows, tileCols] = plan.kind === 'gemv' ?
        [plan.config.rows, gemvGeometry(plan.config).tileCols] : [plan.config.tileRows, plan.config.tileCols];
      const tiles = Math.ceil(rows / tileRows) * Math.ceil(n / tileCols);
      const [x, y, z] = program.dispatch;
      expect(Math.max(x, y, z)).to.be.at.most(MAX_DISPATCH);
      expect(x * y).to.be.at.least(tiles);
      expect(x * (y - 1)).to.be.below(tiles);
      expect(z).to.equal(plan.splits);
    });
  });

  it('names every shader after all that its text depends on', () => {
    const texts = new Map<string, string>();
    holdsFor(({rows, shape: [, n]}, plan) => {
      const program = plan.kind === 'gemv' ? new NMGemvProgram(plan.config, rows, n, plan.splits, MAX_DISPATCH) :
        new NMGemmProgram(plan.config, rows, n, plan.splits, MAX_DISPATCH);
      const {shaderKey, uniforms, variableNames, variableComponents, outputComponent, workgroupSize} = program;
      const text = JSON.stringify([uniforms, variableNames, variableComponents, outputComponent, workgroupSize,
        program.getUserCode()]);
      expect(texts.get(shaderKey) ?? text).to.equal(text);
      texts.set(shaderKey, text);
    });
  });
});
