/**
 * nm-prune, the command: arguments in, exit code out. What it does is in run.ts.
 */
import {inspect} from 'node:util';
import {parseArguments} from './arguments.js';
import {UsageError} from './errors.js';
import {progressBar} from './progress_bar.js';
import {formatReport} from './report_table.js';
import {run} from './run.js';

async function main(): Promise<void> {
  const parsed = parseArguments(process.argv.slice(2), text => process.stdout.write(text));
  if (!parsed) {
    return;
  }
  const {options, quiet} = parsed;
  const bar = progressBar(process.stderr, quiet);
  try {
    const report = await run({...options, onProgress: bar.update});
    bar.stop();
    if (!quiet) {
      process.stdout.write(formatReport(report));
    }
  } finally {
    bar.stop();
  }
}

function complain(error: Error): void {
  const usage = error instanceof UsageError;
  process.stderr.write(`nm-prune: ${process.env.DEBUG ? inspect(error) : error.message}\n`);
  if (usage) {
    process.stderr.write('nm-prune --help lists all flags\n');
  }
  process.exitCode = usage ? 2 : 1;
}

/** Dawn keeps Node alive for as long as it holds a GPU, so the end has to be said; once all output is out. */
function exit(): void {
  process.stdout.write('', () => process.stderr.write('', () => process.exit()));
}

main().catch(complain).finally(exit);
