/**
 * The benchmark in Node, on Dawn: `npm run bench -- [suite …] [--json FILE]`. Bundled by bundle.mjs into one file that
 * needs nothing but Node and dawn.node, for GPU machines without npm: DAWN names the path of dawn.node there.
 */
import {writeFileSync} from 'node:fs';
import {parseArgs} from 'node:util';
import {setUpDawn} from './dawn.js';
import {runSuite, type Row} from './harness/run.js';
import {SUITES} from './harness/suites.js';
import {tableHead, tableRow} from './harness/table.js';

const {values: {json}, positionals} = parseArgs({options: {json: {type: 'string'}}, allowPositionals: true});
const suites = positionals.length > 0 ? positionals : ['quick'];
const unknown = suites.find(name => !(name in SUITES));
if (unknown !== undefined) {
  throw new Error(`bench: there is no suite '${unknown}'; the suites are ${Object.keys(SUITES).join(', ')}.`);
}

const {adapterInfo} = await setUpDawn();
console.log(`adapter: ${JSON.stringify(adapterInfo)}`);
const rows: Row[] = [];
for (const name of suites) {
  console.log(`\nsuite ${name}\n${tableHead()}`);
  rows.push(...await runSuite(SUITES[name], row => console.log(tableRow(row))));
}
if (json) {
  writeFileSync(json, JSON.stringify({adapter: adapterInfo, date: new Date().toISOString(), rows}, null, 1));
}
process.exit(0);
