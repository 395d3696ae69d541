/**
 * Draws the charts of a run: `npm run bench:bundle -- --plot JSON OUTDIR`, JSON as `npm run bench` or the suite
 * `backends` wrote it.
 */
import {mkdirSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import type {BackendRow} from './harness/backends.js';
import {plotBackends, plotReport} from './harness/plots.js';
import type {Report} from './harness/run.js';

const [json, folder] = process.argv.slice(2);
if (folder === undefined) {
  throw new Error('plot: give the JSON of a run and a folder for the charts.');
}
mkdirSync(folder, {recursive: true});
const run = JSON.parse(readFileSync(json, 'utf8')) as Report | {where: string; rows: BackendRow[]};
for (const [name, svg] of Object.entries('where' in run ? plotBackends(run) : plotReport(run))) {
  writeFileSync(join(folder, name), svg);
  console.log(join(folder, name));
}
