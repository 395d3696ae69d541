/**
 * Which configuration is best? Runs many of one program family on a few problems and prints the best of each, checked
 * and timed like the benchmark: `node examples/benchmark/bundle.mjs OUT.mjs examples/benchmark/sweep.ts`, then
 * `node OUT.mjs gemm|gemv`. For people who tune select.ts; users never need it.
 */
import {dispose, engine, matMul, type Tensor, type TensorInfo} from '@tensorflow/tfjs-core';
import type {WebGPUBackend} from '@tensorflow/tfjs-backend-webgpu';
import {NO_EPILOGUE} from '../../kernels/webgpu/epilogue.js';
import {blockCount, gemmGeometry, type GemmConfig} from '../../kernels/webgpu/gemm_config.js';
import {NMGemmProgram} from '../../kernels/webgpu/nm_gemm_webgpu.js';
import {gemvGeometry, NMGemvProgram, type GemvConfig} from '../../kernels/webgpu/nm_gemv_webgpu.js';
import {NMReduceProgram} from '../../kernels/webgpu/reduce_webgpu.js';
import {wordsPerGroup} from '../../kernels/webgpu/select.js';
import {NMTransposeProgram} from '../../kernels/webgpu/transpose_webgpu.js';
import {parsePattern} from '../../src/index.js';
import {setUpDawn} from './dawn.js';
import {largestError, sampleOutputs} from './harness/check.js';
import {drawMatrix, drawX, type MatrixSpec} from './harness/data.js';
import {FULL_EFFORT, Stopwatch} from './harness/measure.js';

const backend: WebGPUBackend = await setUpDawn();
const stopwatch = await Stopwatch.create(backend, FULL_EFFORT);
const limits = backend.device.limits;
console.log(`workgroup memory ${limits.maxComputeWorkgroupStorageSize} bytes`);
const maxDispatch = limits.maxComputeWorkgroupsPerDimension;

function tensor(info: TensorInfo): Tensor {
  return engine().makeTensorFromTensorInfo(info);
}

/** Milliseconds of a product with `sets` sets of inputs; undefined, and said, where its outputs are wrong. */
async function timeChecked(
    run: (i: number) => Tensor, sets: number, spec: MatrixSpec, what: string): Promise<number | undefined> {
  const y = run(0);
  const samples = await sampleOutputs(backend, y);
  y.dispose();
  stopwatch.keepWarm();
  const error = largestError(samples, spec);
  if (!(error < 2e-6)) {
    console.log('WRONG', error, what);
    return undefined;
  }
  return (await stopwatch.measure(run, sets)).ms;
}

/** Every combination of the values listed. */
function combinations<T>(lists: {[K in keyof T]: T[K][]}): T[] {
  return Object.entries(lists).reduce<T[]>(
    (some, [key, values]) => some.flatMap(one => (values as unknown[]).map(value => ({...one, [key]: value}))),
    [{} as T]);
}

type Dtype = 'float32' | 'float16';

/** Leaves out what cannot run, what never did well, and near duplicates: a sweep should take half a minute. */
function isWorthTrying(config: GemmConfig): boolean {
  const {strategy, threadRows, threadCols, block, unroll, xPad, pattern} = config;
  const {threads, workgroupBytes, keptPerBlock, xRows, wRows} = gemmGeometry(config);
  const gathers = strategy === 'packed' || strategy === 'dense';
  const turn = strategy === 'decompress' ? wRows : keptPerBlock;
  const sums = threadRows * threadCols;
  return threads >= 64 && threads <= 256 && workgroupBytes <= 32768 && xRows <= 64 && keptPerBlock >= 4 &&
      (gathers ? block >= 8 : block <= 8) && (sums === 64 || (sums < 64 && pattern.vectorLength < 8)) &&
      turn % unroll === 0 && (unroll < 8 || !gathers) && (xPad === 0 || unroll === 1);
}

async function sweepGemm(rows: number, n: number, k: number, patternText: string, dtype: Dtype): Promise<void> {
  const pattern = parsePattern(patternText);
  const spec: MatrixSpec = {shape: [k, n], pattern, dtype};
  const denseSpec: MatrixSpec = {shape: [k, n], pattern: parsePattern('1:1'), dtype: 'float32'};
  const x = drawX(backend, rows, k);
  const [matrix, dense] = [drawMatrix(backend, spec), drawMatrix(backend, denseSpec)];
  const flops = 2 * rows * n * k;
  const baseline = await timeChecked(() => matMul(x, dense.values), 1, denseSpec, 'tf.matMul');
  const said = baseline === undefined ? '' : (flops / baseline / 1e9).toFixed(1);
  console.log(`\n${rows}×${n}×${k} ${patternText} ${dtype}: tf.matMul ${said}`);
  const common = {pattern, dtype, alignedCols: true, partial: false, epilogue: NO_EPILOGUE};
  const strategies: GemmConfig['strategy'][] = pattern.n === pattern.m ? ['dense'] :
    pattern.vectorLength < 4 ? ['decompress'] : ['packed', 'window'];
  type Varied = Pick<GemmConfig,
    'strategy' | 'tileRows' | 'tileCols' | 'threadRows' | 'threadCols' | 'block' | 'unroll' | 'xPad'>;
  const configs = combinations<Varied>({
    strategy: strategies, tileRows: [64, 128], tileCols: [64, 128], threadRows: [8, 16], threadCols: [4, 8],
    block: [1, 8, 16], unroll: [1, 4, 8], xPad: [0, 1],
  }).map(config => ({...config, ...common})).filter(isWorthTrying);
  const results: {config: GemmConfig; tflops: number}[] = [];
  for (const config of configs) {
    const stride = Math.ceil(rows / config.tileRows) * config.tileRows;
    const run = () => {
      const transpose = new NMTransposeProgram(rows, k, stride, maxDispatch);
      const t = backend.runWebGPUProgram(transpose, [x], 'float32', transpose.uniformData());
      const program = new NMGemmProgram(config, rows, n, 1, maxDispatch);
      const y = backend.runWebGPUProgram(
        program, [t, matrix.values, ...(config.strategy === 'dense' ? [] : [matrix.indices])], 'float32',
        NMGemmProgram.uniformData({
          rows, cols: n, depth: k, keptRows: matrix.keptRows, wordsPerGroup: wordsPerGroup(matrix), xStride: stride / 4,
          colTiles: Math.ceil(n / config.tileCols), stepsPerSplit: blockCount(config, k, matrix.keptRows),
        }));
      backend.disposeData(t.dataId);
      return tensor(y);
    };
    const ms = await timeChecked(run, 1, spec, JSON.stringify(config));
    if (ms !== undefined) {
      results.push({config, tflops: flops / ms / 1e9});
    }
  }
  results.sort((a, b) => b.tflops - a.tflops);
  console.log(`${configs.length} configurations`);
  const shown = [...results.slice(0, 6), ...strategies.map(s => results.find(({config}) => config.strategy === s))];
  for (const {config, tflops} of shown.filter(each => each !== undefined)) {
    const {strategy, tileRows, tileCols, threadRows, threadCols, block, unroll, xPad} = config;
    console.log(`${tflops.toFixed(1).padStart(8)}  ${strategy} ${tileRows}×${tileCols}/${threadRows}×${threadCols} ` +
        `block ${block} unroll ${unroll} pad ${xPad}`);
  }
  dispose(x);
  [matrix, dense].forEach(each => each.dispose());
}

async function sweepGemv(rows: number, n: number, k: number, patternText: string, dtype: Dtype): Promise<void> {
  const pattern = parsePattern(patternText);
  const spec: MatrixSpec = {shape: [k, n], pattern, dtype};
  const x = drawX(backend, rows, k);
  const matrix = drawMatrix(backend, spec);
  const copies = [matrix, ...Array.from(
    {length: Math.min(15, Math.ceil(FULL_EFFORT.cacheBytes / matrix.bytes))}, () => drawMatrix(backend, spec))];
  const bytes = matrix.bytes + 4 * rows * (k + n);
  const results: {text: string; rate: number; ms: number}[] = [];
  const rowsAtOnce = ([1, 2, 4, 8, 16] as const).find(size => size >= rows) ?? 16;
  for (const vecCols of [8, 16, 32, 64] as const) {
    for (const splits of [1, 2, 4, 8, 16, 32]) {
      const keptPerSplit = 4 * Math.ceil(matrix.keptRows / splits / 4);
      const {tileCols, turnRows} = gemvGeometry({vecCols});
      if (keptPerSplit < turnRows) {
        continue;
      }
      const config: GemvConfig = {
        pattern, dtype, alignedCols: true, rows: rowsAtOnce, vecCols, partial: splits > 1, epilogue: NO_EPILOGUE,
      };
      const run = (i: number) => {
        const {values, indices} = copies[i % copies.length];
        const program = new NMGemvProgram(config, rows, n, splits, maxDispatch);
        const y = backend.runWebGPUProgram(program, [x, values, indices], 'float32', NMGemvProgram.uniformData({
          rows, cols: n, depth: k, keptRows: matrix.keptRows, wordsPerGroup: wordsPerGroup(matrix), keptPerSplit,
          colTiles: Math.ceil(n / tileCols),
        }));
        if (splits === 1) {
          return tensor(y);
        }
        const sum = backend.runWebGPUProgram(
          new NMReduceProgram(rows, n, NO_EPILOGUE), [y], 'float32', NMReduceProgram.uniformData(n, splits));
        backend.disposeData(y.dataId);
        return tensor(sum);
      };
      const ms = await timeChecked(run, copies.length, spec, JSON.stringify(config));
      if (ms !== undefined) {
        results.push({text: `vecCols ${vecCols} splits ${splits}`, rate: bytes / ms / 1e6, ms});
      }
    }
  }
  results.sort((a, b) => b.rate - a.rate);
  console.log(`\n${rows}×${n}×${k} ${patternText} ${dtype} ${(bytes / 1e6).toFixed(1)} MB`);
  for (const {text, rate, ms} of [...results.slice(0, 5), results[results.length - 1]]) {
    console.log(`${rate.toFixed(0).padStart(8)} GB/s ${ms.toFixed(4)} ms ${text}`);
  }
  copies.forEach(each => each.dispose());
  dispose(x);
}

const [what = 'gemm', ...texts] = process.argv.slice(2);
const problems = texts.map(text => text.split(',') as [string, string, string, string, string?]);
for (const [rows, n, k, pattern, dtype = 'float32'] of problems) {
  await (what === 'gemm' ? sweepGemm : sweepGemv)(Number(rows), Number(n), Number(k), pattern, dtype as Dtype);
}
process.exit(0);
