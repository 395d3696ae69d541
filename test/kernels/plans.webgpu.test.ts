/**
 * Every plan that the kernels offer computes the product, not only those that are chosen on the device at hand. Drawn
 * anew in each run: a pool of random products, and for every kind of program, tile by tile, some plan on offer for one
 * of them. They run in dirty buffers, every other one with NaN in a row of x and a column of W, which must stay there.
 */
import {expect} from 'chai';
import {ACTIVATIONS} from '../../kernels/contract.js';
import {gemvGeometry} from '../../kernels/webgpu/gemv/config.js';
import {candidatePlans} from '../../kernels/webgpu/candidates.js';
import type {Plan} from '../../kernels/webgpu/plan.js';
import {VECTOR_LENGTHS} from '../../src/format/pattern.js';
import {mulberry32, seed} from '../support/random.js';
import {checkProduct, kindOf, problemOf, type Product} from '../support/products.js';
import {activeLimits, between, pick, type Random} from '../support/reference.js';

/** The common ones as often as all others together: windows that divide nothing, long ones, dense ones. */
const COMMON = ['1:4', '2:4', '4:8', '1:8', '2:16', '16:32', '12:32', '8:32', '4:32'];
const UNCOMMON = [
  '1:2', '2:3', '3:5', '5:7', '7:9', '1:20', '6:32', '5:32', '3:32', '31:32', '1:33', '2:40', '7:50', '20:64', '3:100',
  '100:256', '1:1', '4:4', '5:5', '32:32', '256:256',
];

const POOL = 400;

function drawProduct(random: Random): Product {
  const aligned = random() < 0.5;
  const most = pick(random, [8, 80, 300]);
  return {
    rows: pick(random, [1, 2, between(random, 3, 16), between(random, 17, 64), between(random, 65, 150)]),
    shape: [
      between(random, 1, pick(random, [40, 300, 700])),
      aligned ? 4 * between(random, 1, most / 4) : 4 * between(random, 0, most / 4 - 1) + between(random, 1, 3),
    ],
    pattern: `${pick(random, random() < 0.5 ? COMMON : UNCOMMON)}v${pick(random, VECTOR_LENGTHS)}`,
    dtype: pick(random, ['float32', 'float16']),
    activation: pick(random, ACTIVATIONS),
    hasBias: random() < 0.5,
    slopes: pick(random, ['scalar', 'column']),
  };
}

/** What a plan has in common with plans for other products that differ in little more than numbers. */
function programOf(plan: Plan): string {
  if (plan.kind === 'gemv') {
    const {rows, vecCols, threads, turn, xLayout} = plan.config;
    const spread = gemvGeometry(plan.config).spread ? ', spread' : '';
    return `${rows} rows, ${vecCols} vec4s, ${threads} threads, ${turn} kept rows a turn${spread}, ${xLayout}`;
  }
  const {strategy, xLayout, tileRows, tileCols, threadRows, threadCols, block, buffers} = plan.config;
  const steps = strategy !== 'window' ? `${block} kept rows` : block === 1 ? 'a window' : 'windows';
  return `${tileRows}×${tileCols} by threads of ${threadRows}×${threadCols}, ${steps} a step, ${buffers} buffers, ` +
    xLayout;
}

interface Run {
  product: Product;
  plan: Plan;
}

/** How the kept rows are divided: over workgroups, over threads of one, or not at all. */
function division({config, splits}: Plan): string {
  return splits > 1 ? 'splits' : 'slices' in config && config.slices > 1 ? 'slices' : 'whole';
}

/** Of each program that `wanted` plans run, one, divided in a way that chance decides. */
function drawRuns(random: Random, wanted: (plan: Plan) => boolean): Run[] {
  const programs = new Map<string, Run[]>();
  for (let i = 0; i < POOL; ++i) {
    const product = drawProduct(random);
    for (const plan of candidatePlans(problemOf(product), activeLimits()).filter(wanted)) {
      const program = programOf(plan);
      programs.set(program, [...programs.get(program) ?? [], {product, plan}]);
    }
  }
  return [...programs.values()].map(runs => {
    const divided = pick(random, ['splits', 'slices', 'whole']);
    const alike = runs.filter(({plan}) => division(plan) === divided);
    return pick(random, alike.length > 0 ? alike : runs);
  });
}

/** Runs them all, and throws what went wrong with any. */
async function checkAll(runs: Run[], random: Random): Promise<void> {
  const failures: string[] = [];
  for (const [i, {product, plan}] of runs.entries()) {
    await checkProduct(product, {random, plan, sick: i % 2 === 0})
      .catch((error: Error) => failures.push(error.message));
  }
  if (failures.length > 0) {
    throw new Error(`${failures.length} of ${runs.length} products: ${failures.slice(0, 5).join('\n')}`);
  }
}

describe('every plan on offer multiplies', function() {
  this.timeout(240_000);

  const KINDS: Array<[string, number, (plan: Plan) => boolean]> = [
    ['few rows, x row-major', 16, plan => plan.kind === 'gemv' && !gemvGeometry(plan.config).kMajor],
    ['some rows, x transposed', 8, plan => plan.kind === 'gemv' && gemvGeometry(plan.config).kMajor],
    ['packed tiles', 6, plan => kindOf(plan) === 'packed'],
    ['tiles of whole windows', 6, plan => kindOf(plan) === 'window'],
    ['tiles that kept rows are spread in', 5, plan => kindOf(plan) === 'spread'],
    ['tiles of a dense W', 5, plan => kindOf(plan) === 'dense'],
  ];
  for (const [i, [kind, least, wanted]] of KINDS.entries()) {
    it(`in ${kind}`, async () => {
      const random = mulberry32(seed + i);
      const runs = drawRuns(random, wanted);
      expect(runs).to.have.length.of.at.least(least);
      await checkAll(runs, random);
    });
  }

  it('by the dense fallback, for any pattern', async () => {
    const random = mulberry32(seed + 10);
    const runs = drawRuns(random, plan => kindOf(plan) === 'expand');
    expect(runs).to.have.length.of.at.least(5);
    // The programs are those of dense tiles; what differs is the pass before.
    await checkAll(runs.filter((_, i) => i % 2 === 0), random);
  });

  it('by a sample of all plans of one product', async () => {
    const random = mulberry32(seed + 11);
    const product: Product = {
      rows: between(random, 9, 16), shape: [between(random, 150, 200), between(random, 20, 80)],
      pattern: pick(random, COMMON.map(pattern => `${pattern}v4`)), dtype: 'float16', activation: 'gelu', hasBias: true,
    };
    const plans = candidatePlans(problemOf(product), activeLimits());
    expect(plans).to.have.length.of.at.least(8);
    await checkAll(plans.filter(() => random() < 20 / plans.length).map(plan => ({product, plan})), random);
  });
});
