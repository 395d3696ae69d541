/**
 * Which plan is best, and does the cost model know? Races the plans that the kernels offer for each product, beside
 * their predicted times. For people who work on the kernels and the model; users call tune().
 *
 *   node examples/benchmark/bundle.mjs build/sweep.mjs examples/benchmark/sweep.ts
 *   node build/sweep.mjs [--most N] [--json FILE] ROWS,N,K,PATTERN[,float16] …
 *
 *   --most N         of the plans, those that the model ranks first
 *   --json FILE      appends a line of JSON for each plan: {problem, plan, ms}
 */
import {appendFileSync} from 'node:fs';
import {parseArgs} from 'node:util';
import type {Plan} from '../../kernels/webgpu/plan.js';
import {parsePattern} from '../../src/format/pattern.js';
import {checkDtype} from '../../src/format/storage.js';
import {chooserOf} from '../../src/tuning/choose.js';
import {setUpDawn} from './dawn.js';
import type {MatrixSpec} from './harness/data.js';
import {FULL_EFFORT, Stopwatch} from './harness/measure.js';
import {problemOf, racePlans} from './harness/product.js';

const {values: options, positionals} = parseArgs({
  options: {most: {type: 'string', default: 'Infinity'}, json: {type: 'string'}}, allowPositionals: true,
});

const isCount = (text: string | undefined) => Number.isInteger(Number(text)) && Number(text) > 0;
if (options.most !== 'Infinity' && !isCount(options.most)) {
  throw new Error(`sweep: --most is '${options.most}'; it takes a whole number from 1 on.`);
}
// All of them before any is measured.
const products = positionals.map(text => {
  const [rows, n, k, pattern, dtype = 'float32'] = text.split(',');
  if (![rows, n, k].every(isCount) || pattern === undefined) {
    throw new Error(`sweep: '${text}' is no product; write ROWS,N,K,PATTERN or ROWS,N,K,PATTERN,float16.`);
  }
  checkDtype('sweep', dtype, `'${text}'`);
  const spec: MatrixSpec = {
    shape: [Number(k), Number(n)], pattern: parsePattern(pattern), dtype: dtype as MatrixSpec['dtype'],
  };
  return {title: `${rows}×${n}×${k} ${pattern} ${dtype}`, rows: Number(rows), spec};
});

/** What tells a plan from the others of the same product. */
function describe({config, ...plan}: Plan): string {
  return Object.entries({...plan, ...config})
    .filter(([, value]) => typeof value !== 'object').map(([name, value]) => `${name} ${value}`).join(' ');
}

const webgpu = await setUpDawn();
const stopwatch = await Stopwatch.create(webgpu, FULL_EFFORT);
for (const {title, rows, spec} of products) {
  const {shape: [k, n]} = spec;
  const problem = problemOf(rows, spec);
  const ranked = chooserOf(webgpu).ranked(problem).slice(0, Number(options.most));
  const times = await racePlans(stopwatch, rows, spec, ranked.map(({plan}) => plan),
    (plan, why) => console.log(`FAILED ${describe(plan)}: ${why}`));
  const results = ranked.flatMap(({plan, prediction}, i) => {
    const ms = times[i];
    return ms === null ? [] : [{plan, prediction, ms}];
  });
  const best = Math.min(...results.map(({ms}) => ms));
  console.log(`\n${title}: ${results.length} plans; the model's choice takes ` +
    `${times[0] === null ? '–' : (times[0] / best).toFixed(2)} × the best one's time`);
  for (const {plan, prediction, ms} of results.sort((a, b) => a.ms - b.ms)) {
    const tflops = (2 * rows * n * k) / ms / 1e9;
    console.log(`${ms.toFixed(4).padStart(10)} ms ${tflops.toFixed(1).padStart(7)} TFLOPS ` +
      `${prediction.ms.toFixed(4).padStart(10)} predicted, ${prediction.bound}; ${describe(plan)}`);
    if (options.json) {
      appendFileSync(options.json, `${JSON.stringify({problem, plan, ms})}\n`);
    }
  }
}
process.exit(0);
