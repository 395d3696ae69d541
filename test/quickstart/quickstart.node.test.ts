/**
 * The quickstart: that its data are the digits they are said to be, and that a newcomer who runs it gets to the end.
 */
import {execFile} from 'node:child_process';
import {existsSync, mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {promisify} from 'node:util';
import {expect} from 'chai';
import {decodeDigits, PIXELS, SIDE, splitDigits} from '../../examples/quickstart/digits.mjs';

const QUICKSTART = 'examples/quickstart/quickstart.mjs';
const QUICKSTART_TIMEOUT_MS = 120_000;

/** As scikit-learn's load_digits says. */
const LABEL_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180];
const PIXEL_SUM = 561718;
/** The first image, a 0. */
const FIRST = [
  '0  0  5 13  9  1  0  0',
  '0  0 13 15 10 15  5  0',
  '0  3 15  2  0 11  8  0',
  '0  4 12  0  0  8  8  0',
  '0  5  8  0  0  9  8  0',
  '0  4 11  0  1 12  7  0',
  '0  2 14  5 10 12  0  0',
  '0  0  6 13 10  0  0  0',
];

const readDigits = () => decodeDigits(readFileSync('examples/quickstart/data/digits.bin'));
const countLabels = (labels: Int32Array) => LABEL_COUNTS.map((_, digit) => labels.filter(l => l === digit).length);
const inSixteenths = (pixels: Float32Array) => Array.from(pixels, pixel => 16 * pixel);

describe("the quickstart's digits", () => {
  it('are 1,797, as many of each as there should be', () => {
    const {pixels, labels} = readDigits();
    expect(countLabels(labels)).to.deep.equal(LABEL_COUNTS);
    expect(pixels).to.have.lengthOf(1797 * PIXELS);
  });

  it('have the pixels they were packed from', () => {
    const sixteenths = inSixteenths(readDigits().pixels);
    expect(sixteenths.every(pixel => Number.isInteger(pixel) && pixel >= 0 && pixel <= 16)).to.be.true;
    expect(sixteenths.reduce((sum, pixel) => sum + pixel)).to.equal(PIXEL_SUM);
    const rows = FIRST.map((_, row) => sixteenths.slice(row * SIDE, (row + 1) * SIDE));
    expect(rows).to.deep.equal(FIRST.map(row => row.split(/ +/).map(Number)));
  });

  it('are refused if bytes are missing', () => {
    expect(() => decodeDigits(new Uint8Array(100))).to.throw('digits: 100 bytes are no whole number of images');
  });

  it('are parted without loss, always the same way for a seed', () => {
    const digits = readDigits();
    const [test, train] = splitDigits(digits, 500);
    expect([test, train].map(({labels}) => labels.length)).to.deep.equal([500, 1297]);
    expect(countLabels(Int32Array.of(...test.labels, ...train.labels))).to.deep.equal(LABEL_COUNTS);
    const sum = (pixels: Float32Array) => inSixteenths(pixels).reduce((total, pixel) => total + pixel);
    expect(sum(test.pixels) + sum(train.pixels)).to.equal(PIXEL_SUM);
    expect(splitDigits(digits, 500)[0]).to.deep.equal(test);
    expect(splitDigits(digits, 500, 2)[0].labels).not.to.deep.equal(test.labels);
  });
});

describe('the quickstart', () => {
  it('trains, prunes, tunes, stores and loads', async function() {
    if (!existsSync('dist')) {
      this.skip(); // it uses the package as users do, built
    }
    this.timeout(QUICKSTART_TIMEOUT_MS);
    const folder = mkdtempSync(join(tmpdir(), 'quickstart-'));
    try {
      const {stdout} = await promisify(execFile)(process.execPath, [QUICKSTART, '--quick', '--out', folder]);
      const [dense, ...sparse] = stdout.split('\n').filter(line => /^(dense|8:32v32|2:4)\b.*×/.test(line));
      expect(dense).to.match(/^dense +[\d.]+ % .* 1\.0× /);
      expect(sparse.map(row => row.split(/ {2,}/)[0])).to.deep.equal(['8:32v32, float16', '2:4, float32']);
      for (const row of [dense, ...sparse]) {
        expect(Number(row.split(/ +/).at(-1)), row).to.be.below(1e-5);
      }
    } finally {
      rmSync(folder, {recursive: true, force: true});
    }
  });
});
