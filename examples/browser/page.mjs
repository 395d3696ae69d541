/**
 * What the page does: load two networks that the quickstart has left, the dense one and the N:M one made of it, have
 * both recognise the digits of the test set, and show sizes, times and the first few digits.
 */
import {decodeDigits, PIXELS, SIDE, splitDigits} from '../quickstart/digits.mjs';

const NETWORKS = [
  {name: 'dense', folder: '../quickstart/out/dense/'},
  {name: '8:32v32, float16', folder: '../quickstart/out/8-32v32/stored/'},
];
const BACKENDS = ['webgpu', 'webgl', 'cpu'];
const TEST_COUNT = 500; // the quickstart trained on the others
const SHOWN = 24;
const TIMED_RUNS = 15;
const PAPER = [240, 242, 246];
const INK = [23, 37, 84];

const element = id => document.getElementById(id);

async function main() {
  const backend = await setUpBackend();
  const [test] = splitDigits(decodeDigits(new Uint8Array(await download('../quickstart/data/digits.bin'))), TEST_COUNT);
  element('status').textContent = `${TEST_COUNT} digits that the networks have not seen, on backend ${backend}`;
  element('timed').textContent = `ms for all ${TEST_COUNT}`;
  const captions = Array.from({length: SHOWN}, (_, i) => addDigit(test.pixels.subarray(i * PIXELS, (i + 1) * PIXELS)));
  for (const {name, folder} of NETWORKS) {
    await download(`${folder}model.json`); // for a better message than tfjs's own
    const model = await tf.loadLayersModel(`${folder}model.json`); // nm-sparse.min.js has taught tfjs its layer
    const probabilities = await predict(model, test); // also compiles shaders
    captions.forEach((caption, i) => fillCaption(caption, test.labels[i], mostLikely(probabilities, i)));
    const time = await medianTime(() => predict(model, test));
    const right = test.labels.filter((label, i) => mostLikely(probabilities, i).digit === label).length;
    addRow(name, `${(downloadedBytes(folder) / 1000).toFixed(0)} kB`, `${(100 * right / TEST_COUNT).toFixed(1)} %`,
      time.toFixed(1));
    model.dispose();
  }
}

/** The best there is; setBackend says false, or throws, where one is not to be had. */
async function setUpBackend() {
  for (const name of BACKENDS) {
    if (await tf.setBackend(name).catch(() => false)) {
      return name;
    }
  }
  throw new Error('no tfjs backend starts here');
}

async function download(url) {
  const response = await fetch(url);
  if (!response.ok) {
    const {pathname} = new URL(url, location.href);
    throw new Error(`${pathname} is not there. The quickstart makes it: npm run quickstart`);
  }
  return response.arrayBuffer();
}

async function predict(model, {pixels, labels: {length}}) {
  const y = tf.tidy(() => model.predict(tf.tensor2d(pixels, [length, PIXELS]), {batchSize: length}));
  const values = await y.data();
  y.dispose();
  return values;
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

/** The digit an image is most likely of, and how likely. */
function mostLikely(probabilities, image) {
  const row = probabilities.subarray(image * 10, (image + 1) * 10);
  const probability = Math.max(...row);
  return {digit: row.indexOf(probability), probability};
}

/** All files of a folder, model.json and weights, by the browser's own account; a file fetched twice counts once. */
function downloadedBytes(folder) {
  const {href} = new URL(folder, location.href);
  const files = performance.getEntriesByType('resource').filter(({name}) => name.startsWith(href));
  const sizes = new Map(files.map(({name, decodedBodySize}) => [name, decodedBodySize]));
  return [...sizes.values()].reduce((sum, size) => sum + size, 0);
}

function addRow(...cells) {
  const row = element('networks').insertRow();
  cells.forEach(cell => row.insertCell().textContent = cell);
}

/** Draws an image; returns the place for its caption. */
function addDigit(pixels) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext('2d');
  const image = context.createImageData(SIDE, SIDE);
  pixels.forEach((ink, i) => {
    const color = PAPER.map((paper, channel) => paper + (INK[channel] - paper) * ink);
    image.data.set([...color, 255], 4 * i);
  });
  context.putImageData(image, 0, 0);
  const figure = document.createElement('figure');
  const caption = document.createElement('figcaption');
  figure.append(canvas, caption);
  element('digits').append(figure);
  return caption;
}

/** What a network takes a digit for, and how sure it is; or, where it is wrong, what it is. */
function fillCaption(caption, label, {digit, probability}) {
  const more = document.createElement('small');
  more.textContent = digit === label ? `${(100 * probability).toFixed(0)} %` : `is ${label}`;
  caption.className = digit === label ? '' : 'wrong';
  caption.replaceChildren(`${digit} `, more);
}

main().catch(error => {
  element('status').textContent = '';
  element('problem').textContent = error.message;
});
