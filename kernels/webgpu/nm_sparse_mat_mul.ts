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
import {NMDecompressProgram} from './decompress_webgpu.js';
import {epilogueUniformData, type EpilogueConfig} from './epilogue.js';
import {NMGatherKeptProgram} from './gather_kept_webgpu.js';
import {NMGemmProgram} from './nm_gemm_webgpu.js';
import {gemvGeometry, NMGemvProgram} from './nm_gemv_webgpu.js';
import {NMReduceProgram} from './reduce_webgpu.js';
import {wordsPerGroup, type MatMulProblem, type Plan} from './select.js';
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
  const size = preluActivationWeights ? preluActivationWeights.shape.reduce((a, b) => a * b, 1) : 0;
  const epilogue: EpilogueConfig = {
    activation,
    hasBias: bias !== undefined,
    prelu: size === 0 ? 'none' : size === 1 ? 'scalar' : 'column',
  };
  const epilogueTensors = [bias, preluActivationWeights].filter(tensor => tensor !== undefined);
  const epilogueData = epilogueUniformData(epilogue, leakyreluAlpha);
  const plan = choose({rows, shape, pattern, dtype, epilogue}, backend);
  const common = {
    rows, cols, depth, keptRows: keptRowCount(depth, pattern), wordsPerGroup: wordsPerGroup({shape, pattern}),
  };
  const ownEpilogue = plan.splits > 1 ? {tensors: [], data: []} : {tensors: epilogueTensors, data: epilogueData};

  let y: TensorInfo;
  if (plan.kind === 'gemv') {
    const program = new NMGemvProgram(plan.config, rows, cols, plan.splits, maxDispatch);
    const uniforms = NMGemvProgram.uniformData(
      {...common, keptPerSplit: plan.keptPerSplit, colTiles: Math.ceil(cols / gemvGeometry(plan.config).tileCols)});
    y = backend.runWebGPUProgram(
      program, [x, values, indices, ...ownEpilogue.tensors], 'float32', [...uniforms, ...ownEpilogue.data]);
  } else {
    const {tileRows, tileCols, strategy} = plan.config;
    const stride = Math.ceil(rows / tileRows) * tileRows;
    const most = backend.device.limits.maxStorageBufferBindingSize;
    if (4 * stride * depth > most) {
      // The bind group would fail silently, and the result be whatever lay in the buffer.
      throw new Error(`nmSparseMatMul: x [${rows},${depth}] takes ${4 * stride * depth} bytes transposed; ` +
          `this device binds ${most} at most. Multiply fewer rows at a time.`);
    }
    const transpose = new NMTransposeProgram(rows, depth, stride, maxDispatch);
    const xByDepth = backend.runWebGPUProgram(transpose, [x], 'float32', transpose.uniformData());
    const program = new NMGemmProgram(plan.config, rows, cols, plan.splits, maxDispatch);
    const uniforms = NMGemmProgram.uniformData(
      {...common, xStride: stride / 4, colTiles: Math.ceil(cols / tileCols), stepsPerSplit: plan.stepsPerSplit});
    const weights = strategy === 'dense' ? [values] : [values, indices];
    y = backend.runWebGPUProgram(
      program, [xByDepth, ...weights, ...ownEpilogue.tensors], 'float32', [...uniforms, ...ownEpilogue.data]);
    backend.disposeData(xByDepth.dataId);
  }
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
  const {pattern, shape, dtype} = fromAttrs<MatrixAttrs>(attrs);
  const backend = anyBackend as unknown as WebGPUBackend;
  const [depth, cols] = shape;
  const program = new NMDecompressProgram({pattern, dtype, alignedCols: cols % 4 === 0}, depth, cols);
  return backend.runWebGPUProgram(program, [values, indices], 'float32',
    NMDecompressProgram.uniformData(cols, depth, keptRowCount(depth, pattern), wordsPerGroup({shape, pattern})));
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
