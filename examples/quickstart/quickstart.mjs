/**
 * The quickstart, on real data: train a small network on handwritten digits, prune it to N:M with nm-prune, fine-tune
 * it, store it, load it again, and see what became of accuracy, size and speed.
 *
 *   npm run quickstart
 *   node examples/quickstart/quickstart.mjs --quick       a smaller network, one epoch: only to see that it works
 *   node examples/quickstart/quickstart.mjs --out DIR     where the models go; default: out/, beside this file
 *
 * Read it from `main` downwards. What is not about N:M lies in the files beside this one.
 */
import {execFileSync} from 'node:child_process';
import {readFileSync} from 'node:fs';
import {join, relative} from 'node:path';
import {fileURLToPath} from 'node:url';
import {parseArgs} from 'node:util';
import * as tf from '@tensorflow/tfjs';
import {decompress, NMDense} from '../../dist/esm/index.js'; // in your own project: from 'tfjs-nm-sparse'
import {setUpBackends} from './backends.mjs';
import {decodeDigits, PIXELS, splitDigits} from './digits.mjs';
import {bytesOnDisk, loadModel, saveModel} from './files.mjs';
import {formatTable} from './table.mjs';

const here = file => fileURLToPath(new URL(file, import.meta.url));

const {values: {quick, out}} = parseArgs({
  options: {quick: {type: 'boolean', default: false}, out: {type: 'string', default: here('out')}},
});
const OUT = relative('', out); // shorter to print
const UNITS = quick ? 64 : 512;
const EPOCHS = quick ? 1 : 5;
const TEST_COUNT = 500;
const TIMED_RUNS = 3;

/** The fewer weights are kept, the longer the others take to make up for it. */
const VARIANTS = [
  {pattern: '8:32v32', dtype: 'float16', epochs: quick ? 1 : 5, learningRate: 0.002},
  {pattern: '2:4', dtype: 'float32', epochs: quick ? 1 : 2, learningRate: 0.001},
];

async function main() {
  step('Set up tfjs');
  const backends = await setUpBackends();
  say(`training on wasm; predictions will be timed on ${backends.join(', ')}`);

  step('Read the digits');
  const [test, train] = splitDigits(decodeDigits(readFileSync(here('data/digits.bin'))), TEST_COUNT);
  say(`${train.labels.length} to train on, ${test.labels.length} to test with`);

  step(`Train a dense network, ${PIXELS}-${UNITS}-${UNITS}-10`);
  const dense = denseNetwork();
  await fit(dense, train, {epochs: EPOCHS, learningRate: 0.001});
  await saveModel(dense, join(OUT, 'dense'));
  const denseAccuracy = await accuracy(dense, test);
  say(`test accuracy ${percent(denseAccuracy)}; saved to ${join(OUT, 'dense')}`);

  const sparse = [];
  for (const variant of VARIANTS) {
    sparse.push({...variant, ...await pruneAndTune(variant, train, test)});
  }

  step('Load what was stored, and compare');
  const results = [{name: 'dense', folder: join(OUT, 'dense')}, ...sparse];
  for (const result of results) {
    say(`${result.name} …`);
    Object.assign(result, await measure(result.folder, test, backends));
  }
  printResults(results, backends);
}

/** From the dense network on the disk to an N:M one on the disk. */
async function pruneAndTune({pattern, dtype, epochs, learningRate}, train, test) {
  const folder = join(OUT, pattern.replace(':', '-'));
  const [pruned, tuned, stored] = ['pruned', 'tuned', 'stored'].map(name => join(folder, name));

  step(`Prune to ${pattern}`);
  nmPrune(join(OUT, 'dense'), pruned, '--pattern', pattern);
  const model = await loadModel(pruned);
  const prunedAccuracy = await accuracy(model, test);
  say(`test accuracy ${percent(prunedAccuracy)}`);

  step(`Fine-tune the ${pattern} network: zeros stay zeros`);
  await fit(model, train, {epochs, learningRate});
  await saveModel(model, tuned);
  model.dispose();

  const name = `${pattern}, ${dtype}`;
  if (dtype === 'float32') {
    return {name, prunedAccuracy, folder: tuned};
  }
  step(`Store the ${pattern} network as ${dtype}`);
  nmPrune(tuned, stored, '--pattern', pattern, '--quantize_float16', '--quiet');
  return {name, prunedAccuracy, folder: stored};
}

/** The command line tool; installed from npm it is `npx nm-prune`. */
function nmPrune(from, to, ...flags) {
  const args = [join(from, 'model.json'), to, ...flags, '--backend', 'cpu', '--overwrite'];
  say(`$ nm-prune ${args.join(' ')}`);
  execFileSync(process.execPath, [here('../../dist/cli/nm-prune.js'), ...args], {stdio: 'inherit'});
}

/** Plain tf.layers: nothing about this network knows that it will be pruned. */
function denseNetwork() {
  const dense = (units, activation, seed, more) => tf.layers.dense({
    units, activation, kernelInitializer: tf.initializers.glorotUniform({seed}), ...more,
  });
  return tf.sequential({layers: [
    dense(UNITS, 'relu', 1, {inputShape: [PIXELS]}),
    dense(UNITS, 'relu', 2),
    dense(10, 'softmax', 3),
  ]});
}

/** An N:M network is trained as any other is; what was pruned has no weight that could change. */
async function fit(model, {pixels, labels}, {epochs, learningRate}) {
  const x = tf.tensor2d(pixels, [labels.length, PIXELS]);
  const y = tf.tidy(() => tf.oneHot(tf.tensor1d(labels, 'int32'), 10));
  model.compile({optimizer: tf.train.adam(learningRate), loss: 'categoricalCrossentropy', metrics: ['accuracy']});
  await model.fit(x, y, {
    epochs,
    batchSize: 32,
    shuffle: false, // the digits were shuffled when they were parted; fit's own shuffling has no seed
    verbose: 0,
    callbacks: {
      onEpochEnd: (epoch, {loss, acc}) =>
        say(`epoch ${epoch + 1} of ${epochs}: loss ${loss.toFixed(3)}, accuracy in training ${percent(acc)}`),
    },
  });
  tf.dispose([x, y]);
}

/** From pixels to probabilities: ten for each image. */
async function predict(model, {pixels, labels: {length}}) {
  // All at once: without batchSize tfjs would go in steps of 32.
  const y = tf.tidy(() => model.predict(tf.tensor2d(pixels, [length, PIXELS]), {batchSize: length}));
  const values = await y.data();
  y.dispose();
  return values;
}

async function accuracy(model, test) {
  return shareRight(await predict(model, test), test.labels);
}

function shareRight(probabilities, labels) {
  const classes = probabilities.length / labels.length;
  const right = labels.filter((label, i) => {
    const row = probabilities.subarray(i * classes, (i + 1) * classes);
    return row[label] === Math.max(...row);
  });
  return right.length / labels.length;
}

/**
 * Test accuracy, time on each backend, and how far the N:M network is off its dense twin on the first of them, cpu. It
 * is loaded anew for each: in Node, tensors do not move from webgpu to another backend.
 */
async function measure(folder, test, backends) {
  const milliseconds = {};
  let reference;
  let share;
  let difference = 0;
  for (const backend of backends) {
    await tf.setBackend(backend);
    const model = await loadModel(folder);
    reference ??= await predict(denseTwin(model), test);
    const first = await predict(model, test); // uploads weights, compiles shaders: not timed
    share ??= shareRight(first, test.labels);
    difference = Math.max(difference, relativeDifference(first, reference));
    milliseconds[backend] = await medianTime(() => predict(model, test));
    model.dispose();
  }
  return {accuracy: share, milliseconds, difference};
}

/** The same network with every N:M kernel written out densely, zeros and all. */
function denseTwin(model) {
  const twin = tf.sequential();
  for (const layer of model.layers) {
    const [kernel, bias] = layer instanceof NMDense ? [decompress(layer.matrix()), layer.bias.read()] :
      layer.getWeights();
    const {units, activation} = layer.getConfig();
    twin.add(tf.layers.dense({units, activation, inputShape: [kernel.shape[0]], weights: [kernel, bias]}));
  }
  return twin;
}

/** The largest |difference| of two outputs, in proportion to the largest output. */
function relativeDifference(values, reference) {
  const largest = numbers => numbers.reduce((max, number) => Math.max(max, Math.abs(number)), 0);
  return largest(values.map((value, i) => value - reference[i])) / largest(reference);
}

async function medianTime(run) {
  const times = [];
  for (let i = 0; i < TIMED_RUNS; ++i) {
    const start = performance.now();
    await run();
    times.push(performance.now() - start);
  }
  return times.sort((a, b) => a - b)[Math.floor(TIMED_RUNS / 2)];
}

function printResults(results, backends) {
  const denseBytes = bytesOnDisk(results[0].folder);
  console.log('\n' + formatTable(
    ['network', 'accuracy', 'untuned', 'bytes', '', ...backends.map(name => `ms, ${name}`), 'off by'],
    results.map(({name, prunedAccuracy, accuracy, folder, milliseconds, difference}) => [
      name,
      percent(accuracy),
      prunedAccuracy === undefined ? '' : percent(prunedAccuracy),
      bytesOnDisk(folder).toLocaleString('en-US'),
      `${(denseBytes / bytesOnDisk(folder)).toFixed(1)}×`,
      ...backends.map(backend => milliseconds[backend].toFixed(1)),
      difference.toExponential(0),
    ])));
  console.log(`
accuracy   share of the test images recognised; untuned is what it was after pruning, before fine-tuning
bytes      model.json and weights, and how many times smaller than dense
ms         to predict all ${TEST_COUNT} test images at once, median of ${TIMED_RUNS} runs; both backends have
           a kernel for N:M
off by     largest difference to the same weights multiplied densely on cpu, in proportion to the largest output`);
}

let steps = 0;

function step(title) {
  console.log(`\n${++steps}. ${title}`);
}

function say(text) {
  console.log(`   ${text}`);
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

await main();
process.stdout.write('', () => process.exit()); // where there is a GPU, Dawn would keep Node alive
