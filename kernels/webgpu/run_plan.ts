/**
 * The kernels registered on the WebGPU backend: a plan becomes dispatches, and those an output. Each program has a file
 * of its own (gemm, gemv, passes). Only types come from tfjs-backend-webgpu, so this package loads where that backend
 * is not installed.
 *
 * A float32 tensor may lie in a buffer of int32: tfjs's cast from int32 or bool to float32 changes the tensor's dtype
 * and leaves the data alone. tfjs declares a binding by what its buffer holds, so shaders convert all floats they read.
 */
import type {KernelConfig, KernelFunc, TensorInfo} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import type {StorageDtype} from '../../src/format/storage.js';
import {keptRowCount, type NMPattern} from '../../src/format/pattern.js';
import {PreparedProgram} from '../../src/tfjs/prepared_program.js';
import {
  fromAttrs, NM_DECOMPRESS, NM_GATHER_KEPT, NM_SPARSE_MAT_MUL, type MatMulAttrs, type MatMulInputs, type MatrixAttrs,
} from '../contract.js';
import {compiledPlan, type ChooseInterimPlan} from './compiled_plan.js';
import {NMGemmProgram} from './gemm/nm_gemm_webgpu.js';
import {NMGemvProgram} from './gemv/nm_gemv_webgpu.js';
import {NMDecompressProgram} from './passes/decompress_webgpu.js';
import {NMGatherKeptProgram} from './passes/gather_kept_webgpu.js';
import {NMReduceProgram} from './passes/reduce_webgpu.js';
import {NMTransposeProgram} from './passes/transpose_webgpu.js';
import {isDenseFallback, transposedX, wordsPerGroup, type MatMulProblem, type Plan} from './plan.js';
import type {ProductSize} from './program_util.js';
import {runPasses, type Pass} from './run_passes.js';
import {isDense, type CompressedConfig} from './wgsl/compressed.js';
import {epilogueUniformData, type EpilogueConfig} from './wgsl/epilogue.js';

type Args = Parameters<KernelFunc>[0];

/**
 * Selects the plan of a product. The caller passes in choosePlan of src/tuning, which has the measurements of this
 * device, so the kernels do not depend on how plans are selected.
 */
export type ChoosePlan = (problem: MatMulProblem, backend: WebGPUBackend) => Plan;

function nmSparseMatMul(
    {inputs, attrs, backend: anyBackend}: Args, choose: ChoosePlan, chooseInterim?: ChooseInterimPlan): TensorInfo {
  const {x, values, indices, bias, preluActivationWeights} = inputs as unknown as MatMulInputs;
  const {pattern, shape, dtype, activation, leakyreluAlpha} = fromAttrs<MatMulAttrs>(attrs);
  const backend = anyBackend as unknown as WebGPUBackend;
  const [rows] = x.shape;
  const slopes = preluActivationWeights ? preluActivationWeights.shape.reduce((a, b) => a * b, 1) : 0;
  const epilogue: EpilogueConfig = {
    activation,
    hasBias: bias !== undefined,
    prelu: slopes === 0 ? 'none' : slopes === 1 ? 'scalar' : 'column',
  };
  const epilogueTensors = [bias, preluActivationWeights].filter(tensor => tensor !== undefined);
  const problem = {rows, shape, pattern, dtype, epilogue};
  const run = (plan: Plan) => {
    const programs = programsOf(plan, problem, leakyreluAlpha, backend.device);
    const left: Input = programs.transpose ? {program: programs.transpose, inputs: [x], output: 'x transposed'} : x;
    const right: Input = programs.decompress ?
      {program: programs.decompress, inputs: [values, indices], output: 'the dense W'} : values;
    const weights = isDense(plan.config) ? [right] : [right, indices];
    const sums: Pass = {program: programs.product, inputs: [left, ...weights], output: 'partial sums of y'};
    return runPasses('nmSparseMatMul', backend, programs.reduce ?
      {program: programs.reduce, inputs: [sums, ...epilogueTensors], output: 'y'} :
      {program: programs.product, inputs: [...sums.inputs, ...epilogueTensors], output: 'y'});
  };
  const plan = choose(problem, backend);
  return run(chooseInterim ? compiledPlan(plan, problem, backend, {run, chooseInterim}) : plan);
}

type Input = Pass['inputs'][number];

/** The programs of one plan. */
interface Programs {
  transpose?: PreparedProgram;
  decompress?: PreparedProgram;
  product: PreparedProgram;
  /** With several splits: adds them up, and has the epilogue. */
  reduce?: PreparedProgram;
}

interface Made {
  problem: MatMulProblem;
  leakyreluAlpha: number;
  device: GPUDevice;
  programs: Programs;
}

/** The programs of plans. A plan is selected for one problem, so it nearly always runs the same ones. */
const made = new WeakMap<Plan, Made>();

function programsOf(plan: Plan, problem: MatMulProblem, leakyreluAlpha: number, device: GPUDevice): Programs {
  const known = made.get(plan);
  if (known?.device === device && known.leakyreluAlpha === leakyreluAlpha && isSame(known.problem, problem)) {
    return known.programs;
  }
  const programs = makePrograms(plan, problem, leakyreluAlpha, device.limits.maxComputeWorkgroupsPerDimension);
  made.set(plan, {problem, leakyreluAlpha, device, programs});
  return programs;
}

/** Whether two problems run the same programs by the same plan. */
function isSame(a: MatMulProblem, b: MatMulProblem): boolean {
  return a.rows === b.rows && a.shape[0] === b.shape[0] && a.shape[1] === b.shape[1] && a.dtype === b.dtype &&
    a.pattern.n === b.pattern.n && a.pattern.m === b.pattern.m && a.pattern.vectorLength === b.pattern.vectorLength &&
    a.epilogue.activation === b.epilogue.activation && a.epilogue.hasBias === b.epilogue.hasBias &&
    a.epilogue.prelu === b.epilogue.prelu;
}

function makePrograms(
    plan: Plan, {rows, shape, pattern, dtype, epilogue}: MatMulProblem, leakyreluAlpha: number, maxDispatch: number):
    Programs {
  const [depth, cols] = shape;
  const expand = isDenseFallback(plan);
  const size = {rows, ...matrixSize(shape, pattern), ...(expand ? {keptRows: depth} : {})};
  const {kMajor, stride} = transposedX(plan, rows);
  const epilogueData = epilogueUniformData(epilogue, leakyreluAlpha);
  const isPartial = plan.splits > 1;
  const product = plan.kind === 'gemv' ? new NMGemvProgram(plan.config, size, plan.splits, maxDispatch) :
      new NMGemmProgram(plan.config, size, plan.splits, maxDispatch);
  const transpose = new NMTransposeProgram(rows, depth, stride, maxDispatch);
  const reduce = new NMReduceProgram(rows, cols, plan.splits, epilogue);
  return {
    ...(kMajor && {transpose: new PreparedProgram(transpose, transpose.uniformData())}),
    ...(expand && {decompress: decompressProgram({pattern, shape, dtype}, maxDispatch)}),
    product: new PreparedProgram(product, [...product.uniformData(), ...(isPartial ? [] : epilogueData)]),
    ...(isPartial && {reduce: new PreparedProgram(reduce, [...reduce.uniformData(), ...epilogueData])}),
  };
}

function matrixSize([depth, cols]: [number, number], pattern: NMPattern): Omit<ProductSize, 'rows'> {
  return {
    depth, cols, keptRows: keptRowCount(depth, pattern), wordsPerGroup: wordsPerGroup({shape: [depth, cols], pattern}),
  };
}

function compressedConfig([, n]: [number, number], pattern: NMPattern, dtype: StorageDtype): CompressedConfig {
  return {pattern, dtype, alignedCols: n % 4 === 0};
}

function decompressProgram({pattern, shape, dtype}: MatrixAttrs, maxDispatch: number): PreparedProgram {
  const program = new NMDecompressProgram(
    compressedConfig(shape, pattern, dtype), matrixSize(shape, pattern), maxDispatch);
  return new PreparedProgram(program, program.uniformData());
}

function nmDecompress({inputs, attrs, backend: anyBackend}: Args): TensorInfo {
  const {values, indices} = inputs as {values: TensorInfo; indices: TensorInfo};
  const backend = anyBackend as unknown as WebGPUBackend;
  const program = decompressProgram(
    fromAttrs<MatrixAttrs>(attrs), backend.device.limits.maxComputeWorkgroupsPerDimension);
  return runPasses('decompress', backend, {program, inputs: [values, indices], output: 'the dense W'});
}

function nmGatherKept({inputs, attrs, backend: anyBackend}: Args): TensorInfo {
  const {dense, indices} = inputs as {dense: TensorInfo; indices: TensorInfo};
  const {pattern, shape, dtype} = fromAttrs<MatrixAttrs>(attrs);
  const program = new NMGatherKeptProgram(compressedConfig(shape, pattern, dtype), matrixSize(shape, pattern));
  return runPasses('nmGatherKept', anyBackend as unknown as WebGPUBackend, {
    program: new PreparedProgram(program, program.uniformData()), inputs: [dense, indices], output: 'the kept entries',
  });
}

/**
 * The kernels of a WebGPU backend that is registered under `backendName`.
 * @param chooseInterim without it, products wait until their plan is compiled.
 */
export function webgpuKernels(
    choose: ChoosePlan, {backendName = 'webgpu', chooseInterim}:
    {backendName?: string; chooseInterim?: ChooseInterimPlan} = {}): KernelConfig[] {
  return [
    {kernelName: NM_SPARSE_MAT_MUL, backendName, kernelFunc: args => nmSparseMatMul(args, choose, chooseInterim)},
    {kernelName: NM_DECOMPRESS, backendName, kernelFunc: nmDecompress},
    {kernelName: NM_GATHER_KEPT, backendName, kernelFunc: nmGatherKept},
  ];
}
