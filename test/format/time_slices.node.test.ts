/** Long work lets the event loop run between turns, and is the same work in one go. */
import {expect} from 'chai';
import {inOneGo, inTimeSlices, type Work} from '../../src/format/time_slices.js';

/** Three steps, each longer than a turn. */
function* slow(onStep: () => void): Work<string> {
  for (let step = 0; step < 3; ++step) {
    onStep();
    for (const ends = performance.now() + 60; performance.now() < ends;) {
      // busy: that is the point
    }
    yield 1;
  }
  return 'done';
}

describe('inTimeSlices', () => {
  it('lets a macro-task run after every turn, and reports progress', async () => {
    const log: string[] = [];
    const result = await inTimeSlices(slow(() => {
      log.push('step');
      setTimeout(() => log.push('macro-task'), 0);
    }), 3, fraction => log.push(fraction.toFixed(2)));
    expect(result).to.equal('done');
    const step = (fraction: string) => ['step', fraction, 'macro-task'];
    expect(log).to.deep.equal([...step('0.33'), ...step('0.67'), ...step('1.00'), '1.00']);
  });

  it('passes on what the work throws', async () => {
    const failing = inTimeSlices((function* (): Work<void> {
      yield 1;
      throw new Error('no');
    })(), 2);
    expect(await failing.catch(error => (error as Error).message)).to.equal('no');
  });
});

describe('inOneGo', () => {
  it('gives the result of the whole work', () => {
    let steps = 0;
    expect(inOneGo(slow(() => ++steps))).to.equal('done');
    expect(steps).to.equal(3);
  });
});
