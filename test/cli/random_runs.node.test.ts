/**
 * Random command lines in random folders: links, spaces, foreign files, folders that may not be written, and folders
 * that change during the run. Whatever happens, no file is lost that the user did not name as output, and none is read
 * outside the model's folder.
 *
 *   ROUNDS=10000 npm test -- --only node-cpu random_runs
 */
import {
  chmodSync, chownSync, existsSync, linkSync, lstatSync, mkdirSync, mkdtempSync, promises as fs, readdirSync,
  readFileSync, readlinkSync, realpathSync, rmSync, statSync, symlinkSync, writeFileSync,
} from 'node:fs';
import {tmpdir} from 'node:os';
import {basename, dirname, join, relative, resolve, sep} from 'node:path';
import {layers, sequential} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {parseArguments} from '../../src/cli/arguments.js';
import {folderSource} from '../../src/cli/model_io/file_source.js';
import {readModelFiles} from '../../src/cli/model_io/read_model.js';
import {run} from '../../src/cli/prune_model_folder.js';
import {allowLeak} from '../support/backend.js';
import {mulberry32, seed} from '../support/random.js';
import {inFolder, save} from './support.js';

const ROUNDS = Number(process.env.ROUNDS ?? 300);
/** A user that may not do everything: root ignores the permissions of folders. */
const NOBODY = 65534;

type Files = Map<string, Buffer>;

/** Random choices, each round with its own. */
class Dice {
  constructor(readonly random: () => number) {}
  below(count: number): number {
    return Math.floor(this.random() * count);
  }
  chance(probability: number): boolean {
    return this.random() < probability;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)];
  }
}

/** Saves models of every make, as files in memory: two plain ones, and some that were converted. */
async function makeModels(folder: string): Promise<Files[]> {
  const model = () => sequential({layers: [layers.dense({name: 'one', units: 8, inputShape: [8]})]});
  const sources = [await save(model(), join(folder, 'a')), await save(model(), join(folder, 'b'), {shardBytes: 100})];
  for (const [i, modelJson] of sources.entries()) {
    await run({modelJson, outDir: join(folder, `converted${i}`), pattern: '2:4', backend: 'cpu'});
  }
  return readdirSync(folder).map(name => new Map(readdirSync(join(folder, name))
    .map(file => [file, readFileSync(join(folder, name, file))])));
}

const NAMES = ['a', 'b c', 'ü', 'out', 'photos.bin', '.git', "it's"];
const FILE_NAMES = ['train.bin', 'thesis.txt', 'model.json', 'group1-shard1of1.bin', 'report.json', 'b c', 'w.bin'];

/** Fills a folder; returns its path, and all paths in it. */
function makeLayout(root: string, models: Files[], dice: Dice): string[] {
  const folders = [root];
  const attempt = (work: () => void) => {
    try {
      work();
    } catch {
      // Something else has that name.
    }
  };
  for (let i = 0; i < 2 + dice.below(5); ++i) {
    attempt(() => {
      const folder = join(dice.pick(folders), dice.pick(NAMES));
      mkdirSync(folder);
      folders.push(folder);
    });
  }
  for (let i = 0; i < 1 + dice.below(3); ++i) {
    const folder = dice.pick(folders);
    dice.pick(models).forEach((bytes, name) => attempt(() => writeFileSync(join(folder, name), bytes, {flag: 'wx'})));
    if (dice.chance(0.2)) {
      attempt(() => leadOut(join(folder, 'model.json'), folders, dice));
    }
  }
  for (let i = 0; i < dice.below(6); ++i) {
    const file = join(dice.pick(folders), dice.pick(FILE_NAMES));
    attempt(() => writeFileSync(file, `foreign ${dice.random()}`, {flag: 'wx'}));
  }
  for (let i = 0; i < dice.below(5); ++i) {
    const all = [...snapshot(root).keys()].map(path => join(root, path));
    const target = dice.chance(0.1) ? 'nowhere' : dice.pick(all);
    const place = join(dice.pick(folders), dice.pick([...NAMES, ...FILE_NAMES, 'link']));
    attempt(() => dice.chance(0.25) ? linkSync(target, place) :
      symlinkSync(dice.chance(0.5) ? target : relative(dirname(place), target), place));
  }
  const paths = [...snapshot(root).keys()].map(path => join(root, path));
  if (process.geteuid?.() === 0) {
    [root, ...paths].filter(path => !lstatSync(path).isSymbolicLink()).forEach(path => chownSync(path, NOBODY, NOBODY));
  }
  folders.slice(1).filter(() => dice.chance(0.1)).forEach(folder => chmodSync(folder, 0o555));
  return [root, ...paths];
}

/** Edits a model.json so that it names weight files elsewhere. */
function leadOut(modelJson: string, folders: string[], dice: Dice): void {
  const json = JSON.parse(readFileSync(modelJson, 'utf8')) as {weightsManifest?: Array<{paths: string[]}>};
  json.weightsManifest?.forEach(group => {
    const file = join(dice.pick(folders), dice.pick(FILE_NAMES));
    group.paths = [dice.chance(0.5) ? file : relative(dirname(modelJson), file), ...group.paths.slice(1)];
  });
  writeFileSync(modelJson, JSON.stringify(json));
}

/** Every entry below a folder: 'dir', the target of a link, or a file's text. */
function snapshot(root: string): Map<string, string> {
  return new Map((readdirSync(root, {withFileTypes: true, recursive: true})).map(entry => {
    const path = join(entry.parentPath, entry.name);
    return [relative(root, path), entry.isDirectory() ? 'dir' : entry.isSymbolicLink() ? `→ ${readlinkSync(path)}` :
      `file ${readFileSync(path, 'latin1')}`];
  }));
}

/** A path, spelled in one of the many ways to say it. */
function spelled(path: string, cwd: string, dice: Dice): string {
  return dice.pick([
    path, path, relative(cwd, path) || '.', `${dirname(path)}${sep}.${sep}${basename(path)}`,
    `${dirname(path)}${sep}${sep}${basename(path)}`,
  ]);
}

function commandLine(paths: string[], cwd: string, dice: Dice): string[] {
  const folders = paths.filter(isFolder);
  const anywhere = () => spelled(dice.chance(0.2) ? dice.pick(paths) : dice.chance(0.5) ? dice.pick(folders) :
    join(dice.pick(folders), dice.pick([...NAMES, ...FILE_NAMES, 'new', join('new', 'deep')])), cwd, dice);
  const modelJsons = paths.filter(path => basename(path) === 'model.json');
  const flags: Array<[probability: number, make: () => string[]]> = [
    [0.6, () => ['--overwrite']],
    [0.3, () => ['--json', anywhere()]],
    [0.2, () => ['--allow_outside_files']],
    [0.2, () => ['--quantize_float16=*']],
    [0.3, () => ['--weight_shard_size_bytes', String(20 + dice.below(200))]],
    [0.03, () => ['--exclude', dice.pick(['one', '!one', 'none'])]],
  ];
  return [
    dice.chance(0.9) && modelJsons.length > 0 ? spelled(dice.pick(modelJsons), cwd, dice) : anywhere(),
    anywhere(), '--pattern', dice.pick(['2:4', '1:4', '4:8v4']), '--backend', 'cpu',
    ...flags.flatMap(([probability, make]) => dice.chance(probability) ? make() : []),
  ];
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory();
  } catch {
    return false; // a link to nothing, or in a circle
  }
}

/** What another process might do meanwhile. */
function interfere(paths: string[], outDir: string, modelJson: string, dice: Dice): void {
  const changes: Array<() => void> = [
    () => mkdirSync(outDir, {recursive: true}),
    () => writeFileSync(join(outDir, dice.pick(FILE_NAMES)), 'foreign, meanwhile'),
    () => {
      expect(realpathSync(outDir)).not.to.equal(paths[0]); // the sandbox itself
      rmSync(outDir, {recursive: true});
      symlinkSync(dirname(resolve(modelJson)), outDir);
    },
    () => symlinkSync(dice.pick(paths), outDir),
    () => writeFileSync(join(dice.pick(paths), dice.pick(FILE_NAMES)), 'foreign, meanwhile', {flag: 'wx'}),
  ];
  try {
    dice.pick(changes)();
  } catch {
    // It was not possible either.
  }
}

interface Round {
  root: string;
  args: string[];
  error: Error | undefined;
  /** The files as they were when the run could last be blamed for nothing. */
  before: Map<string, string>;
  read: string[];
}

async function runOnce(root: string, models: Files[], dice: Dice): Promise<Round> {
  const paths = makeLayout(root, models, dice);
  // A real path: what `..` means in a folder behind a link is not the question here.
  const cwd = realpathSync(dice.pick(paths.filter(isFolder)));
  const args = commandLine(paths, cwd, dice);
  const round: Round = {root, args, error: undefined, before: snapshot(root), read: []};
  const {writeFile, readFile} = fs;
  const start = process.cwd();
  const isRoot = process.geteuid?.() === 0;
  let changesAt = dice.chance(0.3) ? dice.below(4) : -1;
  process.chdir(cwd);
  try {
    const {options} = parseArguments(args, () => undefined)!;
    fs.readFile = ((file: string, ...rest: []) => {
      round.read.push(resolve(file));
      return readFile(file, ...rest);
    }) as typeof readFile;
    fs.writeFile = (async (...rest: Parameters<typeof writeFile>) => {
      if (changesAt-- === 0) {
        interfere(paths, options.outDir, options.modelJson, dice);
        round.before = new Map([...snapshot(root)].filter(([path]) => !path.includes('.nm-prune-')));
      }
      return writeFile(...rest);
    }) as typeof writeFile;
    if (isRoot) {
      process.seteuid!(NOBODY);
    }
    await run(options);
  } catch (error) {
    round.error = error as Error;
  } finally {
    if (isRoot) {
      process.seteuid!(0);
    }
    Object.assign(fs, {writeFile, readFile});
    process.chdir(start);
  }
  return {...round, args: [`(in ${relative(root, cwd) || '.'})`, ...args]};
}

/** The real path, also of something whose last part does not exist. */
function realPath(path: string): string {
  return existsSync(path) ? realpathSync(path) : join(realpathSync(dirname(path)), basename(path));
}

/** Everything that may have changed after a run that succeeded, as paths below the root. */
function namedAsOutput({root, args, before}: Round): {replaced: Set<string>; outDir: string} {
  const cwd = join(root, /^\(in (.*)\)$/.exec(args[0])![1]);
  const {options: {outDir, json, overwrite}} = parseArguments(args.slice(1), () => undefined)!;
  const real = realpathSync(resolve(cwd, outDir));
  const below = (path: string) => relative(realpathSync(root), path);
  const replaced = new Set<string>();
  if (json !== undefined) {
    replaced.add(below(realPath(resolve(cwd, json))));
  }
  const old = before.get(below(join(real, 'model.json')));
  if (overwrite && old?.startsWith('file ')) {
    const {weightsManifest} = JSON.parse(old.slice(5)) as {weightsManifest: Array<{paths: string[]}>};
    ['model.json', ...weightsManifest.flatMap(({paths}) => paths)]
      .forEach(path => replaced.add(below(resolve(real, path))));
  } else if (overwrite) {
    replaced.add(below(join(real, 'model.json'))); // a link: it is replaced, not followed
  }
  return {replaced, outDir: below(real)};
}

async function checkRound(round: Round): Promise<void> {
  const {root, args, error, before} = round;
  const after = snapshot(root);
  if (error) {
    expect(error.message.split('\n')[0]).to.have.length.within(10, 700);
    expect([...after].sort()).to.deep.equal([...before].sort());
    return;
  }
  const {replaced, outDir} = namedAsOutput(round);
  for (const [path, content] of before) {
    if (!replaced.has(path)) {
      expect(after.get(path), `'${path}' is lost`).to.equal(content);
    }
  }
  for (const [path, content] of after) {
    if (!before.has(path) && content !== 'dir') {
      expect(dirname(path) === (outDir || '.') || replaced.has(path), `'${path}' is new`).to.equal(true);
    }
  }
  await readModelFiles(folderSource(join(root, outDir, 'model.json')), 'model.json');
  if (!args.includes('--allow_outside_files')) {
    const cwd = join(root, /^\(in (.*)\)$/.exec(args[0])![1]);
    const folder = realpathSync(dirname(resolve(cwd, args[1])));
    const entry = resolve(cwd, args[1]);
    round.read.filter(file => file !== entry && !`${realpathSync(file)}`.startsWith(folder + sep))
      .forEach(file => expect.fail(`'${file}' was read`));
  }
}

describe('nm-prune, on random command lines in random folders,', function() {
  this.timeout(ROUNDS * 1000);

  it('loses no file that was not named as output, and reads none outside the model', () => inFolder(async folder => {
    allowLeak('tfjs keeps the layers of a model that it fails to load');
    const models = await makeModels(folder);
    let converted = 0;
    for (let i = 0; i < ROUNDS; ++i) {
      const root = realpathSync(mkdtempSync(join(tmpdir(), 'nm-prune-random-')));
      try {
        const round = await runOnce(root, models, new Dice(mulberry32(seed + i)));
        converted += round.error ? 0 : 1;
        await checkRound(round).catch((error: Error) => {
          error.message = `round ${i}, ${JSON.stringify(round.args)}: ${error.message}`;
          throw error;
        });
      } finally {
        rmSync(root, {recursive: true, force: true});
      }
    }
    // If hardly any run converted, the test would say little.
    expect(converted).to.be.above(ROUNDS / 20);
    if (process.env.ROUNDS) {
      console.log(`${ROUNDS} random command lines from seed ${seed}: ${converted} converted, the others refused`);
    }
  }));
});
