/**
 * Which plan is best, and does the cost model know? Runs every plan that the kernels offer for a product, each checked
 * and timed like the benchmark, beside its predicted time. For people who work on the kernels; users call tune().
 *
 *   node examples/benchmark/bundle.mjs build/sweep.mjs examples/benchmark/sweep.ts
 *   node build/sweep.mjs ROWS,N,K,PATTERN[,float16] …
 */
import type {Plan} from '../../kernels/webgpu/select.js';
import {parsePattern} from '../../src/format/pattern.js';
import {chooserOf} from '../../src/tuning/choose.js';
import {setUpDawn} from './dawn.js';
import type {MatrixSpec} from './harness/data.js';
import {FULL_EFFORT, Stopwatch} from './harness/measure.js';
import {measureProduct, multiplyWith, problemOf} from './harness/product.js';
import {freeUnusedBuffers} from './harness/recording.js';

/** What tells a plan from the others of the same product. */
function describe({config, ...plan}: Plan): string {
  return Object.entries({...plan, ...config})
    .filter(([, value]) => typeof value !== 'object').map(([name, value]) => `${name} ${value}`).join(' ');
}

const webgpu = await setUpDawn();
const stopwatch = await Stopwatch.create(webgpu, FULL_EFFORT);
for (const text of process.argv.slice(2)) {
  const [rows, n, k, pattern, dtype = 'float32'] = text.split(',');
  const spec: MatrixSpec = {
    shape: [Number(k), Number(n)], pattern: parsePattern(pattern), dtype: dtype as MatrixSpec['dtype'],
  };
  const results: {ms: number; said: string}[] = [];
  for (const {plan, prediction} of chooserOf(webgpu).ranked(problemOf(Number(rows), spec))) {
    try {
      const {timing: {ms}} = await measureProduct(stopwatch, Number(rows), spec, multiplyWith(webgpu, plan));
      results.push({ms, said: `${prediction.ms.toFixed(4)} predicted, ${prediction.bound}; ${describe(plan)}`});
    } catch (error) {
      console.log(`FAILED ${describe(plan)}: ${(error as Error).message}`);
    }
  }
  freeUnusedBuffers(webgpu);
  console.log(`\n${rows}×${n}×${k} ${pattern} ${dtype}: ${results.length} plans`);
  for (const {ms, said} of results.sort((a, b) => a.ms - b.ms)) {
    const tflops = (2 * Number(rows) * Number(n) * Number(k)) / ms / 1e9;
    console.log(`${ms.toFixed(4).padStart(10)} ms ${tflops.toFixed(1).padStart(7)} TFLOPS  ${said}`);
  }
}
process.exit(0);
