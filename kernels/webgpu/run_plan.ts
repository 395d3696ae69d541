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
import {
  fromAttrs, NM_DECOMPRESS, NM_GATHER_KEPT, NM_SPARSE_MAT_MUL, type MatMulAttrs, type MatMulInputs, type MatrixAttrs,
} from '../contract.js';
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

function nmSparseMatMul({inputs, attrs, backend: anyBackend}: Args, choose: ChoosePlan): TensorInfo {
  const {x, values, indices, bias, preluActivationWeights} = inputs as unknown as MatMulInputs;
  const {pattern, shape, dtype, activation, leakyreluAlpha} = fromAttrs<MatMulAttrs>(attrs);
  const backend = anyBackend as unknown as WebGPUBackend;
  const maxDispatch = backend.device.limits.maxComputeWorkgroupsPerDimension;
  const [rows] = x.shape;
  const [depth, cols] = shape;
  const slopes = preluActivationWeights ? preluActivationWeights.shape.reduce((a, b) => a * b, 1) : 0;
  const epilogue: EpilogueConfig = {
    activation,
    hasBias: bias !== undefined,
    prelu: slopes === 0 ? 'none' : slopes === 1 ? 'scalar' : 'column',
  };
  const epilogueTensors = [bias, preluActivationWeights].filter(tensor => tensor !== undefined);
  const epilogueData = epilogueUniformData(epilogue, leakyreluAlpha);
  const plan = choose({rows, shape, pattern, dtype, epilogue}, backend);
  const expand = isDenseFallback(plan);
  const size = {rows, ...matrixSize(shape, pattern), ...(expand ? {keptRows: depth} : {})};
  const {kMajor, stride} = transposedX(plan, rows);
  const left = kMajor ? transpose(x, stride, maxDispatch) : x;
  const right = expand ? decompress(values, indices, {pattern, shape, dtype}, maxDispatch) : values;
  const program = plan.kind === 'gemv' ? new NMGemvProgram(plan.config, size, plan.splits, maxDispatch) :
      new NMGemmProgram(plan.config, size, plan.splits, maxDispatch);
  const isPartial = plan.splits > 1;
  const product: Pass = {
    program,
    inputs: [left, right, ...(isDense(plan.config) ? [] : [indices]), ...(isPartial ? [] : epilogueTensors)],
    uniforms: [...program.uniformData(), ...(isPartial ? [] : epilogueData)],
    output: isPartial ? 'partial sums of y' : 'y',
  };
  if (!isPartial) {
    return runPasses('nmSparseMatMul', backend, product);
  }
  const reduction = new NMReduceProgram(rows, cols, plan.splits, epilogue);
  return runPasses('nmSparseMatMul', backend, {
    program: reduction,
    inputs: [product, ...epilogueTensors],
    uniforms: [...reduction.uniformData(), ...epilogueData],
    output: 'y',
  });
}

function matrixSize([depth, cols]: [number, number], pattern: NMPattern): Omit<ProductSize, 'rows'> {
  return {
    depth, cols, keptRows: keptRowCount(depth, pattern), wordsPerGroup: wordsPerGroup({shape: [depth, cols], pattern}),
  };
}

function compressedConfig([, n]: [number, number], pattern: NMPattern, dtype: StorageDtype): CompressedConfig {
  return {pattern, dtype, alignedCols: n % 4 === 0};
}

function nmDecompress({inputs, attrs, backend: anyBackend}: Args): TensorInfo {
  const {values, indices} = inputs as {values: TensorInfo; indices: TensorInfo};
  const backend = anyBackend as unknown as WebGPUBackend;
  return runPasses('decompress', backend, decompress(
    values, indices, fromAttrs<MatrixAttrs>(attrs), backend.device.limits.maxComputeWorkgroupsPerDimension));
}

function transpose(x: TensorInfo, stride: number, maxDispatch: number): Pass {
  const [rows, depth] = x.shape;
  const program = new NMTransposeProgram(rows, depth, stride, maxDispatch);
  return {program, inputs: [x], uniforms: program.uniformData(), output: 'x transposed'};
}

function decompress(
    values: TensorInfo, indices: TensorInfo, {pattern, shape, dtype}: MatrixAttrs, maxDispatch: number): Pass {
  const program = new NMDecompressProgram(
    compressedConfig(shape, pattern, dtype), matrixSize(shape, pattern), maxDispatch);
  return {program, inputs: [values, indices], uniforms: program.uniformData(), output: 'the dense W'};
}

function nmGatherKept({inputs, attrs, backend: anyBackend}: Args): TensorInfo {
  const {dense, indices} = inputs as {dense: TensorInfo; indices: TensorInfo};
  const {pattern, shape, dtype} = fromAttrs<MatrixAttrs>(attrs);
  const program = new NMGatherKeptProgram(compressedConfig(shape, pattern, dtype), matrixSize(shape, pattern));
  return runPasses('nmGatherKept', anyBackend as unknown as WebGPUBackend, {
    program, inputs: [dense, indices], uniforms: program.uniformData(), output: 'the kept entries',
  });
}

/** The kernels of a WebGPU backend that is registered under `backendName`. */
export function webgpuKernels(choose: ChoosePlan, backendName = 'webgpu'): KernelConfig[] {
  return [
    {kernelName: NM_SPARSE_MAT_MUL, backendName, kernelFunc: args => nmSparseMatMul(args, choose)},
    {kernelName: NM_DECOMPRESS, backendName, kernelFunc: nmDecompress},
    {kernelName: NM_GATHER_KEPT, backendName, kernelFunc: nmGatherKept},
  ];
}
