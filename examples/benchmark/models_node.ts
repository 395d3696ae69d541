/**
 * The suite `models` in Node, on Dawn: predict of whole models, dense by tfjs against converted ones.
 *
 *   node examples/benchmark/bundle.mjs build/models.mjs examples/benchmark/models_node.ts
 *   node build/models.mjs [options]
 *
 *   --models LIST      of 8x4096, 12x768, 6x384 and mlp (default all, or none if there are points)
 *   --rows LIST        rows of these models, 1 to 2048, in place of their own
 *   --points LIST      models of one layer: rows x n x k, such as 64x1024x512 (k inputs, n units)
 *   --patterns LIST    default 8:32v32,4:32v32,2:4
 *   --dtypes LIST      float32 (default), float16
 *   --ms MS            duration of a sustained measurement (default 500)
 *   --rounds N         rounds in which models alternate (default 3)
 *   --json FILE        writes all rows so far, again after each row
 */
import {parseArgs} from 'node:util';
import {setUpDawn} from './dawn.js';
import {head, line} from './harness/table.js';
import {MODEL_COLUMNS, modelFailureText, modelSummaryText} from './harness/model_table.js';
import {measureModels, MODEL_OPTION_NAMES, parseModelOptions, type ModelReport} from './harness/models.js';
import {save} from './save.js';

const {values: {json, ...texts}} = parseArgs({
  options: Object.fromEntries([...MODEL_OPTION_NAMES, 'json'].map(name => [name, {type: 'string' as const}])),
}) as {values: Record<string, string | undefined>};
const options = parseModelOptions(texts);

function saveIfAsked(report: ModelReport): void {
  if (json) {
    save(json, report);
  }
}

const webgpu = await setUpDawn();
const report = await measureModels(webgpu, `Node ${process.version}`, options, {
  started({adapter}) {
    console.log(`adapter: ${JSON.stringify(adapter)}\n\n${head(MODEL_COLUMNS)}`);
  },
  measured(row, report) {
    console.log(line(MODEL_COLUMNS, row));
    saveIfAsked(report);
  },
  failed(failure, report) {
    console.log(modelFailureText(failure));
    saveIfAsked(report);
  },
});
saveIfAsked(report);
console.log(`\n${modelSummaryText(report)}`);
process.exit(report.failures.length > 0 ? 1 : 0);
