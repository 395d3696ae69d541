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
import type {EpilogueConfig} from '../../kernels/webgpu/epilogue.js';
import {gemmGeometry} from '../../kernels/webgpu/gemm_config.js';
import {NMGemmProgram} from '../../kernels/webgpu/nm_gemm_webgpu.js';
import {NMGemvProgram} from '../../kernels/webgpu/nm_gemv_webgpu.js';
import {webgpuKernels} from '../../kernels/webgpu/nm_sparse_mat_mul.js';
import {choosePlan, type MatMulProblem} from '../../kernels/webgpu/select.js';
import {partShapes} from '../../src/format/nm_sparse_matrix.js';
import {indexBits} from '../../src/format/pack.js';
import {formatPattern, keptRowCount, parsePattern} from '../../src/format/pattern.js';
import {watchDevice} from '../support/backend.js';
import {mulberry32, seed} from '../support/random.js';

const LINEAR: EpilogueConfig = {activation: 'linear', hasBias: false, prelu: 'none'};

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
  [1, 8], [1, 7], [2, 8], [4, 7], [5, 8], [16, 7], [20, 40], [20, 39], [512, 512], [512, 511], [576, 1024],
  [1024, 1024], [1024, 1023],
];

/** The null device has the first of these; of a valid shader that needs more memory it says how much that is. */
const LIMITS = [
  {maxComputeWorkgroupStorageSize: 16384, maxComputeInvocationsPerWorkgroup: 256},
  {maxComputeWorkgroupStorageSize: 32768, maxComputeInvocationsPerWorkgroup: 1024},
  {maxComputeWorkgroupStorageSize: 49152, maxComputeInvocationsPerWorkgroup: 1024},
];

/** The backend as the kernels see it: with the limits of a certain device. */
function withLimits(backend: WebGPUBackend, limits: Record<string, number>): WebGPUBackend {
  const device = {limits: {...limits, maxComputeWorkgroupsPerDimension: 65535}};
  return new Proxy(backend, {
    get: (target, name) => {
      const value = name === 'device' ? device : Reflect.get(target, name) as unknown;
      return typeof value === 'function' ? value.bind(target) as unknown : value;
    },
  });
}

function kernel(name: string): KernelFunc {
  return webgpuKernels((problem, {device}) => choosePlan(problem, device.limits))
      .find(({kernelName}) => kernelName === name)!.kernelFunc;
}

/** Runs a kernel and fails with what the device says of it. */
async function validate(
    backend: WebGPUBackend, name: string, shapes: Record<string, [number[], 'float32' | 'int32']>,
    attrs: MatrixAttrs | MatMulAttrs, limits: Record<string, number>, what: string): Promise<void> {
  const inputs = Object.fromEntries(Object.entries(shapes).map(
    ([input, [shape, dtype]]) => [input, backend.makeTensorInfo(shape, dtype)]));
  backend.device.pushErrorScope('validation');
  const output = kernel(name)({inputs, attrs: toAttrs(attrs), backend: withLimits(backend, limits)}) as TensorInfo;
  [...Object.values(inputs), output].forEach(({dataId}) => backend.disposeData(dataId));
  backend.ensureCommandEncoderReady();
  backend.endComputePassEncoder();
  backend.submitQueue();
  const error = await backend.device.popErrorScope();
  if (error) {
    throw new Error(`${what}: ${error.message}`);
  }
}

/** As Dawn counts it. */
const TOO_MUCH_MEMORY = /total use of workgroup storage \((\d+) bytes\)/;

function validateMatMul(
    backend: WebGPUBackend, {rows, shape, pattern, dtype, epilogue}: MatMulProblem,
    limits: Record<string, number>): Promise<void> {
  const [k, n] = shape;
  const parts = partShapes(shape, pattern, dtype);
  return validate(backend, NM_SPARSE_MAT_MUL, {
    x: [[rows, k], 'float32'],
    values: [parts.values, dtype === 'float16' ? 'int32' : 'float32'],
    indices: [parts.indices, 'int32'],
    ...(epilogue.hasBias && {bias: [[n], 'float32']}),
    ...(epilogue.prelu !== 'none' && {preluActivationWeights: [[epilogue.prelu === 'scalar' ? 1 : n], 'float32']}),
  }, {pattern, shape, dtype, activation: epilogue.activation, leakyreluAlpha: 0.2}, limits,
  `${rows}×${k} by ${n} columns, ${formatPattern(pattern)} ${dtype} ${JSON.stringify(epilogue)}`);
}

/** Bytes of the workgroup variables a shader declares, each in whole vec4s, as Dawn counts. */
function declaredWorkgroupBytes(code: string): number {
  const bytes: Record<string, number> = {'vec4<f32>': 16, 'f32': 4, 'u32': 4};
  const declared = [...code.matchAll(/var<workgroup>\s+\w+\s*:\s*array<(.*),\s*(\d+)>;/g)];
  expect(declared).to.have.length(code.split('var<workgroup>').length - 1);
  return declared.reduce((sum, [, type, length]) => sum + 16 * Math.ceil((bytes[type] * Number(length)) / 16), 0);
}

/** Of problems that are alike in what `key` gives, one. */
function oneOfEach(problems: MatMulProblem[], key: (problem: MatMulProblem) => unknown): MatMulProblem[] {
  return [...new Map(problems.map(problem => [JSON.stringify(key(problem)), problem])).values()];
}

/** One problem for each shader that the grid leads to. */
function distinctShaders(problems: MatMulProblem[], limits: typeof LIMITS[0]): MatMulProblem[] {
  return oneOfEach(problems, problem => {
    const {config, splits} = choosePlan(problem, limits);
    return [config, splits > 1 && problem.epilogue];
  });
}

/** One problem, another in each run, for each kind of shader: those that differ by N and M alone are of one kind. */
function eachKind(problems: MatMulProblem[], limits: typeof LIMITS[0]): MatMulProblem[] {
  const random = mulberry32(seed);
  const shuffled = problems.map(problem => ({problem, place: random()})).sort((a, b) => a.place - b.place);
  return oneOfEach(shuffled.map(({problem}) => problem), problem => {
    const {config} = choosePlan(problem, limits);
    const {n, m, vectorLength} = config.pattern;
    return {...config, pattern: [vectorLength, n === m, indexBits(config.pattern)]};
  });
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
  const known = new Set<string>();

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
      await validateMatMul(backend, {rows: 3, shape: [6, 6], pattern: parsePattern('3:6'), dtype: 'float32',
        epilogue: LINEAR}, LIMITS[0]);
    } catch (error) {
      refused = error;
    } finally {
      NMGemvProgram.prototype.getUserCode = getUserCode;
    }
    expect(String(refused)).to.include('unresolved');
  });

  for (const limits of LIMITS) {
    const {maxComputeWorkgroupStorageSize: bytes, maxComputeInvocationsPerWorkgroup: threads} = limits;
    for (const vectorLengths of [[1, 2], [4, 8], [16, 32], [64, 128]]) {
      it(`is valid within ${bytes / 1024} KB and ${threads} threads, L=${vectorLengths.join(' and ')}`, async () => {
        const problems = distinctShaders(grid(vectorLengths, [LINEAR]), limits);
        const validated = new Set(eachKind(problems, limits));
        for (const problem of problems) {
          const plan = choosePlan(problem, limits);
          const {rows, shape: [, n]} = problem;
          const program = plan.kind === 'gemv' ? new NMGemvProgram(plan.config, rows, n, plan.splits, 65535) :
            new NMGemmProgram(plan.config, rows, n, plan.splits, 65535);
          const declared = declaredWorkgroupBytes(program.getUserCode());
          expect(declared).to.be.at.most(bytes);
          if (plan.kind === 'gemm') {
            expect(declared, JSON.stringify(plan.config)).to.equal(gemmGeometry(plan.config).workgroupBytes);
          }
          const key = JSON.stringify(plan.config);
          if (validated.has(problem) && !known.has(key)) {
            known.add(key);
            const counted = declared > LIMITS[0].maxComputeWorkgroupStorageSize ? declared : undefined;
            await validateMatMul(backend, problem, limits).catch((error: Error) => {
              if (Number(TOO_MUCH_MEMORY.exec(error.message)?.[1]) !== counted) {
                throw error;
              }
            });
          }
        }
      });
    }
  }

  it('is valid with every epilogue', async () => {
    const problems = distinctShaders(
      grid([4], EPILOGUES, ['2:4']).concat(grid([1], EPILOGUES, ['2:4'])).filter(({rows}) => rows < 30), LIMITS[0]);
    for (const problem of problems) {
      await validateMatMul(backend, problem, LIMITS[0]);
    }
  });

  it('is valid that decompresses or gathers', async () => {
    for (const pattern of PATTERNS.flatMap(pattern => [1, 2, 4, 64].map(length => `${pattern}v${length}`))) {
      for (const n of [8, 7]) {
        for (const dtype of ['float32', 'float16'] as const) {
          const shape: [number, number] = [40, n];
          const attrs = {pattern: parsePattern(pattern), shape, dtype};
          const parts = partShapes(shape, attrs.pattern, dtype);
          await validate(backend, NM_DECOMPRESS, {
            values: [parts.values, dtype === 'float16' ? 'int32' : 'float32'], indices: [parts.indices, 'int32'],
          }, attrs, LIMITS[0], `decompress ${pattern} ${n} ${dtype}`);
          await validate(backend, NM_GATHER_KEPT, {dense: [shape, 'float32'], indices: [parts.indices, 'int32']},
            attrs, LIMITS[0], `gather ${pattern} ${n} ${dtype}`);
        }
      }
      expect(keptRowCount(40, parsePattern(pattern))).to.be.above(0);
    }
  });
});
