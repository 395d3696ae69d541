/**
 * What a runner tells: progress for the reader, one line per top-level suite and every failure in full as it happens;
 * and, in the file REPORT_FILE names, one JSON object per line for test/run.mjs. Lines, because they survive a crash:
 * Dawn can take Node down with it, and then the last line says how far the run had come. Only a run that reached its
 * end writes {"end": true}.
 */
import {appendFileSync, mkdirSync, writeFileSync} from 'node:fs';
import {dirname} from 'node:path';
import Mocha from 'mocha';

/** What an assertion compared, as a diff; '' if there is nothing to show. The two values are strings already. */
export function difference({showDiff, actual, expected} = {}) {
  return showDiff ? `\n${Mocha.reporters.Base.generateDiff(actual, expected)}` : '';
}

export class Report {
  #file = process.env.REPORT_FILE;
  #suite;
  #counts = {};
  #ms = 0;

  constructor() {
    if (this.#file) {
      mkdirSync(dirname(this.#file), {recursive: true});
      writeFileSync(this.#file, '');
    }
  }

  /** `state` is 'passed', 'failed' (then there is `error`) or 'skipped'. */
  add(result) {
    const {titles, state, ms = 0, error} = result;
    if (this.#suite !== titles[0]) {
      this.#closeSuite();
      this.#suite = titles[0];
      this.#counts = {passed: 0, failed: 0, skipped: 0};
      this.#ms = 0;
    }
    this.#counts[state]++;
    this.#ms += ms;
    if (state === 'failed') {
      console.log(`FAILED ${titles.join(' › ')}\n${error.trimEnd().replace(/^/gm, '    ')}`);
    }
    this.#write(result);
  }

  end() {
    this.#closeSuite();
    this.#write({end: true});
  }

  #closeSuite() {
    if (this.#suite === undefined) {
      return;
    }
    const counts = Object.entries(this.#counts).filter(([, count]) => count > 0)
      .map(([state, count]) => `${count} ${state}`);
    console.log(`${this.#suite}: ${counts.join(', ')} (${(this.#ms / 1000).toFixed(1)} s)`);
    this.#suite = undefined;
  }

  #write(line) {
    if (this.#file) {
      appendFileSync(this.#file, JSON.stringify(line) + '\n');
    }
  }
}
