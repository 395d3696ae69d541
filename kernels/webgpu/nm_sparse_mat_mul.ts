/**
 * The kernels registered on the WebGPU backend: inputs in, programs chosen and run, temporaries released. The programs
 * themselves are one a file beside this one. Only types come from tfjs-backend-webgpu, so importing this package does
 * not require that backend to be installed.
 *
 * A float32 tensor may lie in a buffer of int32: tfjs's cast from int32 or bool to float32 changes the tensor's dtype
 * and leaves the data alone. tfjs declares a binding by what its buffer holds, so shaders convert all floats they read.
 */
import type {KernelConfig, KernelFunc, TensorInfo} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {keptRowCount} from '../../src/format/pattern.js';
import {
  fromAttrs, NM_DECOMPRESS, NM_GATHER_KEPT, NM_SPARSE_MAT_MUL, type MatMulAttrs, type MatMulInputs, type MatrixAttrs,
} from '../contract.js';
import {isDense} from './compressed_wgsl.js';
import {NMDecompressProgram} from './decompress_webgpu.js';
import {epilogueUniformData, type EpilogueConfig} from './epilogue.js';
import {NMGatherKeptProgram} from './gather_kept_webgpu.js';
import {NMGemmProgram} from './nm_gemm_webgpu.js';
import {NMGemvProgram} from './nm_gemv_webgpu.js';
import {NMReduceProgram} from './reduce_webgpu.js';
import {largestBinding, transposedX, wordsPerGroup, type MatMulProblem, type Plan} from './select.js';
import {NMTransposeProgram} from './transpose_webgpu.js';

type Args = Parameters<KernelFunc>[0];

/**
 * Which programs run a product. Given from above (src/tuning knows what was measured on this device), so that the
 * kernels need not know how a choice is made.
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
  const problem = {rows, shape, pattern, dtype, epilogue};
  const plan = choose(problem, backend);
  const [bytes, most] = [largestBinding(plan, problem), backend.device.limits.maxStorageBufferBindingSize];
  if (bytes > most) {
    // The bind group would fail silently, and the result be whatever lay in the buffer.
    throw new Error(`nmSparseMatMul: x [${rows},${depth}] times W [${depth},${cols}] needs a buffer of ` +
        `${bytes} bytes; this device binds ${most} at most. Multiply fewer rows at a time.`);
  }
  const expand = plan.kind === 'gemm' && plan.expand;
  const size = {
    rows, cols, depth, keptRows: expand ? depth : keptRowCount(depth, pattern),
    wordsPerGroup: wordsPerGroup({shape, pattern}),
  };
  const {kMajor, stride} = transposedX(plan, rows);
  const temporary: TensorInfo[] = [];
  const keep = (tensor: TensorInfo) => {
    temporary.push(tensor);
    return tensor;
  };
  const left = kMajor ? keep(transpose(backend, x, stride)) : x;
  const right = expand ? keep(decompress(backend, values, indices, {pattern, shape, dtype})) : values;
  const program = plan.kind === 'gemv' ? new NMGemvProgram(plan.config, size, plan.splits, maxDispatch) :
      new NMGemmProgram(plan.config, size, plan.splits, maxDispatch);
  const own = plan.splits > 1 ? {tensors: [], data: []} : {tensors: epilogueTensors, data: epilogueData};
  const y = backend.runWebGPUProgram(
    program, [left, right, ...(isDense(plan.config) ? [] : [indices]), ...own.tensors], 'float32',
    [...program.uniformData(), ...own.data]);
  temporary.forEach(({dataId}) => backend.disposeData(dataId));
  if (plan.splits === 1) {
    return y;
  }
  const reduced = backend.runWebGPUProgram(
    new NMReduceProgram(rows, cols, epilogue), [y, ...epilogueTensors], 'float32',
    [...NMReduceProgram.uniformData(cols, plan.splits), ...epilogueData]);
  backend.disposeData(y.dataId);
  return reduced;
}

function nmDecompress({inputs, attrs, backend: anyBackend}: Args): TensorInfo {
  const {values, indices} = inputs as {values: TensorInfo; indices: TensorInfo};
  return decompress(anyBackend as unknown as WebGPUBackend, values, indices, fromAttrs<MatrixAttrs>(attrs));
}

function transpose(backend: WebGPUBackend, x: TensorInfo, stride: number): TensorInfo {
  const [rows, depth] = x.shape;
  const program = new NMTransposeProgram(rows, depth, stride, backend.device.limits.maxComputeWorkgroupsPerDimension);
  return backend.runWebGPUProgram(program, [x], 'float32', program.uniformData());
}

function decompress(
    backend: WebGPUBackend, values: TensorInfo, indices: TensorInfo, {pattern, shape, dtype}: MatrixAttrs): TensorInfo {
  const [depth, cols] = shape;
  const size = {depth, cols, keptRows: keptRowCount(depth, pattern), wordsPerGroup: wordsPerGroup({shape, pattern})};
  const program = new NMDecompressProgram({pattern, dtype, alignedCols: cols % 4 === 0}, size,
    backend.device.limits.maxComputeWorkgroupsPerDimension);
  return backend.runWebGPUProgram(program, [values, indices], 'float32', program.uniformData());
}

function nmGatherKept({inputs, attrs, backend: anyBackend}: Args): TensorInfo {
  const {dense, indices} = inputs as {dense: TensorInfo; indices: TensorInfo};
  const {pattern, shape, dtype} = fromAttrs<MatrixAttrs>(attrs);
  const backend = anyBackend as unknown as WebGPUBackend;
  const [depth, cols] = shape;
  const config = {pattern, dtype, alignedCols: cols % 4 === 0};
  const program = new NMGatherKeptProgram(config, keptRowCount(depth, pattern), cols);
  return backend.runWebGPUProgram(program, [dense, indices], 'float32',
    NMGatherKeptProgram.uniformData(cols, depth, wordsPerGroup({shape, pattern})));
}

export function webgpuKernels(choose: ChoosePlan): KernelConfig[] {
  return [
    {kernelName: NM_SPARSE_MAT_MUL, backendName: 'webgpu', kernelFunc: args => nmSparseMatMul(args, choose)},
    {kernelName: NM_DECOMPRESS, backendName: 'webgpu', kernelFunc: nmDecompress},
    {kernelName: NM_GATHER_KEPT, backendName: 'webgpu', kernelFunc: nmGatherKept},
  ];
}
