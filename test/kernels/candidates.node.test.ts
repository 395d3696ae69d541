/**
 * The plans on offer: what candidates.ts and gemm/geometry.ts promise of each of them, for drawn problems of any size
 * and pattern. Nothing runs here, so sizes that no test machine could multiply are among them.
 */
import {expect} from 'chai';
import fc from 'fast-check';
import {ACTIVATIONS} from '../../kernels/contract.js';
import {NMDecompressProgram} from '../../kernels/webgpu/passes/decompress_webgpu.js';
import {NO_EPILOGUE, type EpilogueConfig} from '../../kernels/webgpu/wgsl/epilogue.js';
import {gemmGeometry} from '../../kernels/webgpu/gemm/geometry.js';
import {NMGemmProgram} from '../../kernels/webgpu/gemm/nm_gemm_webgpu.js';
import {NMGemvProgram} from '../../kernels/webgpu/gemv/nm_gemv_webgpu.js';
import {gemvGeometry, type GemvConfig} from '../../kernels/webgpu/gemv/config.js';
import {candidatePlans, type ProgramLimits} from '../../kernels/webgpu/candidates.js';
import {
  largestBinding, type MatMulProblem, type Plan, planName, transposedX, wordsPerGroup,
} from '../../kernels/webgpu/plan.js';
import {NMTransposeProgram} from '../../kernels/webgpu/passes/transpose_webgpu.js';
import {indexBits} from '../../src/format/pack.js';
import {keptRowCount, parsePattern, VECTOR_LENGTHS} from '../../src/format/pattern.js';
import {kindOf, PLAN_KINDS, type PlanKind} from '../support/products.js';
import {mulberry32, seed} from '../support/random.js';
import {between, DEFAULT_LIMITS, pick} from '../support/reference.js';

const MAX_DISPATCH = 65535;
const BINDS_ANYTHING: ProgramLimits = {
  ...DEFAULT_LIMITS, maxStorageBufferBindingSize: 2 ** 40, maxBufferSize: 2 ** 40,
};

const limits: fc.Arbitrary<ProgramLimits> = fc.record({
  maxComputeWorkgroupStorageSize: fc.constantFrom(16384, 32768, 49152),
  maxComputeInvocationsPerWorkgroup: fc.constantFrom(256, 1024),
  maxComputeWorkgroupSizeX: fc.constantFrom(256, 512, 1024),
  maxStorageBufferBindingSize: fc.constantFrom(2 ** 27, 2 ** 20, 2 ** 31 - 4),
  maxBufferSize: fc.constantFrom(2 ** 28, 2 ** 21),
});

const epilogues: fc.Arbitrary<EpilogueConfig> = fc.record({
  activation: fc.constantFrom(...ACTIVATIONS), hasBias: fc.boolean(), prelu: fc.constant('none' as const),
});

/** Any size, small ones as often as large ones. */
const sizes = (most: number) => fc.oneof(
  fc.integer({min: 1, max: Math.min(40, most)}), fc.integer({min: 1, max: Math.min(1000, most)}),
  fc.integer({min: 1, max: most}));

/** Any pattern, short windows as often as long ones. */
const patterns = fc.oneof(fc.integer({min: 1, max: 32}), fc.integer({min: 1, max: 256})).chain(m => fc.record({
  n: fc.integer({min: 1, max: m}), m: fc.constant(m), vectorLength: fc.constantFrom(...VECTOR_LENGTHS),
})).map(parsePattern);

const problems: fc.Arbitrary<MatMulProblem> = fc.record({
  rows: sizes(20_000),
  shape: fc.tuple(sizes(30_000), sizes(30_000)),
  pattern: patterns,
  dtype: fc.constantFrom('float32' as const, 'float16' as const),
  epilogue: epilogues,
});

function holdsForOffers(check: (problem: MatMulProblem, plans: Plan[], within: ProgramLimits) => void): void {
  fc.assert(fc.property(problems, limits, (problem, within) => {
    check(problem, candidatePlans(problem, within), within);
  }), {seed, numRuns: 300});
}

/** Every plan on offer; what it throws tells which. */
function holdsForPlans(check: (problem: MatMulProblem, plan: Plan, within: ProgramLimits) => void): void {
  holdsForOffers((problem, plans, within) => plans.forEach(plan => {
    try {
      check(problem, plan, within);
    } catch (error) {
      throw new Error(`${planName(plan)}: ${(error as Error).message}`, {cause: error});
    }
  }));
}

/** Some plans of each offer, for what takes long. */
function holdsForSome(check: (problem: MatMulProblem, plan: Plan, within: ProgramLimits) => void): void {
  const random = mulberry32(seed);
  holdsForOffers((problem, plans, within) => {
    for (let i = 0; i < 4; ++i) {
      check(problem, pick(random, plans), within);
    }
  });
}

function keptRowsOf(plan: Plan, {shape: [k], pattern}: MatMulProblem): number {
  return kindOf(plan) === 'expand' ? k : keptRowCount(k, pattern);
}

function programOf(plan: Plan, problem: MatMulProblem): NMGemvProgram | NMGemmProgram {
  const {rows, shape: [depth, cols]} = problem;
  const size = {rows, cols, depth, keptRows: keptRowsOf(plan, problem), wordsPerGroup: wordsPerGroup(problem)};
  return plan.kind === 'gemv' ? new NMGemvProgram(plan.config, size, plan.splits, MAX_DISPATCH) :
    new NMGemmProgram(plan.config, size, plan.splits, MAX_DISPATCH);
}

/** What a program is given at run time, by name. */
function uniformsOf(program: NMGemvProgram | NMGemmProgram): Record<string, number> {
  const names = program.uniforms.split(',').map(each => each.split(':')[0].trim());
  return Object.fromEntries(program.uniformData().map(({data: [value]}, i) => [names[i], value]));
}

/** The sizes of all that a plan's programs write, as the programs themselves have it. */
function outputShapes(plan: Plan, problem: MatMulProblem): number[][] {
  const {rows, shape: [k, n], pattern, dtype} = problem;
  const {kMajor, stride} = transposedX(plan, rows);
  const config = {pattern, dtype, alignedCols: n % 4 === 0};
  return [
    ...(plan.splits > 1 ? [programOf(plan, problem).outputShape] : []),
    ...(kMajor ? [new NMTransposeProgram(rows, k, stride, MAX_DISPATCH).outputShape] : []),
    ...(kindOf(plan) === 'expand' ? [new NMDecompressProgram(config, {
      depth: k, cols: n, keptRows: keptRowCount(k, pattern), wordsPerGroup: wordsPerGroup(problem),
    }, MAX_DISPATCH).outputShape] : []),
  ];
}

/** A vec4 of sums a thread, for some rows at once. */
function gemvNeeds(config: GemvConfig): {threads: number; workgroupBytes: number} {
  return {threads: config.threads, workgroupBytes: 16 * config.threads * gemvGeometry(config).rowsAtOnce};
}

function isWhole(...numbers: number[]): void {
  if (!numbers.every(number => Number.isInteger(number) && number > 0)) {
    throw new Error(`${numbers.join(', ')} are not all whole`);
  }
}

describe('the plans on offer', () => {
  it('are a GEMV for up to 64 rows and GEMMs from 9 rows on, and never none', () => {
    holdsForOffers((problem, plans) => {
      expect(plans).to.not.be.empty;
      const {rows} = problem;
      const all = candidatePlans(problem, BINDS_ANYTHING);
      const offered = all.map(({kind}) => kind);
      const isSparse = all.some(plan => plan.kind === 'gemm' && !plan.expand);
      if (rows < 9) {
        expect(offered).to.not.include('gemm');
      } else if (rows <= (isSparse ? 64 : 256)) {
        expect(offered).to.include.members(['gemv', 'gemm']);
      } else {
        expect(offered).to.include('gemm').and.not.to.include('gemv');
      }
    });
  });

  it('number at most 600', () => holdsForOffers((_problem, plans) => {
    expect(plans.length).to.be.at.most(600);
  }));

  it('have row counts that fit x: GEMV up to 16, GEMM tiles half full', () => holdsForPlans(({rows}, plan) => {
    if (plan.kind === 'gemv') {
      const wanted = [1, 2, 4, 8].find(size => size >= rows) ?? 16;
      expect(plan.config.rows).to.equal(wanted);
      expect(plan.config.xLayout).to.be.oneOf(plan.config.rows >= 4 ? ['row-major', 'k-major'] : ['row-major']);
      expect(transposedX(plan, rows)).to.deep.equal({
        kMajor: plan.config.xLayout === 'k-major', stride: Math.ceil(rows / plan.config.rows) * plan.config.rows,
      });
    } else {
      expect(plan.config.xLayout).to.be.oneOf(
        rows <= 32 ? ['row-major'] : rows > 1024 ? ['k-major'] : ['row-major', 'k-major']);
      expect(transposedX(plan, rows)).to.deep.equal({
        kMajor: plan.config.xLayout === 'k-major',
        stride: Math.ceil(rows / plan.config.tileRows) * plan.config.tileRows,
      });
      // At most half of a tile is of rows that don't exist, but for small ones; and many rows take no small ones.
      expect(plan.config.tileRows).to.satisfy((tile: number) => tile <= 32 || tile < 2 * rows);
      expect(plan.config.tileRows).to.satisfy((tile: number) => tile >= 32 || rows <= 2 * tile);
    }
  }));

  it('include every strategy that the pattern supports', () => {
    fc.assert(fc.property(problems, problem => {
      const {rows, pattern: {n, m, vectorLength}} = problem;
      const offered = candidatePlans(problem, BINDS_ANYTHING);
      const kinds = new Set(offered.filter(({kind}) => kind === 'gemm').map(kindOf));
      if (rows < 9) {
        expect(kinds.size).to.equal(0);
      } else if (n === m) {
        expect([...kinds]).to.deep.equal(['dense']);
      } else if (vectorLength < 4) {
        const spread: PlanKind[] = m <= 16 && [1, 2, 4].includes(n) && 16 % m === 0 ? ['spread'] : [];
        expect([...kinds]).to.have.members(['expand', ...spread]);
      } else {
        // Windows of many rows need more workgroup memory, or registers, than there may be.
        const window: PlanKind[] = m <= 32 || kinds.has('window') ? ['window'] : [];
        expect([...kinds]).to.have.members(['packed', 'expand', ...window]);
      }
    }), {seed, numRuns: 400});
  });

  it('have names that tell them apart', () => holdsForOffers((_problem, plans) => {
    expect(new Set(plans.map(planName)).size).to.equal(plans.length);
  }));

  it('are the same at every call, and the same for every epilogue', () => holdsForOffers((problem, plans, within) => {
    expect(candidatePlans(problem, within)).to.deep.equal(plans);
    const plain = candidatePlans({...problem, epilogue: NO_EPILOGUE}, within);
    expect(plain.map(planName)).to.deep.equal(plans.map(planName));
  }));

  it('are more where limits are larger', () => holdsForOffers((problem, plans, within) => {
    const larger = {
      ...within, maxComputeWorkgroupStorageSize: 65536, maxComputeInvocationsPerWorkgroup: 1024,
      maxComputeWorkgroupSizeX: 1024,
    };
    expect(candidatePlans(problem, larger).map(planName)).to.include.members(plans.map(planName));
  }));

  it('stay within the device limits, whatever the pattern', () => holdsForPlans((problem, plan, within) => {
    const {threads, workgroupBytes} = plan.kind === 'gemm' ? gemmGeometry(plan.config) : gemvNeeds(plan.config);
    expect(threads).to.be.at.most(Math.min(within.maxComputeInvocationsPerWorkgroup, within.maxComputeWorkgroupSizeX));
    expect(programOf(plan, problem).workgroupSize).to.deep.equal([threads, 1, 1]);
    expect(workgroupBytes).to.be.at.most(within.maxComputeWorkgroupStorageSize);
  }));

  it('stay within the default limits for every M, with whole windows per K-tile', () => {
    const random = mulberry32(seed);
    const problem = {rows: 4096, shape: [4096, 4096] as [number, number], dtype: 'float32' as const,
      epilogue: NO_EPILOGUE};
    for (let m = 1; m <= 256; ++m) {
      const some = Array.from({length: 5}, () => between(random, 1, m));
      for (const n of new Set([1, 2, 3, m - 1, m, ...some].filter(n => n > 0 && n <= m))) {
        const vectorLength = pick(random, VECTOR_LENGTHS);
        for (const plan of candidatePlans({...problem, pattern: {n, m, vectorLength}}, DEFAULT_LIMITS)) {
          if (plan.kind !== 'gemm') {
            continue;
          }
          const {workgroupBytes, keptPerBlock, wRows, xRows} = gemmGeometry(plan.config);
          if (workgroupBytes > 16384 || ![plan.config.block, keptPerBlock, xRows].every(Number.isInteger) ||
              wRows % plan.config.unroll !== 0) {
            throw new Error(`${n}:${m}v${vectorLength} is offered ${planName(plan)}`);
          }
        }
      }
    }
  });

  it('bind no temporary buffer that is too large', () => {
    holdsForOffers((problem, plans, {maxStorageBufferBindingSize, maxBufferSize}) => plans.forEach(plan => {
      const bytes = Math.max(0, ...outputShapes(plan, problem).map(shape => 4 * shape.reduce((a, b) => a * b, 1)));
      expect(largestBinding(plan, problem), planName(plan)).to.equal(bytes);
      expect(bytes, planName(plan)).to.be.at.most(Math.min(maxStorageBufferBindingSize, maxBufferSize));
    }));
  });

  it('read x row-major if x transposed exceeds the buffer limit', () => {
    const problem = {rows: 1030, shape: [33_000, 4] as [number, number], dtype: 'float32' as const,
      epilogue: NO_EPILOGUE};
    for (const pattern of ['2:4', '8:32v32', '4:4']) {
      const plans = candidatePlans({...problem, pattern: parsePattern(pattern)}, DEFAULT_LIMITS);
      expect(plans, pattern).to.not.be.empty;
      expect(plans.every(plan => plan.kind === 'gemv' && !transposedX(plan, 1030).kMajor), pattern)
        .to.equal(true);
    }
  });

  it('have tiles of whole register tiles, and load passes of whole rows', () => holdsForPlans((_problem, plan) => {
    if (plan.kind === 'gemv') {
      const {slices, tileCols, turnRows, rowsAtOnce} = gemvGeometry(plan.config);
      isWhole(slices, tileCols, turnRows, plan.config.rows / rowsAtOnce);
      isWhole(Math.log2(slices)); // the sums meet in a tree
      expect(slices).to.be.at.least(rowsAtOnce); // one for each row whose sums meet at once
      expect(plan.config.threads === 256 || plan.config.rows <= 2).to.equal(true);
      return;
    }
    const {splits} = plan;
    const {strategy, tileRows, tileCols, threadRows, threadCols, block, unroll, buffers, slices, xPad, pattern} =
        plan.config;
    const geometry = gemmGeometry(plan.config);
    const {threadsX, threadsY, patchX, patchY, groupsInTile, span, keptPerBlock, wRows, xRows, indexWords} = geometry;
    const threads = geometry.sliceThreads;
    // Registers: for the step loaded ahead, and beside slices.
    expect(geometry.loadsPerThread).to.be.at.most(11);
    expect(slices === 1 || (splits === 1 && threadRows * threadCols * wRows <= 512)).to.equal(true);
    expect(strategy !== 'packed' || pattern.vectorLength >= threadCols).to.equal(true);
    isWhole(threadRows / 4, threadCols / 4, tileRows / threadRows, tileCols / threadCols, block, buffers, slices);
    isWhole(threads, threadsX, threadsY, patchX, patchY, groupsInTile, keptPerBlock, xRows, geometry.workgroupBytes);
    expect(threadsX * threadsY).to.equal(threads);
    expect(geometry.threads).to.equal(threads * slices);
    // Patches of threads cover the tile; lanes zigzag over pairs of columns.
    isWhole(threadsX / patchX, threadsY / patchY, patchX / 2);
    // Whole rows of x and of W a turn.
    isWhole(threads / (tileRows / 4), threads / (tileCols / 4));
    // Columns of a thread lie in one span, those of a span in one group or in whole ones.
    isWhole(span / threadCols, tileCols / span);
    if (strategy === 'packed' || strategy === 'window') {
      const {vectorLength} = pattern;
      expect(vectorLength).to.be.at.least(4);
      isWhole(Math.max(span, vectorLength) / Math.min(span, vectorLength));
      isWhole(Math.max(threadCols, vectorLength) / Math.min(threadCols, vectorLength));
      expect(groupsInTile).to.equal(Math.max(1, tileCols / vectorLength));
    }
    if (strategy === 'packed') {
      const xRowsATurn = threads / (tileRows / 4);
      expect(Math.max(block, xRowsATurn) % Math.min(block, xRowsATurn)).to.equal(0);
      expect(xRows).to.equal(block * groupsInTile);
    } else if (strategy === 'window') {
      expect([xRows, keptPerBlock]).to.deep.equal([block * pattern.m, block * pattern.n]);
      expect(indexWords % threads).to.equal(0);
      expect(indexWords).to.be.at.least(groupsInTile * keptPerBlock);
    } else if (strategy === 'spread') {
      const {n, m, vectorLength} = pattern;
      expect(vectorLength).to.be.below(4);
      expect([xRows, wRows, keptPerBlock]).to.deep.equal([block, block, (block / m) * n]);
      expect(32 / indexBits(pattern) % keptPerBlock, 'offsets of a step lie in one word').to.equal(0);
    }
    expect(strategy === 'spread' || wRows === keptPerBlock).to.equal(true);
    expect(wRows % unroll, 'unroll').to.equal(0);
    isWhole(unroll);
    expect([0, 1]).to.include(xPad);
  }));

  it('are for the matrix as it is stored, or for a dense float32 one', () => holdsForPlans((problem, plan) => {
    const {pattern: {n, m}, dtype, shape: [, cols]} = problem;
    const {config} = plan;
    expect(PLAN_KINDS).to.include(kindOf(plan));
    expect(config.alignedCols).to.equal(cols % 4 === 0);
    expect(config.dtype).to.equal(kindOf(plan) === 'expand' ? 'float32' : dtype);
    // All that is dense shares its shaders, and none of them reads indices.
    const dense = n === m || kindOf(plan) === 'expand';
    expect(config.pattern).to.deep.equal(dense ? {n: 1, m: 1, vectorLength: 1} : problem.pattern);
    expect(programOf(plan, problem).variableNames.includes('indices')).to.equal(!dense);
    if (plan.kind === 'gemm') {
      expect(plan.config.strategy === 'dense').to.equal(dense);
      expect(plan.expand).to.equal(dense && n < m);
    }
  }));

  it('cover every kept row exactly once with their splits, none of which is empty', () => {
    holdsForPlans((problem, plan) => {
      const keptRows = keptRowsOf(plan, problem);
      const {splits} = plan;
      const uniforms = uniformsOf(programOf(plan, problem));
      expect(uniforms.keptRows).to.equal(keptRows);
      isWhole(splits);
      if (plan.kind === 'gemv') {
        const {keptPerSplit} = uniforms;
        expect(keptPerSplit % 8).to.equal(0);
        expect(splits).to.equal(Math.ceil(keptRows / keptPerSplit));
        return;
      }
      const {steps, fullSteps} = uniforms; // of each slice of each split
      const {slices} = plan.config;
      const {keptPerBlock} = gemmGeometry(plan.config);
      const all = Math.ceil(keptRows / keptPerBlock);
      expect(splits).to.equal(Math.ceil(all / (slices * steps)));
      // Steps that are taken without a look at where the rows end: whole ones, in the last split as in any.
      expect(fullSteps).to.be.within(0, steps);
      if (fullSteps > 0) {
        expect(slices * ((splits - 1) * steps + fullSteps) * keptPerBlock).to.be.at.most(keptRows);
      }
    });
  });

  it('leave bias and activation to the second pass exactly where k is split', () => {
    holdsForPlans(({epilogue}, {config, splits}) => {
      expect(config.partial).to.equal(splits > 1);
      expect(config.epilogue).to.deep.equal(splits > 1 ? NO_EPILOGUE : epilogue);
    });
  });

  it('dispatch as many workgroups as there are tiles, no dimension too large', () => {
    holdsForPlans((problem, plan) => {
      const {rows, shape: [, n]} = problem;
      const [tileRows, tileCols] = plan.kind === 'gemv' ?
        [plan.config.rows, gemvGeometry(plan.config).tileCols] : [plan.config.tileRows, plan.config.tileCols];
      const tiles = Math.ceil(rows / tileRows) * Math.ceil(n / tileCols);
      const [x, y, z] = programOf(plan, problem).dispatch;
      expect(Math.max(x, y, z)).to.be.at.most(MAX_DISPATCH);
      expect(x * y).to.be.at.least(tiles);
      expect(x * (y - 1)).to.be.below(tiles);
      expect(z).to.equal(plan.splits);
    });
  });

  it('have shader keys that determine the shader text', () => {
    const texts = new Map<string, string>();
    holdsForSome((problem, plan) => {
      const program = programOf(plan, problem);
      const {shaderKey, uniforms, variableNames, variableComponents, outputComponent, workgroupSize} = program;
      const text = JSON.stringify([uniforms, variableNames, variableComponents, outputComponent, workgroupSize,
        program.getUserCode()]);
      expect(texts.get(shaderKey) ?? text).to.equal(text);
      texts.set(shaderKey, text);
    });
  });

  it('have shaders whose inner loops divide a K-tile evenly', () => holdsForSome((problem, plan) => {
    const code = programOf(plan, problem).getUserCode();
    const loops = [...code.matchAll(/for \(var kk = 0u; kk < ([^;]+)u; kk \+= ([^)]+)u\)/g)];
    expect(loops.length).to.be.at.most(2);
    for (const [, end, turn] of loops) {
      isWhole(Number(end), Number(end) / Number(turn));
    }
    expect(code).to.not.match(/undefined|NaN|\d\.\d+u/);
  }));
});
