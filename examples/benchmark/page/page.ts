/**
 * The benchmark in a page: `?suite=quick,decode` runs these suites, `?points=64x1024x512&patterns=8:32v32,2:4` products
 * of one's own, with `&only=…` and `&limit=SECONDS` as in Node. `&report` POSTs the JSON and what went wrong to
 * /result, for whoever drives the browser. Without a suite or points the page offers the suites.
 *
 * Chromium rounds GPU timestamps to 65 µs unless started with --disable-dawn-features=timestamp_quantization; rounds of
 * 10 ms can bear that.
 */
import {ownProducts} from '../harness/arguments.js';
import {runBenchmark, type Report} from '../harness/run.js';
import {SUITES} from '../harness/suites.js';
import {deviceText, failureText, MEAN_COLUMNS, ROW_COLUMNS, type Columns} from '../harness/table.js';
import {setUpWebGPU} from './webgpu.js';

const query = new URLSearchParams(location.search);
const text = (name: string) => query.get(name) ?? undefined;
const element = (id: string) => document.getElementById(id)!;

function say(text: string): void {
  element('status').textContent = text;
}

function complain(text: string): void {
  element('problem').append(`${text}\n`);
}

/** A table that grows; returns what adds a row. */
function addTable<T>(title: string, columns: Columns<T>): (row: T) => void {
  const table = document.createElement('table');
  table.createCaption().textContent = title;
  const head = table.createTHead().insertRow();
  columns.forEach(([title]) => head.append(Object.assign(document.createElement('th'), {textContent: title})));
  const body = table.createTBody();
  element('tables').append(table);
  return row => {
    const line = body.insertRow();
    columns.forEach(([, , text]) => line.insertCell().append(text(row)));
  };
}

function offer(report: Report): void {
  const blob = new Blob([JSON.stringify(report, null, 1)], {type: 'application/json'});
  const name = `benchmark-${report.date.slice(0, 10)}.json`;
  const link = Object.assign(document.createElement('a'), {
    href: URL.createObjectURL(blob), download: name, textContent: `download ${name}`,
  });
  element('suites').replaceChildren(link);
}

async function run(suites: string[]): Promise<Report> {
  const webgpu = await setUpWebGPU(complain);
  say('Getting the GPU up to speed …');
  let addRow: (row: Report['rows'][number]) => void;
  const own = ownProducts(text('points'), text('patterns'));
  const options = {
    suites, own, only: text('only')?.split(','), limitSeconds: Number(text('limit') ?? Infinity),
  };
  const progress = ({rows, failures, total, seconds}: Report) =>
    say(`${rows.length + failures.length} of ${total}, ${seconds.toFixed(0)} s`);
  const report = await runBenchmark(webgpu, options, {
    started({adapter, device}) {
      addRow = addTable(`${Object.values(adapter).filter(Boolean).join(' ')}: ${deviceText(device)}`, ROW_COLUMNS);
    },
    measured(row, report) {
      addRow(row);
      progress(report);
    },
    failed(failure, report) {
      complain(failureText(failure));
      progress(report);
    },
  });
  const addMean = addTable('Geometric means', MEAN_COLUMNS);
  report.means.forEach(addMean);
  return report;
}

const suites = query.get('suite')?.split(',') ?? [];
if (suites.length > 0 || query.has('points') || query.has('patterns')) {
  let report: Report | undefined;
  try {
    report = await run(suites);
    offer(report);
  } catch (error) {
    complain((error as Error).message);
  }
  if (query.has('report')) {
    const body = JSON.stringify({...report, problems: element('problem').textContent}, null, 1);
    await fetch('/result', {method: 'POST', body});
  }
} else {
  element('suites').append(...Object.keys(SUITES).map(
    name => Object.assign(document.createElement('a'), {href: `?suite=${name}`, textContent: name})));
}
