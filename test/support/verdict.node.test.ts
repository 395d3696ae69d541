/** The end of `npm test`: tests and runs are counted apart, and no test can be left out without a failure. */
import {expect} from 'chai';
import {judge, repeatedTitles, sumUp, type Result} from './verdict.mjs';

const passed = (...titles: string[]): Result[] => titles.map(title => ({title, state: 'passed'}));
const failed = (title: string): Result => ({title, state: 'failed', error: 'Error: 1 is not 2\n    at here'});
const skipped = (title: string): Result => ({title, state: 'skipped'});
const run = (name: string, results: Result[], {declared = results.map(({title}) => title), exit = 0 as number | string,
  complete = true} = {}) => judge({name, exit, declared, results, complete});

describe('the summary of npm test', () => {
  const lastLine = (...verdicts: Array<ReturnType<typeof judge>>) => sumUp(verdicts).lines.at(-1);

  it('counts a test that runs on two runners once, and its runs twice', () => {
    expect(lastLine(run('node-cpu', passed('a', 'b', 'c')), run('karma-webgl', passed('a', 'b'))))
      .to.equal('3 tests passed in 5 runs, 0 failed');
  });

  it('names the failures and the skipped tests before it', () => {
    const {lines, failed: count} = sumUp([
      run('node-cpu', [...passed('a'), failed('b')], {exit: 1}), run('karma-webgl', [skipped('a'), failed('b')]),
      {name: 'lint', passed: [], skipped: [], failures: ['ended with 1']},
    ]);
    expect(lines).to.deep.equal([
      'skipped on karma-webgl: a',
      'FAILED node-cpu: b: Error: 1 is not 2',
      'FAILED karma-webgl: b: Error: 1 is not 2',
      'FAILED lint: ended with 1',
      '1 tests passed in 1 runs, 3 failed, 1 skipped',
    ]);
    expect(count).to.equal(3);
  });
});

describe('the verdict on a runner', () => {
  const failures = (...args: Parameters<typeof run>) => run(...args).failures;

  it('is free of failures if every declared test passed', () => {
    expect(failures('node-cpu', passed('a'))).to.deep.equal([]);
  });

  it('fails a declared test that did not run', () => {
    expect(failures('node-cpu', passed('a'), {declared: ['a', 'b']}))
      .to.deep.equal(['b: declared, but it did not run']);
  });

  it('fails a runner without tests', () => {
    expect(failures('node-cpu', [])).to.deep.equal(['there is no test to run']);
  });

  it('fails a run that did not reach its end', () => {
    expect(failures('node-webgpu', passed('a'), {complete: false, exit: 'SIGSEGV'}))
      .to.deep.equal(['the run broke off (SIGSEGV) after: a']);
  });

  it('fails a process that ends badly after all tests passed, unless it ran Dawn', () => {
    expect(failures('node-cpu', passed('a'), {exit: 7})).to.deep.equal(['all tests ran, but the process ended with 7']);
    expect(failures('node-webgpu', passed('a'), {exit: 'SIGSEGV'})).to.deep.equal([]);
  });

  it('needs titles that occur once', () => {
    expect(repeatedTitles(['a', 'b', 'a', 'a'])).to.deep.equal(['a']);
  });
});
