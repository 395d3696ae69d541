/** Mocha in Node, reporting the way karma does here (see report.mjs). */
import Mocha from 'mocha';
import {Report} from './report.mjs';

const {EVENT_TEST_PASS, EVENT_TEST_FAIL, EVENT_TEST_PENDING, EVENT_RUN_END} = Mocha.Runner.constants;

export default class MochaReporter {
  constructor(runner) {
    const report = new Report();
    const add = (test, state, error) => report.add({titles: test.titlePath(), file: test.file, state, error});
    runner.on(EVENT_TEST_PASS, test => add(test, 'passed'));
    runner.on(EVENT_TEST_PENDING, test => add(test, 'skipped'));
    runner.on(EVENT_TEST_FAIL, (test, error) => {
      // assertion errors from chai carry what was compared beside the message
      const {showDiff, expected, actual} = error;
      const diff = showDiff ? `\n${Mocha.reporters.Base.generateDiff(
        Mocha.utils.stringify(actual), Mocha.utils.stringify(expected))}` : '';
      add(test, 'failed', `${error.stack ?? error}${diff}`);
    });
    runner.on(EVENT_RUN_END, () => report.end());
  }
}
