/**
 * The benchmark in Node, on Dawn: `npm run bench -- [suite …] [options]`. Bundled by bundle.mjs into one file that
 * needs nothing but Node and dawn.node, for GPU machines without npm: DAWN names the path of dawn.node there.
 *
 *   --json FILE          writes the rows, after each one anew: the process may be killed at any time
 *   --only LIST          points (1x4096x4096) and variants (8:32v32) to keep to, separated by commas
 *   --shard I/N          every N-th point, from the I-th on, I from 0
 *   --rivals N           measures N other plans beside each one the package chooses: was the choice right?
 *   --limit-seconds N    starts nothing after N seconds
 */
import {renameSync, writeFileSync} from 'node:fs';
import {parseArgs} from 'node:util';
import {setUpDawn} from './dawn.js';
import {runBenchmark, type Options, type Report} from './harness/run.js';
import {deviceText, failureText, head, line, ROW_COLUMNS, summaryText} from './harness/table.js';

const {values, positionals} = parseArgs({
  options: {
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
  return {
    suites: positionals.length > 0 ? positionals : ['quick'],
    only: values.only?.split(','),
    shard: {index, count},
    rivals: Number(values.rivals),
    limitSeconds: Number(values['limit-seconds'] ?? Infinity),
  };
}

/** Whoever reads the file meanwhile finds the old or the new one, whole. */
function save(report: Report): void {
  if (values.json) {
    writeFileSync(`${values.json}.new`, JSON.stringify(report, null, 1));
    renameSync(`${values.json}.new`, values.json);
  }
}

function print(text: string, {rows, failures, total, seconds}: Report): void {
  const done = String(rows.length + failures.length).padStart(4);
  console.log(`${done}/${total} ${seconds.toFixed(0).padStart(4)} s${text}`);
}

const webgpu = await setUpDawn();
const report = await runBenchmark(webgpu, optionsFromArguments(), {
  started(report) {
    console.log(`adapter: ${JSON.stringify(report.adapter)}\n${deviceText(report.device)}\n`);
    print(head(ROW_COLUMNS), report);
    save(report);
  },
  measured(row, report) {
    print(line(ROW_COLUMNS, row), report);
    save(report);
  },
  failed(failure, report) {
    print(` ${failureText(failure)}`, report);
    save(report);
  },
});
console.log(`\n${summaryText(report)}`);
process.exit(report.failures.length > 0 ? 1 : 0);
