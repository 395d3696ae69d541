/** Mocha in Node, reporting the way karma does here (see report.mjs). */
import Mocha from 'mocha';
import {difference, Report} from './report.mjs';

const {EVENT_TEST_PASS, EVENT_TEST_FAIL, EVENT_TEST_PENDING, EVENT_RUN_END} = Mocha.Runner.constants;

export default class MochaReporter {
  constructor(runner) {
    const report = new Report();
    const add = (test, state, error) =>
      report.add({titles: test.titlePath(), state, ms: test.duration, file: test.file, error});
    runner.on(EVENT_TEST_PASS, test => add(test, 'passed'));
    runner.on(EVENT_TEST_PENDING, test => add(test, 'skipped'));
    runner.on(EVENT_TEST_FAIL, (test, error) => {
      const [actual, expected] = [error.actual, error.expected].map(value => Mocha.utils.stringify(value));
      add(test, 'failed', (error.stack ?? String(error)) + difference({showDiff: error.showDiff, actual, expected}));
    });
    runner.on(EVENT_RUN_END, () => report.end());
  }
}
