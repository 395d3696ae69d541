/**
 * explainModel(): what runs for each converted layer of a model, and why. A layer stored sparsely may still be
 * multiplied densely, if that is faster or the backend has no sparse kernel. The report shows this.
 */
import {backend, getBackend, ready, type KernelBackend} from '@tensorflow/tfjs-core';
import type {layers, LayersModel} from '@tensorflow/tfjs-layers';
import {wasmRunsDense} from '../../kernels/wasm/nm_sparse_mat_mul.js';
import {webglRunsDense} from '../../kernels/webgl/nm_sparse_mat_mul.js';
import {isWebGPUBackend} from '../../kernels/webgpu/is_webgpu_backend.js';
import {describePlan, isDenseFallback, type MatMulProblem} from '../../kernels/webgpu/plan.js';
import {formatPattern} from '../format/pattern.js';
import type {StorageDtype} from '../format/storage.js';
import {NMDense} from '../layers/nm_dense.js';
import {chooserOf, type PlanChooser} from '../tuning/choose.js';
import {checkCount, checkOptionNames, describeValue} from '../util/options.js';

export interface ExplainOptions {
  /** How many samples are predicted at once, as in predict(x, {batchSize}). Default 1. */
  rows?: number;
  /** Whether to print the report, a line per layer. Default true. */
  print?: boolean;
}

export interface ExplainedLayer {
  /** The layer's path: its name, behind those of the models it is nested in. */
  name: string;
  pattern: string;
  dtype: StorageDtype;
  /** [k, n] of the kernel. */
  shape: [number, number];
  /** Bytes of values and offsets. */
  bytes: number;
  /** Rows of the product: samples × positions (time steps). Sizes that the model leaves open count as 1. */
  rows: number;
  /** What runs: on WebGPU the plan. */
  plan: string;
  why: string;
  /** Whether W is decompressed and multiplied densely. */
  denseFallback: boolean;
  /** Predicted ms on the GPU; on WebGPU only. */
  predictedMs?: number;
}

export interface ExplainReport {
  backend: string;
  layers: ExplainedLayer[];
}

/**
 * Says for each converted layer of a model what would run on the active backend, and why. Runs nothing.
 *
 * ```ts
 * await explainModel(model, {rows: 32});
 * // dense_1  8:32v32 float16, 64×512, 4 KB: gemm, packed, … (predicted fastest of 96, bound by launch)
 * ```
 *
 * @throws Error (as a rejection) naming the argument that is wrong.
 */
export async function explainModel(model: LayersModel, options: ExplainOptions = {}): Promise<ExplainReport> {
  if (!Array.isArray(model?.layers)) {
    throw new Error(`explainModel: model is ${describeValue(model)}; give a tf.LayersModel.`);
  }
  checkOptionNames('explainModel', options, ['rows', 'print'], '{rows: 32}');
  const {rows = 1, print = true} = options;
  checkCount('explainModel', 'rows', rows);
  await ready();
  const active = backend();
  const chooser = isWebGPUBackend(active) ? chooserOf(active) : undefined;
  const explained = sparseLayers(model, '').map(({layer, path}) => explainLayer(layer, path, rows, chooser));
  if (print) {
    explained.forEach(each => console.log(line(each)));
  }
  return {backend: getBackend(), layers: explained};
}

interface Container {
  layers?: layers.Layer[];
  layer?: Container & layers.Layer;
}

function sparseLayers(container: Container, prefix: string): {layer: NMDense; path: string}[] {
  return (container.layers ?? []).flatMap(layer => {
    const path = prefix + layer.name;
    const {layer: wrapped, layers: inner} = layer as Container;
    return layer instanceof NMDense ? [{layer, path}] :
      sparseLayers({layers: inner ?? wrapped?.layers ?? (wrapped instanceof NMDense ? [wrapped] : [])}, `${path}/`);
  });
}

function explainLayer(
    layer: NMDense, name: string, samples: number, chooser: PlanChooser | undefined): ExplainedLayer {
  const {shape, pattern, dtype, bytes} = layer.matrix();
  const [node] = layer.inboundNodes as unknown as {inputShapes: (number | null)[][]}[];
  const positions = (node?.inputShapes[0] ?? []).slice(1, -1);
  const rows = positions.reduce((product: number, size) => product * (size ?? 1), samples);
  const about = {name, pattern: formatPattern(pattern), dtype, shape, bytes, rows};
  if (!chooser) {
    const backendName = getBackend();
    const {values, indices} = layer.matrix();
    const matrix = {shape, pattern, dtype};
    const direct = backendName === 'cpu' ||
        (backendName === 'webgl' && !webglRunsDense(values, indices, matrix)) ||
        (backendName === 'wasm' && !wasmRunsDense(backend() as KernelBackend, rows, values, indices, matrix));
    return {
      ...about, denseFallback: !direct, plan: direct ? 'the kept values alone' : 'W expanded once, then tf.matMul',
      why: `the kernel of backend '${backendName}'`,
    };
  }
  const problem: MatMulProblem = {
    rows, shape, pattern, dtype,
    epilogue: {activation: layer.fusedActivation() ?? 'linear', hasBias: layer.bias !== null, prelu: 'none'},
  };
  const {plan, prediction, why} = chooser.explain(problem);
  return {
    ...about, plan: describePlan(plan), why, denseFallback: isDenseFallback(plan),
    predictedMs: prediction.ms,
  };
}

function line({name, pattern, dtype, shape, bytes, rows, plan, why, denseFallback}: ExplainedLayer): string {
  return `${name}  ${pattern} ${dtype}, ${shape.join('×')}, ${bytes} bytes, ${rows} rows: ` +
      `${denseFallback ? 'dense fallback, ' : ''}${plan} (${why})`;
}
