/** The memory plan: buffers that live at the same time never share a block, and few blocks serve long chains. */
import {expect} from 'chai';
import {planMemory, type Lifetime} from '../../src/tfjs/memory_plan.js';
import {mulberry32, seed} from '../support/random.js';
import {between} from '../support/reference.js';

const total = (sizes: number[]) => sizes.reduce((a, b) => a + b, 0);

describe('planMemory', () => {
  it('alternates between two blocks in a chain', () => {
    const chain = Array.from({length: 12}, (_, i) => ({bytes: 64, first: i, last: i + 1}));
    const {blocks, blockOf} = planMemory(chain);
    expect(blocks).to.deep.equal([64, 64]);
    blockOf.slice(1).forEach((block, i) => expect(block).not.to.equal(blockOf[i]));
  });

  it('puts a small buffer in the smallest block that is free', () => {
    const {blocks, blockOf} = planMemory([
      {bytes: 1000, first: 0, last: 1}, {bytes: 100, first: 0, last: 1}, {bytes: 90, first: 2, last: 3},
    ]);
    expect(blocks).to.deep.equal([1000, 100]);
    expect(blockOf).to.deep.equal([0, 1, 1]);
  });

  it('keeps what is needed to the end apart', () => {
    const {blocks} = planMemory([{bytes: 8, first: 0, last: Infinity}, {bytes: 8, first: 5, last: 6}]);
    expect(blocks).to.deep.equal([8, 8]);
    expect(planMemory([])).to.deep.equal({blocks: [], blockOf: []});
  });

  it('is right and no larger than all buffers together for random lifetimes', () => {
    const random = mulberry32(seed);
    for (let round = 0; round < 200; ++round) {
      const lifetimes: Lifetime[] = Array.from({length: between(random, 1, 30)}, () => {
        const first = between(random, 0, 20);
        return {bytes: 4 * between(random, 1, 50), first, last: first + between(random, 0, 8)};
      });
      const {blocks, blockOf} = planMemory(lifetimes);
      lifetimes.forEach((a, i) => {
        expect(blocks[blockOf[i]]).to.be.at.least(a.bytes);
        lifetimes.slice(0, i).forEach((b, j) => {
          expect(blockOf[i] === blockOf[j] && a.first <= b.last && b.first <= a.last).to.equal(false);
        });
      });
      const live = Array.from({length: 30}, (_, t) =>
        total(lifetimes.filter(({first, last}) => first <= t && t <= last).map(({bytes}) => bytes)));
      expect(total(blocks)).to.be.within(Math.max(...live), total(lifetimes.map(({bytes}) => bytes)));
    }
  });
});
