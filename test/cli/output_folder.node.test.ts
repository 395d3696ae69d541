/**
 * What nm-prune may write, replace and delete. Each test holds one way in which somebody else's file could be lost, or
 * read without being asked for.
 */
import {
  cpSync, existsSync, linkSync, lstatSync, mkdirSync, promises as fs, readdirSync, readFileSync, renameSync, rmSync,
  symlinkSync, writeFileSync,
} from 'node:fs';
import {join, relative} from 'node:path';
import {layers, sequential, type LayersModel} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {run, type RunOptions} from '../../src/cli/prune_model_folder.js';
import {allowLeak} from '../support/backend.js';
import {messageOf} from '../support/errors.js';
import {inFolder, load, readJson, save, snapshot, storedWeights} from './support.js';

function smallModel(): LayersModel {
  return sequential({layers: [layers.dense({name: 'one', units: 16, inputShape: [16]})]});
}

interface Place {
  folder: string;
  modelJson: string;
  outDir: string;
  /** Runs with these options beside the usual ones. */
  prune(options?: Partial<RunOptions>): Promise<unknown>;
}

/** A test with a model in folder/in, to be written to folder/out. */
function inPlace(test: (place: Place) => Promise<void>): () => Promise<void> {
  return () => inFolder(async folder => {
    const modelJson = await save(smallModel(), join(folder, 'in'));
    const outDir = join(folder, 'out');
    const prune = (options: Partial<RunOptions> = {}) =>
      run({modelJson, outDir, pattern: '2:4', backend: 'cpu', ...options});
    await test({folder, modelJson, outDir, prune});
  });
}

function put(file: string, text: string): void {
  mkdirSync(join(file, '..'), {recursive: true});
  writeFileSync(file, text);
}

/** What nm-prune leaves of a folder that was not there: nothing, also no staging folder. */
function expectOnly(folder: string, names: string[]): void {
  expect(readdirSync(folder)).to.have.members(names);
}

describe('nm-prune --overwrite', () => {
  for (const name of ['train.bin', 'photos.bin/cat.jpg', 'thesis.txt']) {
    it(`refuses a folder that holds ${name} and no model`, inPlace(async ({folder, outDir, prune}) => {
      put(join(outDir, name), 'mine');
      const before = snapshot(folder);
      expect(await messageOf(() => prune({overwrite: true}))).to.match(/holds files and no model\.json/);
      expect(snapshot(folder)).to.deep.equal(before);
    }));
  }

  for (const text of ['not json', '{"name": "mine"}', '{"modelTopology": {}, "weightsManifest": 7}', '[]']) {
    it(`refuses a model.json that is no model: ${text}`, inPlace(async ({folder, outDir, prune}) => {
      put(join(outDir, 'model.json'), text);
      const before = snapshot(folder);
      expect(await messageOf(() => prune({overwrite: true}))).to.match(/is not a TensorFlow\.js model/);
      expect(snapshot(folder)).to.deep.equal(before);
    }));
  }

  it('replaces the model and keeps every file that its manifest does not name', inPlace(async ({outDir, prune}) => {
    await prune({weightShardSizeBytes: 100});
    const mine = ['train.bin', 'photos.bin/cat.jpg', '.git/config', 'group1-shard1of1.bin'];
    mine.forEach(name => put(join(outDir, name), `my ${name}`));
    await prune({overwrite: true, weightShardSizeBytes: 1_000_000});
    mine.forEach(name => expect(readFileSync(join(outDir, name), 'utf8')).to.equal(`my ${name}`));
    const {paths} = readJson(join(outDir, 'model.json')).weightsManifest[0];
    expect(paths).to.deep.equal(['group1-shard1of1-2.bin']);
    expectOnly(outDir, ['model.json', ...paths, 'train.bin', 'photos.bin', '.git', 'group1-shard1of1.bin']);
    (await load(join(outDir, 'model.json'))).dispose();
  }));

  it('uses the usual names again where they are free', inPlace(async ({outDir, prune}) => {
    await prune();
    await prune({overwrite: true});
    expectOnly(outDir, ['model.json', 'group1-shard1of1-2.bin']);
    await prune({overwrite: true});
    expectOnly(outDir, ['model.json', 'group1-shard1of1.bin']);
  }));

  it('deletes no file outside the folder that the old manifest names', inPlace(async ({folder, outDir, prune}) => {
    put(join(folder, 'secret.txt'), 'mine');
    put(join(outDir, 'sub', 'weights.bin'), 'old');
    symlinkSync(join(folder, 'secret.txt'), join(outDir, 'link.bin'));
    symlinkSync(folder, join(outDir, 'up'));
    put(join(outDir, 'model.json'), JSON.stringify({modelTopology: {}, weightsManifest: [
      {weights: [], paths: [
        '../secret.txt', 'link.bin', 'up/secret.txt', 'sub/weights.bin', join(folder, 'secret.txt'),
      ]},
    ]}));
    await prune({overwrite: true});
    expect(readFileSync(join(folder, 'secret.txt'), 'utf8')).to.equal('mine');
    expect(existsSync(join(outDir, 'sub', 'weights.bin'))).to.equal(false);
    expect(lstatSync(join(outDir, 'link.bin')).isSymbolicLink()).to.equal(true);
  }));

  it('fails where two runs replace the same model at once; one of the models is left, whole',
    inPlace(async ({outDir, prune}) => {
      allowLeak('one of the two runs fails');
      await prune();
      const results = await Promise.allSettled(
        [prune({overwrite: true}), prune({overwrite: true, weightShardSizeBytes: 100})]);
      expect(results.map(({status}) => status)).to.have.members(['fulfilled', 'rejected']);
      (await load(join(outDir, 'model.json'))).dispose();
    }));
});

describe('nm-prune never alters what it reads', () => {
  it('where the output folder holds the weights', inPlace(async ({folder, modelJson, prune}) => {
    const weights = join(folder, 'weights');
    mkdirSync(weights);
    renameSync(join(folder, 'in', 'group1-shard1of1.bin'), join(weights, 'w.bin'));
    const json = readJson(modelJson);
    json.weightsManifest[0].paths = ['../weights/w.bin'];
    writeFileSync(modelJson, JSON.stringify(json));
    for (const withModel of [false, true]) {
      if (withModel) {
        put(join(weights, 'model.json'), JSON.stringify({...json, weightsManifest: [{paths: ['w.bin'], weights: []}]}));
      }
      const before = snapshot(folder);
      expect(await messageOf(() => prune({outDir: weights, overwrite: true, allowOutsideFiles: true})))
        .to.match(withModel ? /a file of the model to convert, which is never altered/ : /no model\.json/);
      expect(snapshot(folder)).to.deep.equal(before);
    }
  }));

  for (const [how, make] of [
    ['a symbolic link', (from: string, to: string) => symlinkSync(from, to)],
    ['a hard link', (from: string, to: string) => linkSync(from, to)],
  ] as const) {
    it(`where the model to replace is ${how} to it`, inPlace(async ({folder, modelJson, outDir, prune}) => {
      mkdirSync(outDir);
      make(modelJson, join(outDir, 'model.json'));
      const before = snapshot(folder);
      expect(await messageOf(() => prune({overwrite: true}))).to.match(/which is never altered/);
      expect(snapshot(folder)).to.deep.equal(before);
    }));

    it(`where the report is ${how} to it`, inPlace(async ({folder, modelJson, prune}) => {
      const weights = join(folder, 'in', 'group1-shard1of1.bin');
      for (const [name, file] of [['a.json', modelJson], ['b.json', weights]]) {
        make(file, join(folder, name));
        const before = snapshot(folder);
        expect(await messageOf(() => prune({json: join(folder, name)}))).to.match(/that is a file of a model/);
        expect(snapshot(folder)).to.deep.equal(before);
      }
    }));
  }
});

describe('what changes while nm-prune runs', () => {
  const {writeFile} = fs;
  afterEach(() => Object.assign(fs, {writeFile}));

  /** Does something before the first file is written, which is after all checks and all work. */
  function beforeWriting(change: () => void): void {
    let done = false;
    fs.writeFile = (async (...args: Parameters<typeof writeFile>) => {
      if (!done) {
        done = true;
        change();
      }
      return writeFile(...args);
    }) as typeof writeFile;
  }

  it('is never replaced: a folder that was not there', inPlace(async ({folder, outDir, prune}) => {
    beforeWriting(() => put(join(outDir, 'thesis.txt'), 'mine'));
    expect(await messageOf(() => prune())).to.match(/outDir '.*' is not empty; .*; nothing was written$/);
    expect(snapshot(outDir)).to.deep.equal({[join(outDir, 'thesis.txt')]: 'mine'});
    expectOnly(folder, ['in', 'out']);
  }));

  it('is never replaced: a file in a folder that was empty', inPlace(async ({outDir, prune}) => {
    mkdirSync(outDir);
    beforeWriting(() => put(join(outDir, 'thesis.txt'), 'mine'));
    expect(await messageOf(() => prune())).to.match(/nothing was written$/);
    expect(snapshot(outDir)).to.deep.equal({[join(outDir, 'thesis.txt')]: 'mine'});
    expectOnly(outDir, ['thesis.txt']);
  }));

  it('is never replaced: a report that was not there', inPlace(async ({folder, prune}) => {
    const json = join(folder, 'report.json');
    beforeWriting(() => put(json, 'mine'));
    expect(await messageOf(() => prune({json}))).to.match(/--json .*: the file changed .*; nothing was written$/);
    expect(readFileSync(json, 'utf8')).to.equal('mine');
    expectOnly(folder, ['in', 'report.json']);
  }));

  it('is never replaced: the source, to which outDir became a link', inPlace(async ({folder, outDir, prune}) => {
    await prune();
    const before = snapshot(join(folder, 'in'));
    beforeWriting(() => {
      rmSync(outDir, {recursive: true});
      symlinkSync('in', outDir);
    });
    expect(await messageOf(() => prune({overwrite: true}))).to.match(/nothing was written$/);
    expect(snapshot(join(folder, 'in'))).to.deep.equal(before);
    expectOnly(join(folder, 'in'), ['model.json', 'group1-shard1of1.bin']);
  }));

  it('is noticed: a weight file or a report that somebody else writes', inPlace(async ({folder, outDir, prune}) => {
    const json = join(folder, 'report.json');
    await prune({json});
    for (const file of [join(outDir, 'group1-shard1of1.bin'), json]) {
      beforeWriting(() => writeFileSync(file, 'mine'));
      expect(await messageOf(() => prune({json, overwrite: true}))).to.match(/changed while the model was converted/);
      expect(readFileSync(file, 'utf8')).to.equal('mine');
    }
  }));

  it('is noticed: the model that is to be replaced', inPlace(async ({outDir, prune}) => {
    await prune();
    const other = readFileSync(join(outDir, 'model.json'), 'utf8').replace('{', '{"version": 2, ');
    beforeWriting(() => writeFileSync(join(outDir, 'model.json'), other));
    expect(await messageOf(() => prune({overwrite: true}))).to.match(/it changed while the model was converted/);
    expect(readFileSync(join(outDir, 'model.json'), 'utf8')).to.equal(other);
  }));

  it('is noticed: of two runs into one new folder the second fails', inPlace(async ({folder, outDir, prune}) => {
    allowLeak('one of the two runs fails');
    const results = await Promise.allSettled([prune(), prune({weightShardSizeBytes: 100})]);
    expect(results.map(({status}) => status)).to.have.members(['fulfilled', 'rejected']);
    (await load(join(outDir, 'model.json'))).dispose();
    expectOnly(folder, ['in', 'out']);
  }));
});

describe('a manifest that leads out of the model', () => {
  const LEADING_OUT: Array<[name: string, path: (folder: string) => string]> = [
    ['by ..', () => '../secret.bin'],
    ['by an absolute path', folder => join(folder, 'secret.bin')],
    ['by .. behind a folder', () => 'x/../../secret.bin'],
    ['by a link', () => 'link.bin'],
    ['by a link to a folder', () => 'up/secret.bin'],
    ['by a path of Windows', () => 'C:\\secret.bin'],
  ];
  for (const [name, path] of LEADING_OUT) {
    it(`${name} is refused`, inPlace(async ({folder, modelJson, prune}) => {
      const weights = join(folder, 'in', 'group1-shard1of1.bin');
      renameSync(weights, join(folder, 'secret.bin'));
      symlinkSync('../secret.bin', join(folder, 'in', 'link.bin'));
      symlinkSync('..', join(folder, 'in', 'up'));
      const json = readJson(modelJson);
      json.weightsManifest[0].paths = [path(folder)];
      writeFileSync(modelJson, JSON.stringify(json));
      expect(await messageOf(() => prune()))
        .to.match(/^cannot read '.*': it is outside the model's folder; --allow_outside_files permits that$/);
      expectOnly(folder, ['in', 'secret.bin']);
    }));
  }

  it('is read under --allow_outside_files', inPlace(async ({folder, modelJson, outDir, prune}) => {
    const before = storedWeights(modelJson).get('one/bias');
    renameSync(join(folder, 'in', 'group1-shard1of1.bin'), join(folder, 'w.bin'));
    const json = readJson(modelJson);
    json.weightsManifest[0].paths = ['../w.bin'];
    writeFileSync(modelJson, JSON.stringify(json));
    await prune({allowOutsideFiles: true});
    expect(storedWeights(join(outDir, 'model.json')).get('one/bias')).to.deep.equal(before);
  }));

  it('is no matter of links within the folder, nor of model.json itself', inPlace(async ({folder, outDir, prune}) => {
    renameSync(join(folder, 'in', 'group1-shard1of1.bin'), join(folder, 'in', 'w.bin'));
    symlinkSync('w.bin', join(folder, 'in', 'group1-shard1of1.bin'));
    renameSync(join(folder, 'in', 'model.json'), join(folder, 'm.json'));
    symlinkSync('../m.json', join(folder, 'in', 'model.json'));
    await prune();
    (await load(join(outDir, 'model.json'))).dispose();
  }));
});

describe('the places that nm-prune writes to', () => {
  it('may be the working folder, with the report in it', inPlace(async ({folder, modelJson}) => {
    const before = process.cwd();
    mkdirSync(join(folder, 'here'));
    process.chdir(join(folder, 'here'));
    try {
      const [outDir, json] = ['.', 'report.json'];
      await run({modelJson: relative('.', modelJson), outDir, json, pattern: '2:4', backend: 'cpu'});
      expectOnly('.', ['model.json', 'group1-shard1of1.bin', 'report.json']);
    } finally {
      process.chdir(before);
    }
  }));

  it('are refused before the work where they cannot be written', inPlace(async ({folder, outDir, prune}) => {
    symlinkSync('nowhere', outDir);
    const worked = () => expect.fail('it worked before it looked');
    expect(await messageOf(() => prune({onProgress: worked}))).to.equal(
      `outDir '${outDir}' cannot be used: it is a link to 'nowhere', which does not exist`);
    rmSync(outDir);
    expect(await messageOf(() => prune({outDir: join(folder, 'n'.repeat(300)), onProgress: worked})))
      .to.match(/cannot be used: the name is too long \(ENAMETOOLONG\)$/);
    expect(await messageOf(() => prune({json: join(folder, 'in'), onProgress: worked})))
      .to.match(/: it is not a file$/);
    const inside = {outDir: join(folder, 'a', 'b'), json: join(folder, 'a')};
    expect(await messageOf(() => prune({...inside, onProgress: worked})))
      .to.match(/outDir needs a folder of that name/);
  }));

  it('stay the folders that they are: an empty one may be a mount point', inPlace(async ({outDir, prune}) => {
    mkdirSync(outDir);
    const {ino} = lstatSync(outDir);
    await prune();
    await prune({overwrite: true});
    expect(lstatSync(outDir).ino).to.equal(ino);
  }));

  it('may have names as long as a file system takes', inPlace(async ({folder, prune}) => {
    const [outDir, json] = [join(folder, 'n'.repeat(255)), join(folder, 'r'.repeat(255))];
    await prune({outDir, json});
    await prune({outDir, json, overwrite: true});
    expectOnly(folder, ['in', 'n'.repeat(255), 'r'.repeat(255)]);
  }));

  it('are not written through links that somebody planted', inPlace(async ({folder, outDir, prune}) => {
    put(join(folder, 'victim'), 'mine');
    const json = join(folder, 'report.json');
    for (const name of [`report.json.new-${process.pid}`, '.nm-prune-', `.out.new-${process.pid}`]) {
      symlinkSync('victim', join(folder, name));
    }
    await prune({json, outDir});
    expect(readFileSync(join(folder, 'victim'), 'utf8')).to.equal('mine');
  }));

  it('are those that the system finds: `..` behind a link is above what it links to', inPlace(async place => {
    const {folder, modelJson, prune} = place;
    mkdirSync(join(folder, 't', 'a', 'b'), {recursive: true});
    symlinkSync(join('a', 'b'), join(folder, 't', 'link'));
    put(join(folder, 't', 'om', 'thesis.txt'), 'mine');
    const behind = (name: string) => `${join(folder, 't', 'link')}/../${name}`;
    await prune({outDir: behind('om'), json: behind('report.json')});
    expectOnly(join(folder, 't'), ['a', 'link', 'om']);
    expectOnly(join(folder, 't', 'a'), ['b', 'om', 'report.json']);
    // The model that is read is the one that is named, and so protected.
    put(join(folder, 't', 'model.json'), '{}');
    cpSync(join(folder, 'in'), join(folder, 't', 'a'), {recursive: true});
    await prune({modelJson: behind('model.json'), outDir: join(folder, 'second')});
    const onto = {outDir: join(folder, 't', 'a'), overwrite: true};
    expect(await messageOf(() => prune({modelJson: behind('model.json'), ...onto}))).to.match(/which is never altered/);
    expect(existsSync(modelJson)).to.equal(true);
  }));

  it('stay links where they are links', inPlace(async ({folder, outDir, prune}) => {
    mkdirSync(join(folder, 'real'));
    put(join(folder, 'kept.json'), 'old');
    symlinkSync('real', outDir);
    symlinkSync('kept.json', join(folder, 'report.json'));
    await prune({json: join(folder, 'report.json')});
    expectOnly(join(folder, 'real'), ['model.json', 'group1-shard1of1.bin']);
    expect(lstatSync(outDir).isSymbolicLink()).to.equal(true);
    expect(readFileSync(join(folder, 'kept.json'), 'utf8')).to.match(/^\{/);
  }));
});
