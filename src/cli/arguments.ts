/**
 * The command line: its flags, its help, and its conversion to RunOptions. Flags that tensorflowjs_converter also has
 * have the same names. What is wrong with a command line, independent of the files on the disk, is a UsageError.
 */
import {Command, CommanderError, InvalidArgumentError, Option} from 'commander';
import {version} from '../../package.json';
import {readPattern} from '../format/pattern.js';
import {CRITERION_NAMES, type CriterionName} from '../pruning/options.js';
import {BACKENDS, type BackendChoice} from './backend.js';
import {UsageError} from './errors.js';
import {printable} from './printable.js';
import {DEFAULT_SHARD_BYTES, type RunOptions} from './prune_model_folder.js';

export interface Arguments {
  options: RunOptions;
  quiet: boolean;
  /** Report every layer, not a summary alone. */
  verbose: boolean;
}

/** What commander makes of the flags, under their own names. */
interface Flags {
  pattern?: string;
  include?: string[];
  exclude?: string[];
  per_layer?: Array<[glob: string, pattern: string]>;
  criterion: CriterionName;
  quantize_float16?: string | true;
  weight_shard_size_bytes: number;
  backend?: BackendChoice;
  json?: string;
  overwrite?: true;
  register?: string[];
  masks?: string;
  allow_outside_files?: true;
  verbose?: true;
  quiet?: true;
}

/** Characters of an argument that an error quotes. */
const MOST_SHOWN = 100;

const EXAMPLES = `
A pattern N:M keeps N of every M weights along the input; N:MvL shares the choice among L outputs, which is faster.
In globs * matches any text, / too. Nested models' layers are 'model/layer'.

Examples:
  nm-prune web_model/model.json pruned --pattern 8:32v32
      keep a quarter of every dense layer
  nm-prune web_model/model.json pruned --pattern 2:4 --exclude 'logits' --quantize_float16
      half of all but one layer; all weights as float16
  nm-prune web_model/model.json pruned --per_layer 'encoder/*=8:32v32' --per_layer '*=2:4' --json report.json
      by layer, the first glob that matches; the report as JSON too

Exit codes: 0 converted, 1 could not be done, 2 wrong usage. Nothing is written unless all went well.
Documentation: docs/cli.md of this package.`;

/**
 * Reads a command line.
 * @param args without node and the script.
 * @param print where --help and --version write.
 * @returns undefined if help or the version was all that was asked for.
 * @throws UsageError
 */
export function parseArguments(args: string[], print: (text: string) => void): Arguments | undefined {
  const command = describeCommand(print);
  try {
    command.parse(args, {from: 'user'});
  } catch (error) {
    if (!(error instanceof CommanderError)) {
      throw error;
    }
    if (error.exitCode === 0) {
      return undefined;
    }
    const message = shorten(error.message.replace(/^error: /, '').replaceAll('\n', ' '), args);
    throw new UsageError(message + hintFor(message, command.opts<Flags>()), {cause: error});
  }
  const [modelJson, outDir] = command.args;
  if (modelJson === '' || outDir === '') {
    throw new UsageError(`${modelJson === '' ? '<model.json>' : '<outDir>'} is empty; give a path, . for this folder`);
  }
  return toArguments(modelJson, outDir, command.opts<Flags>());
}

function describeCommand(print: (text: string) => void): Command {
  return new Command('nm-prune')
    .description('Prunes the dense layers of a TensorFlow.js layers model to an N:M pattern, and stores them so.')
    .argument('<model.json>', 'the model to convert')
    .argument('<outDir>', 'the folder to write')
    .addOption(new Option('--pattern <N:MvL>', 'the pattern, e.g. 2:4 or 8:32v32').argParser(checkPattern))
    .addOption(new Option('--include <glob>', 'convert only these layers; repeatable').argParser(collect))
    .addOption(new Option('--exclude <glob>', 'leave these layers dense; repeatable').argParser(collect))
    .addOption(new Option('--per_layer <glob=pattern>', "a pattern, or 'dense', for some layers; repeatable")
      .argParser(collectPerLayer))
    .addOption(new Option('--criterion <name>', 'how kept weights are chosen').choices(CRITERION_NAMES)
      .default('magnitude'))
    .option('--quantize_float16 [globs]',
      'store sparse values as float16, and the other float32 weights too, or those that match (comma-separated)')
    .addOption(new Option('--weight_shard_size_bytes <bytes>', 'size of the weight files').argParser(checkShardSize)
      .default(DEFAULT_SHARD_BYTES))
    .addOption(new Option('--backend <name>', 'what computes; default: the fastest installed').choices(BACKENDS))
    .addOption(new Option('--json <file>', 'write the report there as JSON').argParser(checkGiven))
    .option('--overwrite', 'replace the model in outDir; every other file in it stays')
    .addOption(new Option('--register <module>', 'import a module that registers custom classes; repeatable')
      .argParser(collect))
    .addOption(new Option('--masks <manifest>', 'a weights manifest that says, for some layers, which weights to keep')
      .argParser(checkGiven))
    .option('--allow_outside_files', 'read weight files that model.json names outside its own folder')
    .option('--verbose', 'report every layer, not a summary alone')
    .option('--quiet', 'no progress bar and no report')
    .version(version)
    .addHelpText('after', EXAMPLES)
    .allowExcessArguments(false)
    .showSuggestionAfterError()
    .exitOverride()
    .configureOutput({writeOut: print, writeErr: () => undefined});
}

function toArguments(modelJson: string, outDir: string, flags: Flags): Arguments {
  const {per_layer: rules, quantize_float16: globs, weight_shard_size_bytes: weightShardSizeBytes} = flags;
  if (flags.pattern === undefined && rules === undefined) {
    throw new UsageError("--pattern is missing; give one, e.g. --pattern 8:32v32, or --per_layer 'glob=pattern'");
  }
  const repeated = rules?.find(([glob], i) => rules.findIndex(([other]) => other === glob) < i);
  if (repeated) {
    throw new UsageError(`--per_layer has the glob '${repeated[0]}' twice`);
  }
  const {pattern, include, exclude, criterion, backend, json, overwrite, register, masks, quiet, verbose} = flags;
  return {
    quiet: quiet ?? false,
    verbose: verbose ?? false,
    options: {
      modelJson, outDir, pattern, include, exclude, criterion, backend, json, overwrite, register, masks,
      weightShardSizeBytes,
      allowOutsideFiles: flags.allow_outside_files,
      perLayer: rules,
      quantizeFloat16: globs === true ? ['*'] : globs?.split(',').map(glob => glob.trim()).filter(Boolean),
    },
  };
}

/** What a user who got this message probably meant. */
function hintFor(message: string, {quantize_float16: globs}: Flags): string {
  if (/unknown option '--(dtype|storage)/.test(message)) {
    return '; --quantize_float16 stores weights as float16';
  }
  // `--quantize_float16 model.json out` takes model.json for its globs, and then outDir seems to be missing.
  return typeof globs === 'string' ?
    `; --quantize_float16 took '${globs}' for its globs: put it last, or write --quantize_float16='*'` : '';
}

/** commander quotes arguments whole, however long they are. */
function shorten(message: string, args: string[]): string {
  const values = args.flatMap(arg => [arg, arg.slice(arg.indexOf('=') + 1)]);
  return values.filter(value => value !== '')
    .reduce((text, value) => text.replaceAll(value, printable(value, MOST_SHOWN)), message);
}

function checkPattern(pattern: string): string {
  if (pattern.length > MOST_SHOWN) {
    throw new InvalidArgumentError('It is too long for a pattern.');
  }
  readPattern(pattern, problem => {
    throw new InvalidArgumentError(problem);
  });
  return pattern;
}

function checkGiven(value: string): string {
  if (value === '') {
    throw new InvalidArgumentError('It is empty.');
  }
  return value;
}

function collect(value: string, previous: string[] = []): string[] {
  return [...previous, checkGiven(value)];
}

function collectPerLayer(value: string, previous: Array<[string, string]> = []): Array<[string, string]> {
  const at = value.lastIndexOf('=');
  if (at <= 0) {
    throw new InvalidArgumentError("Write it as 'glob=pattern', e.g. 'encoder/*=8:32v32' or 'logits=dense'.");
  }
  const [glob, pattern] = [value.slice(0, at), value.slice(at + 1)];
  return [...previous, [glob, pattern === 'dense' ? pattern : checkPattern(pattern)]];
}

function checkShardSize(value: string): number {
  const bytes = Number(value);
  if (!Number.isSafeInteger(bytes) || bytes < 1) {
    throw new InvalidArgumentError('Give a whole number of bytes, at least 1, e.g. 4194304.');
  }
  return bytes;
}
