/**
 * The benchmark in Node, on Dawn: `npm run bench -- [suite …] [options]`. Bundled by bundle.mjs into one file that
 * needs nothing but Node and dawn.node, for GPU machines without npm: DAWN names the path of dawn.node there.
 *
 *   --points LIST        products of one's own in place of a suite: rows x n x k, such as 64x1024x512,1x4096x4096
 *   --patterns LIST      their patterns, such as 8:32v32,2:4 (default 8:32v32,4:32v32,2:4)
 *   --json FILE          writes the rows, after each one anew: the process may be killed at any time
 *   --only LIST          points (1x4096x4096) and variants (8:32v32) to keep to, separated by commas
 *   --shard I/N          every N-th point, from the I-th on, I from 0
 *   --rivals N           measures N other plans beside each one the package chooses: was the choice right?
 *   --limit-seconds N    starts nothing after N seconds
 */
import {parseArgs} from 'node:util';
import {setUpDawn} from './dawn.js';
import {ownProducts} from './harness/arguments.js';
import {runBenchmark, type Options, type Report} from './harness/run.js';
import {deviceText, failureText, head, line, ROW_COLUMNS, summaryText} from './harness/table.js';
import {save} from './save.js';

const {values, positionals} = parseArgs({
  options: {
    'points': {type: 'string'},
    'patterns': {type: 'string'},
    'json': {type: 'string'},
    'only': {type: 'string'},
    'shard': {type: 'string'},
    'rivals': {type: 'string', default: '0'},
    'limit-seconds': {type: 'string'},
  },
  allowPositionals: true,
});

function optionsFromArguments(): Options {
  const [, index, count] = (values.shard ?? '0/1').match(/^(\d+)\/(\d+)$/)?.map(Number) ?? [];
  if (!(index < count)) {
    throw new Error(`bench: --shard is '${values.shard}'; it takes I/N with I < N.`);
  }
  const own = ownProducts(values.points, values.patterns);
  return {
    suites: positionals.length > 0 || own ? positionals : ['quick'],
    own,
    only: values.only?.split(','),
    shard: {index, count},
    rivals: Number(values.rivals),
    limitSeconds: Number(values['limit-seconds'] ?? Infinity),
  };
}

function saveIfAsked(report: Report): void {
  if (values.json) {
    save(values.json, report);
  }
}

function print(text: string, {rows, failures, total, seconds}: Report): void {
  const done = String(rows.length + failures.length).padStart(4);
  console.log(`${done}/${total} ${seconds.toFixed(0).padStart(4)} s${text}`);
}

const options = optionsFromArguments();
const webgpu = await setUpDawn();
const report = await runBenchmark(webgpu, options, {
  started(report) {
    console.log(`adapter: ${JSON.stringify(report.adapter)}\n${deviceText(report.device)}\n`);
    print(head(ROW_COLUMNS), report);
    saveIfAsked(report);
  },
  measured(row, report) {
    print(line(ROW_COLUMNS, row), report);
    saveIfAsked(report);
  },
  failed(failure, report) {
    print(` ${failureText(failure)}`, report);
    saveIfAsked(report);
  },
});
console.log(`\n${summaryText(report)}`);
process.exit(report.failures.length > 0 ? 1 : 0);
