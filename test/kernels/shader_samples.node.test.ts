/**
 * docs/shaders shows the WGSL of one program of each kind, as the generators write it. A change of a generator shows
 * there, line by line:
 *
 *   UPDATE_SHADERS=1 npm test -- --only node-cpu shader_samples
 */
import {existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {expect} from 'chai';
import {candidatePlans} from '../../kernels/webgpu/candidates.js';
import {NMGemmProgram} from '../../kernels/webgpu/gemm/nm_gemm_webgpu.js';
import {NMGemvProgram} from '../../kernels/webgpu/gemv/nm_gemv_webgpu.js';
import {NMDecompressProgram} from '../../kernels/webgpu/passes/decompress_webgpu.js';
import {NMGatherKeptProgram} from '../../kernels/webgpu/passes/gather_kept_webgpu.js';
import {NMReduceProgram} from '../../kernels/webgpu/passes/reduce_webgpu.js';
import {NMTransposeProgram} from '../../kernels/webgpu/passes/transpose_webgpu.js';
import {describePlan, wordsPerGroup, type Plan} from '../../kernels/webgpu/plan.js';
import {keptRowCount, parsePattern} from '../../src/format/pattern.js';
import {DEFAULT_LIMITS} from '../support/reference.js';

const FOLDER = 'docs/shaders';
const MAX_DISPATCH = 65535;
const SHAPE: [number, number] = [1024, 1024];
const EPILOGUE = {activation: 'relu', hasBias: true, prelu: 'none'} as const;

function sizeOf(rows: number, text: string) {
  const pattern = parsePattern(text);
  const [depth, cols] = SHAPE;
  return {
    rows, depth, cols, keptRows: keptRowCount(depth, pattern), wordsPerGroup: wordsPerGroup({shape: SHAPE, pattern}),
  };
}

/** The plan with the shortest program among those wanted, and its WGSL. */
function sampleOf(rows: number, text: string, wanted: (plan: Plan) => boolean): {title: string; code: string} {
  const problem = {rows, shape: SHAPE, pattern: parsePattern(text), dtype: 'float32', epilogue: EPILOGUE} as const;
  const samples = candidatePlans({...problem, shape: SHAPE}, DEFAULT_LIMITS).filter(wanted).map(plan => {
    const size = sizeOf(rows, text);
    const program = plan.kind === 'gemv' ? new NMGemvProgram(plan.config, size, plan.splits, MAX_DISPATCH) :
      new NMGemmProgram(plan.config, size, plan.splits, MAX_DISPATCH);
    return {title: `${rows} × ${SHAPE.join(' × ')}, ${text}: ${describePlan(plan)}`, code: program.getUserCode()};
  });
  return samples.reduce((a, b) => b.code.length < a.code.length ? b : a);
}

function gemm(text: string, strategy: string, rows = 2048) {
  return sampleOf(rows, text, ({kind, config, splits}) =>
    kind === 'gemm' && config.strategy === strategy && splits === 1 && config.slices === 1);
}

const SPARSE = {pattern: parsePattern('8:32v32'), dtype: 'float32', alignedCols: true} as const;

const SAMPLES: Record<string, () => {title: string; code: string}> = {
  'gemm_dense': () => gemm('1:1', 'dense'),
  'gemm_packed': () => gemm('8:32v32', 'packed'),
  'gemm_window': () => gemm('8:32v32', 'window'),
  'gemm_spread': () => gemm('2:4', 'spread'),
  'gemm_row_major': () => gemm('8:32v32', 'packed', 32),
  'gemv': () => sampleOf(1, '8:32v32', ({kind}) => kind === 'gemv'),
  'gemv_spread': () => sampleOf(4, '2:4', ({kind}) => kind === 'gemv'),
  'transpose': () => ({
    title: 'x [128, 1024]', code: new NMTransposeProgram(128, 1024, 128, MAX_DISPATCH).getUserCode(),
  }),
  'decompress': () => ({
    title: '8:32v32', code: new NMDecompressProgram(SPARSE, sizeOf(1, '8:32v32'), MAX_DISPATCH).getUserCode(),
  }),
  'gather_kept': () => ({
    title: '8:32v32', code: new NMGatherKeptProgram(SPARSE, sizeOf(1, '8:32v32')).getUserCode(),
  }),
  'reduce': () => ({title: 'with bias and relu', code: new NMReduceProgram(128, 1024, 4, EPILOGUE).getUserCode()}),
};

/** Without blank lines, indented by what stands in braces. */
function tidy(code: string): string {
  let depth = 0;
  return code.split('\n').map(line => line.trim()).filter(line => line !== '').map(line => {
    const opens = (line.match(/[{(]/g) ?? []).length - (line.match(/[)}]/g) ?? []).length;
    const indent = '  '.repeat(Math.max(0, depth - (/^[)}]/.test(line) ? 1 : 0)));
    depth += opens;
    return indent + line;
  }).join('\n') + '\n';
}

describe('the shaders in docs/shaders', () => {
  for (const [name, make] of Object.entries(SAMPLES)) {
    it(`show ${name} as it is`, () => {
      const {title, code} = make();
      const file = join(FOLDER, `${name}.wgsl`);
      const text = `// ${name}: ${title}\n${tidy(code)}`;
      if (process.env.UPDATE_SHADERS) {
        mkdirSync(FOLDER, {recursive: true});
        writeFileSync(file, text);
      }
      expect(existsSync(file) ? readFileSync(file, 'utf8') : '(missing)').to.equal(text);
    });
  }

  it('are all that is there', () => {
    expect(readdirSync(FOLDER).sort()).to.deep.equal(Object.keys(SAMPLES).map(name => `${name}.wgsl`).sort());
  });
});
