/**
 * The suite `models` in a page: models.html, with the options of models_node.ts as query parameters, such as
 * `?models=mlp&patterns=8:32v32`. `&report` POSTs the table and the JSON to /result, for whoever drives the browser.
 *
 * Chromium needs --disable-dawn-features=timestamp_quantization for exact GPU times.
 */
import {head, line} from '../harness/table.js';
import {MODEL_COLUMNS, modelFailureText, modelSummaryText} from '../harness/model_table.js';
import {measureModels, MODEL_OPTION_NAMES, parseModelOptions, type ModelReport} from '../harness/models.js';
import {setUpWebGPU} from './webgpu.js';

const query = new URLSearchParams(location.search);
const output = document.getElementById('output')!;
const print = (text: string) => output.append(`${text}\n`);
let latest: ModelReport | undefined;

async function run(): Promise<void> {
  const unknown = [...query.keys()].find(name => ![...MODEL_OPTION_NAMES, 'report'].includes(name));
  if (unknown !== undefined) {
    throw new Error(`bench: '${unknown}' is no parameter; expected ${MODEL_OPTION_NAMES.join(', ')} or report.`);
  }
  const options = parseModelOptions(Object.fromEntries(query));
  let fail: (error: Error) => void;
  const failed = new Promise<never>((_, reject) => {
    fail = reject;
  });
  const webgpu = await setUpWebGPU(problem => fail(new Error(problem)));
  const finished = measureModels(webgpu, navigator.userAgent, options, {
    started(report) {
      latest = report;
      print(`${navigator.userAgent}\nadapter: ${JSON.stringify(report.adapter)}\n\n${head(MODEL_COLUMNS)}`);
    },
    measured: row => print(line(MODEL_COLUMNS, row)),
    failed: failure => print(modelFailureText(failure)),
  });
  print(`\n${modelSummaryText(await Promise.race([finished, failed]))}`);
}

let problem: string | null = null;
try {
  await run();
} catch (error) {
  problem = (error as Error).stack ?? String(error);
  print(`FAILED: ${problem}`);
}
if (query.has('report')) {
  await fetch('/result', {method: 'POST', body: `${output.textContent}\n${JSON.stringify({...latest, problem})}`});
}
