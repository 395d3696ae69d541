/**
 * Turns the runners' reports into the end of `npm test`: what failed, and a count of tests and of runs.
 *
 * A test is a title. Titles are unique, and a test that runs on four runners is one test and four runs.
 */
import {existsSync, readFileSync} from 'node:fs';

const LISTED_FAILURES = 20; // when a page does not load, every test of it is missing

/**
 * Reads the file that a Report wrote (report.mjs).
 * @returns {{results: {title: string, state: string, file?: string, error?: string}[], complete: boolean}} `complete`:
 *     the run reached its end.
 */
export function readReport(file) {
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
  const entries = lines.map(line => JSON.parse(line));
  return {
    results: entries.filter(({end}) => !end).map(result => ({...result, title: result.titles.join(' › ')})),
    complete: entries.some(({end}) => end),
  };
}

/** The titles that occur more than once. */
export function repeatedTitles(titles) {
  return [...new Set(titles.filter((title, at) => titles.indexOf(title) !== at))];
}

/**
 * Judges one runner's report.
 * @param name the runner's name
 * @param exit the exit code of its process, or the signal that ended it
 * @param declared the titles of the tests that it had to run
 * @returns {{name: string, passed: string[], skipped: string[], failures: string[]}} titles; of failures also the
 *     reason.
 */
export function judge({name, exit, declared, results, complete}) {
  const are = wanted => results.filter(({state}) => state === wanted);
  const titles = wanted => are(wanted).map(({title}) => title);
  const failures = are('failed').map(({title, error}) => `${title}: ${error.trim().split('\n')[0]}`);
  const ran = new Set(results.map(({title}) => title));
  failures.push(...declared.filter(title => !ran.has(title)).map(title => `${title}: declared, but it did not run`));
  if (declared.length === 0) {
    failures.push('there is no test to run');
  }
  if (!complete) {
    failures.push(`the run broke off (${exit}) after: ${results.at(-1)?.title ?? 'nothing'}`);
  } else if (exit !== 0 && failures.length === 0) {
    if (name === 'node-webgpu') {
      console.log(`${name} | all tests ran; Dawn then ended the process with ${exit}, as it sometimes does`);
    } else {
      failures.push(`all tests ran, but the process ended with ${exit}`);
    }
  }
  return {name, passed: titles('passed'), skipped: titles('skipped'), failures};
}

/**
 * The lines that end `npm test`. The last one is `N tests passed in M runs, F failed`, then `, S skipped` if any were.
 * N counts the tests that passed in at least one run. M, F and S count runs; a check that fails counts in F.
 * @param verdicts what `judge` returned for each runner, and the same for each check
 * @returns {{lines: string[], failed: number}}
 */
export function sumUp(verdicts) {
  const lines = verdicts.flatMap(({name, skipped}) => skipped.map(title => `skipped on ${name}: ${title}`));
  for (const {name, failures} of verdicts) {
    lines.push(...failures.slice(0, LISTED_FAILURES).map(failure => `FAILED ${name}: ${failure}`));
    if (failures.length > LISTED_FAILURES) {
      lines.push(`FAILED ${name}: … and ${failures.length - LISTED_FAILURES} more`);
    }
  }
  const all = of => verdicts.flatMap(of);
  const passes = all(({passed}) => passed);
  const failed = all(({failures}) => failures).length;
  const skipped = all(verdict => verdict.skipped).length;
  lines.push(`${new Set(passes).size} tests passed in ${passes.length} runs, ${failed} failed` +
    (skipped > 0 ? `, ${skipped} skipped` : ''));
  return {lines, failed};
}
