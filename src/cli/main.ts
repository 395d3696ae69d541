/**
 * nm-prune, the command: arguments in, exit code out. What it does is in prune_model_folder.ts.
 */
import {inspect} from 'node:util';
import {parseArguments} from './arguments.js';
import {reasonOf, UsageError} from './errors.js';
import {printable, printableLines} from './printable.js';
import {progressBar} from './progress_bar.js';
import {formatReport} from './report_table.js';
import {run} from './prune_model_folder.js';

async function main(): Promise<void> {
  let asked = '';
  const parsed = parseArguments(process.argv.slice(2), text => asked += text);
  if (!parsed) {
    await print(asked);
    return;
  }
  const {options, quiet, verbose} = parsed;
  const bar = progressBar(process.stderr, quiet);
  try {
    await run({
      ...options,
      onProgress: bar.update,
      onReport: async report => {
        bar.stop();
        if (!quiet) {
          await print(formatReport(report, verbose));
        }
      },
    });
    if (!quiet) {
      // The model is written. That a reader who has the report is gone by now is no failure.
      await print(`written to ${printable(options.outDir)}\n`).catch(() => undefined);
    }
  } finally {
    bar.stop();
  }
}

/** @throws Error if stdout takes no more: a full disk, or a reader that has gone. */
function print(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, error => {
      if (error) {
        reject(new Error(`cannot write to stdout: ${reasonOf(error)}; no model was written. --quiet prints no report`,
          {cause: error}));
      } else {
        resolve();
      }
    });
  });
}

function complain(error: Error): void {
  const usage = error instanceof UsageError;
  const text = process.env.DEBUG ? inspect(error) : reasonLines(error);
  process.stderr.write(`nm-prune: ${printableLines(text)}\n`);
  if (usage) {
    process.stderr.write('nm-prune --help lists all flags\n');
  }
  process.exitCode = usage ? 2 : 1;
}

/** The message; of what is thrown and is no Error, its text. */
function reasonLines(error: unknown): string {
  return error instanceof Error ? error.message : reasonOf(error);
}

/** Dawn keeps Node alive for as long as it holds a GPU, so the end has to be said; once all output is out. */
function exit(): void {
  process.stdout.write('', () => process.stderr.write('', () => process.exit()));
}

// Failures to write are told by the callbacks; without a listener they would end the process.
process.stdout.on('error', () => undefined);
process.stderr.on('error', () => undefined);
// Errors of a --register module that are thrown in a timer or in a promise it does not await.
process.on('uncaughtException', error => {
  complain(error instanceof Error ? error : new Error(String(error)));
  exit();
});
// If the event loop is empty before main() has ended, a promise never settled.
process.exitCode = 1;
process.on('beforeExit', () => {
  complain(new Error('a module of --register never finished; nothing was written'));
  exit();
});
main().then(() => {
  process.exitCode = 0;
}, complain).finally(exit);
