/**
 * Every shader the kernels can come up with is valid WGSL and fits its bindings. Compiling hundreds of them for a GPU,
 * let alone a software one, takes minutes; Dawn's null backend validates everything and executes nothing. The kernels
 * run there as they are, through a WebGPUBackend of its own, so tfjs's header and bind groups are part of the check.
 */
import {env} from '@tensorflow/tfjs-core';
import {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {expect} from 'chai';
import type {KernelFunc, TensorInfo} from '@tensorflow/tfjs-core';
import {create} from 'webgpu';
import {
  ACTIVATIONS, NM_DECOMPRESS, NM_GATHER_KEPT, NM_SPARSE_MAT_MUL, toAttrs, type MatMulAttrs, type MatrixAttrs,
} from '../../kernels/contract.js';
import {NO_EPILOGUE, type EpilogueConfig} from '../../kernels/webgpu/wgsl/epilogue.js';
import type {GemmConfig} from '../../kernels/webgpu/gemm/config.js';
import {gemmGeometry} from '../../kernels/webgpu/gemm/geometry.js';
import {NMGemmProgram} from '../../kernels/webgpu/gemm/nm_gemm_webgpu.js';
import {NMGemvProgram} from '../../kernels/webgpu/gemv/nm_gemv_webgpu.js';
import {gemvGeometry} from '../../kernels/webgpu/gemv/config.js';
import {webgpuKernels} from '../../kernels/webgpu/run_plan.js';
import {candidatePlans, type ProgramLimits} from '../../kernels/webgpu/candidates.js';
import {type MatMulProblem, type Plan, planName, wordsPerGroup} from '../../kernels/webgpu/plan.js';
import {partShapes} from '../../src/format/nm_sparse_matrix.js';
import {indexBits} from '../../src/format/pack.js';
import {formatPattern, keptRowCount, parsePattern} from '../../src/format/pattern.js';
import {watchDevice} from '../support/backend.js';
import {kindOf} from '../support/products.js';
import {mulberry32, seed} from '../support/random.js';
import {DEFAULT_LIMITS} from '../support/reference.js';

/** All that epilogues can be. */
const EPILOGUES: EpilogueConfig[] = ACTIVATIONS.flatMap(activation => [true, false].flatMap(hasBias =>
  (activation === 'prelu' ? ['scalar', 'column'] as const : ['none'] as const).map(
    prelu => ({activation, hasBias, prelu}))));

/** Short and long windows, dense ones, the paper's four ratios; offsets of 2, 4 and 8 bits. */
const PATTERNS = [
  '1:1', '1:2', '2:2', '2:3', '2:4', '3:4', '1:8', '5:8', '4:16', '13:16', '4:32', '8:32', '12:32', '16:32', '31:32',
  '32:32', '1:33', '20:40', '64:64', '1:256', '100:256', '255:256', '256:256',
];

/** [rows, n]: each GEMV, and each tile; whole vec4s of columns and not. */
const OUTPUTS: Array<[number, number]> = [
  [1, 8], [1, 7], [2, 8], [4, 7], [5, 8], [16, 7], [20, 40], [20, 39], [512, 512], [512, 511],
];

/** The null device has the first of these. Of the others count those shaders that need so much. */
const LIMITS: ProgramLimits[] = [
  DEFAULT_LIMITS,
  ...[32768, 49152].map(bytes => ({
    ...DEFAULT_LIMITS, maxComputeWorkgroupStorageSize: bytes, maxComputeInvocationsPerWorkgroup: 1024,
    maxComputeWorkgroupSizeX: 1024,
  })),
];
const VECTOR_LENGTHS = [[[1, 2], [4, 8], [16, 32], [64, 128]], [[1, 2, 4, 8], [16, 32, 64, 128]], [[4, 8, 16, 32, 64]]];

/** Shaders validated in a test, drawn anew in each run: there are thousands, and the last ones are large. */
const VALIDATED = [200, 200, 80];

interface Run {
  problem: MatMulProblem;
  plan: Plan;
}

/** The backend as the kernels see it: with the limits of a certain device. */
function withLimits(backend: WebGPUBackend, limits: object): WebGPUBackend {
  const device = {limits: {...limits, maxComputeWorkgroupsPerDimension: 65535}};
  return new Proxy(backend, {
    get: (target, name) => {
      const value = name === 'device' ? device : Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
}

function kernel(name: string, plan?: Plan): KernelFunc {
  return webgpuKernels(() => plan!).find(({kernelName}) => kernelName === name)!.kernelFunc;
}

/** Runs a kernel and fails with what the device says of it. */
async function validate(
    backend: WebGPUBackend, kernelFunc: KernelFunc, shapes: Record<string, [number[], 'float32' | 'int32']>,
    attrs: MatrixAttrs | MatMulAttrs, what: string): Promise<void> {
  const inputs = Object.fromEntries(Object.entries(shapes).map(
    ([input, [shape, dtype]]) => [input, backend.makeTensorInfo(shape, dtype)]));
  backend.device.pushErrorScope('validation');
  const output = kernelFunc({inputs, attrs: toAttrs(attrs), backend: withLimits(backend, LIMITS[2])}) as TensorInfo;
  [...Object.values(inputs), output].forEach(({dataId}) => backend.disposeData(dataId));
  backend.ensureCommandEncoderReady();
  backend.endComputePassEncoder();
  backend.submitQueue();
  const error = await backend.device.popErrorScope();
  if (error) {
    throw new Error(`${what}: ${error.message}`);
  }
}

function validateMatMul(backend: WebGPUBackend, {problem, plan}: Run): Promise<void> {
  const {rows, shape, pattern, dtype, epilogue} = problem;
  const [k, n] = shape;
  const parts = partShapes(shape, pattern, dtype);
  return validate(backend, kernel(NM_SPARSE_MAT_MUL, plan), {
    x: [[rows, k], 'float32'],
    values: [parts.values, dtype === 'float16' ? 'int32' : 'float32'],
    indices: [parts.indices, 'int32'],
    ...(epilogue.hasBias && {bias: [[n], 'float32']}),
    ...(epilogue.prelu !== 'none' && {preluActivationWeights: [[epilogue.prelu === 'scalar' ? 1 : n], 'float32']}),
  }, {pattern, shape, dtype, activation: epilogue.activation, leakyreluAlpha: 0.2},
  `${rows}×${k} by ${n} columns, ${formatPattern(pattern)} ${JSON.stringify(epilogue)}, by ${planName(plan)}`);
}

/** All that Dawn has to say of a valid shader that needs more memory, or more threads, than the null device has. */
const TOO_MUCH_MEMORY = /total use of workgroup storage \((\d+) bytes\)/;
const TOO_MANY_THREADS = /workgroup_size\((\d+), 1, 1\) that exceeds the maximum allowed/;

/** Bytes of the workgroup variables a shader declares, each in whole vec4s, as Dawn counts. */
function declaredWorkgroupBytes(code: string): number {
  const aliases = new Map([...code.matchAll(/alias (\w+) = (.*);/g)].map(([, name, type]) => [name, type]));
  const structs = new Map([...code.matchAll(/struct (\w+) \{([^}]*)\}/g)].map(([, name, members]) =>
    [name, [...members.matchAll(/\w+: (.*),/g)].map(([, type]) => type)]));
  const bytes = (type: string): number => {
    const array = /^array<(.*), (\d+)>$/.exec(type);
    if (array) {
      return Number(array[2]) * bytes(array[1]);
    }
    const alias = aliases.get(type);
    const members = structs.get(type);
    const known = members?.map(bytes).reduce((a, b) => a + b, 0) ?? (alias && bytes(alias)) ??
      ({'vec4<f32>': 16, 'f32': 4, 'u32': 4} as Record<string, number>)[type];
    expect(known, type).to.be.a('number');
    return known as number;
  };
  const declared = [...code.matchAll(/var<workgroup>\s+\w+\s*:\s*(.*);/g)];
  expect(declared).to.have.length(code.split('var<workgroup>').length - 1);
  return declared.reduce((sum, [, type]) => sum + 16 * Math.ceil(bytes(type) / 16), 0);
}

function programOf({problem, plan}: Run): NMGemvProgram | NMGemmProgram {
  const {rows, shape: [depth, cols], pattern} = problem;
  const keptRows = kindOf(plan) === 'expand' ? depth : keptRowCount(depth, pattern);
  const size = {rows, cols, depth, keptRows, wordsPerGroup: wordsPerGroup(problem)};
  return plan.kind === 'gemv' ? new NMGemvProgram(plan.config, size, plan.splits, 65535) :
    new NMGemmProgram(plan.config, size, plan.splits, 65535);
}

/** What a device has to have for it. */
function needsOf({plan}: Run): {threads: number; workgroupBytes: number} {
  if (plan.kind === 'gemm') {
    return gemmGeometry(plan.config);
  }
  const {threads} = plan.config;
  return {threads, workgroupBytes: 16 * threads * gemvGeometry(plan.config).rowsAtOnce};
}

function isWithin(limits: ProgramLimits, {threads, workgroupBytes}: ReturnType<typeof needsOf>): boolean {
  return threads <= limits.maxComputeInvocationsPerWorkgroup && workgroupBytes <= limits.maxComputeWorkgroupStorageSize;
}

/** What decides the shader of the main program. */
function shaderKey({plan}: Run): string {
  return JSON.stringify(plan.config);
}

/** In an order that is another in each run. */
function shuffled<T>(from: readonly T[], salt: number): T[] {
  const random = mulberry32(seed + salt);
  return from.map(each => ({each, place: random()})).sort((a, b) => a.place - b.place).map(({each}) => each);
}

function oneOfEach(runs: Run[], key: (run: Run) => unknown): Run[] {
  return [...new Map(runs.map(run => [JSON.stringify(key(run)), run])).values()];
}

/** Everything on offer for these problems, one for each shader. */
function distinctShaders(problems: MatMulProblem[], limits: ProgramLimits): Run[] {
  const runs = problems.flatMap(problem => candidatePlans(problem, limits).map(plan => ({problem, plan})));
  return oneOfEach(runs, ({problem, plan}) => [plan.config, plan.splits > 1 && problem.epilogue]);
}

/** What shaders have in common that differ by numbers alone. */
function shaderKind({plan: {config}}: Run): unknown {
  const {n, m, vectorLength} = config.pattern;
  const {block, unroll} = config as Partial<GemmConfig>;
  const steps = 'strategy' in config && config.strategy === 'window' ? [Math.min(block!, 2), unroll === 1] : [block];
  return {...config, block: steps, unroll: 0, pattern: [vectorLength, n === m, indexBits(config.pattern)]};
}

/** The same, without what may be combined at will: of these each is in every sample. */
function shaderFamily({plan: {config}}: Run): unknown {
  return 'strategy' in config ? [config.strategy, config.tileRows, config.tileCols, config.buffers, config.slices] :
    [config.rows, config.threads, config.partial, config.pattern.vectorLength];
}

function grid(vectorLengths: number[], epilogues: EpilogueConfig[], patterns = PATTERNS): MatMulProblem[] {
  return OUTPUTS.flatMap(([rows, n]) => [40, 2000].flatMap(k => patterns.flatMap(pattern =>
    vectorLengths.flatMap(vectorLength => (['float32', 'float16'] as const).flatMap(dtype =>
      epilogues.map(epilogue => ({
        rows, shape: [k, n] as [number, number], dtype, epilogue,
        pattern: parsePattern(`${pattern}v${vectorLength}`),
      })))))));
}

describe('every shader', function() {
  this.timeout(120_000);
  let backend: WebGPUBackend;
  const known = new Set<string>(); // tfjs compiles, and Dawn complains, once

  before('make a device that only validates', async () => {
    const gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
    Object.assign(globalThis, {validatingGpu: gpu}); // collected, it would take Node down with it
    const adapter = (await gpu.requestAdapter())!;
    const device = await adapter.requestDevice();
    watchDevice(device);
    backend = new WebGPUBackend(device, adapter.info);
    expect(env().getBool('WEBGPU_CPU_FORWARD')).to.be.false;
  });

  after(() => backend.dispose());

  it('would be refused here if it were wrong', async () => {
    const {getUserCode} = NMGemvProgram.prototype;
    NMGemvProgram.prototype.getUserCode = function() {
      return getUserCode.call(this).replace('lastRow', 'missing');
    };
    let refused: unknown;
    try {
      const problem: MatMulProblem =
          {rows: 1, shape: [6, 6], pattern: parsePattern('3:6'), dtype: 'float32', epilogue: NO_EPILOGUE};
      await validateMatMul(backend, {problem, plan: candidatePlans(problem, LIMITS[0])[0]});
    } catch (error) {
      refused = error;
    } finally {
      NMGemvProgram.prototype.getUserCode = getUserCode;
    }
    expect(String(refused)).to.include('unresolved');
  });

  for (const [l, limits] of LIMITS.entries()) {
    const {maxComputeWorkgroupStorageSize: bytes, maxComputeInvocationsPerWorkgroup: threads} = limits;
    for (const [v, vectorLengths] of VECTOR_LENGTHS[l].entries()) {
      it(`is valid within ${bytes / 1024} KB and ${threads} threads, L=${vectorLengths.join(', ')}`, async () => {
        const patterns = shuffled(PATTERNS, l).slice(0, l === 0 ? PATTERNS.length : 8);
        const problems = grid(vectorLengths, [NO_EPILOGUE], patterns);
        const runs = shuffled(distinctShaders(problems, limits), 10 * l + v)
          .filter(run => !known.has(shaderKey(run)) && (l === 0 || !isWithin(LIMITS[l - 1], needsOf(run))));
        const sample = new Set([...oneOfEach(runs, shaderFamily), ...oneOfEach(runs, shaderKind)]);
        expect(sample.size).to.be.above(20);
        for (const run of [...sample].slice(0, VALIDATED[l])) {
          const {workgroupBytes, threads} = needsOf(run);
          expect(declaredWorkgroupBytes(programOf(run).getUserCode()), planName(run.plan)).to.equal(workgroupBytes);
          expect(workgroupBytes).to.be.at.most(limits.maxComputeWorkgroupStorageSize);
          known.add(shaderKey(run));
          await validateMatMul(backend, run).catch((error: Error) => {
            const counted = [TOO_MUCH_MEMORY, TOO_MANY_THREADS].map(said => Number(said.exec(error.message)?.[1]));
            if (isWithin(LIMITS[0], {threads, workgroupBytes}) ||
                (counted[0] !== workgroupBytes && counted[1] !== threads)) {
              throw error;
            }
          });
        }
      });
    }
  }

  it('is valid with every epilogue', async () => {
    const problems = [4, 1].flatMap(length => grid([length], EPILOGUES, ['2:4'])).filter(({rows}) => rows < 30);
    const runs = shuffled(distinctShaders(problems, LIMITS[0]), 100);
    const sample = oneOfEach(runs, ({plan: {kind, config, splits}, problem: {epilogue}}) =>
      [kind, epilogue, config.alignedCols, splits > 1]);
    expect(sample.length).to.be.at.least(4 * EPILOGUES.length);
    for (const run of sample) {
      await validateMatMul(backend, run);
    }
  });

  it('is valid that decompresses or gathers', async () => {
    for (const pattern of PATTERNS.flatMap(pattern => [1, 2, 4, 64].map(length => `${pattern}v${length}`))) {
      for (const n of [8, 7]) {
        for (const dtype of ['float32', 'float16'] as const) {
          const shape: [number, number] = [40, n];
          const attrs = {pattern: parsePattern(pattern), shape, dtype};
          const parts = partShapes(shape, attrs.pattern, dtype);
          await validate(backend, kernel(NM_DECOMPRESS), {
            values: [parts.values, dtype === 'float16' ? 'int32' : 'float32'], indices: [parts.indices, 'int32'],
          }, attrs, `decompress ${pattern} ${n} ${dtype}`);
          await validate(backend, kernel(NM_GATHER_KEPT), {
            dense: [shape, 'float32'], indices: [parts.indices, 'int32'],
          }, attrs, `gather ${pattern} ${n} ${dtype}`);
        }
      }
      expect(keptRowCount(40, parsePattern(pattern))).to.be.above(0);
    }
  });
});
