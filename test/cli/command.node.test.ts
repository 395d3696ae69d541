/**
 * nm-prune as a user starts it: a process of its own, with its exit code, its two streams, and a death in the middle.
 * The script is built here from the sources, as build.mjs builds it: dist/ may be of another day.
 */
import {spawn, spawnSync} from 'node:child_process';
import {existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {layers, sequential, type LayersModel} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import esbuild from 'esbuild';
import {wasmKernels} from '../../kernels/wasm/plugin.mjs';
import type {RunReport} from '../../src/cli/prune_model_folder.js';
import '../../src/index.js'; // registers the layer that is loaded
import {inFolder, load, readJson, save, snapshot} from './support.js';

/** In the repository, for the script has to find its packages. */
let buildFolder: string;
let script: string;

function nmPrune(...args: string[]) {
  const {status, stdout, stderr} = spawnSync(process.execPath, [script, ...args], {encoding: 'utf8'});
  return {status, stdout, stderr};
}

function smallModel(): LayersModel {
  return sequential({layers: [
    layers.dense({name: 'one', units: 32, inputShape: [32]}),
    layers.activation({name: 'between', activation: 'relu'}),
    layers.dense({name: 'two', units: 16}),
  ]});
}

describe('in a process of its own', () => {
  before('build the script', async () => {
    buildFolder = mkdtempSync('build/nm-prune-');
    script = join(buildFolder, 'nm-prune.js');
    await esbuild.build({
      plugins: [wasmKernels],
      entryPoints: ['src/cli/main.ts'], outfile: script, bundle: true, platform: 'node', format: 'esm',
      target: 'es2020', packages: 'external', ignoreAnnotations: true, logLevel: 'warning',
    });
  });

  after('remove the script', () => rmSync(buildFolder, {recursive: true, force: true}));

  describe('the command nm-prune', () => {
    it('converts, prints a summary and exits with 0', () => inFolder(async folder => {
      const modelJson = await save(smallModel(), join(folder, 'in'));
      const [out, json] = [join(folder, 'out'), join(folder, 'report.json')];
      const {status, stdout, stderr} = nmPrune(
        modelJson, out, '--pattern', '2:4', '--per_layer', 'two=dense', '--backend', 'cpu', '--json', json);
      expect(stderr).to.equal('');
      expect(status).to.equal(0);
      const {disk} = JSON.parse(readFileSync(json, 'utf8')) as RunReport;
      const modelJsonBytes = (file: string) => readFileSync(file).length.toLocaleString('en-US');
      const after = (4 * (16 * 32 + 32) + 128 + 64 * 33).toLocaleString('en-US');
      expect(stdout.split('\n')).to.deep.equal([
        "two stays as it is: perLayer['two'] says dense",
        'converted 1 of 2 layers with weights: 66.7 % of the parameters, 66.7 % of the multiply-adds',
        `weights in memory   6,336 → ${after} bytes (69.7 %)`,
        `weight files        6,336 → ${after} bytes (69.7 %)`,
        `model.json          ${modelJsonBytes(modelJson)} → ${modelJsonBytes(join(out, 'model.json'))} bytes ` +
            `(${(100 * disk.modelJsonAfter / disk.modelJsonBefore).toFixed(1)} %)`,
        'verified on cpu: the files to write predict what the converted model does, exactly',
        `written to ${out}`,
        '',
      ]);
      (await load(join(out, 'model.json'))).dispose();
    }));

    it('prints a table of the layers under --verbose', () => inFolder(async folder => {
      const modelJson = await save(smallModel(), join(folder, 'in'));
      const json = join(folder, 'report.json');
      const {stdout} = nmPrune(modelJson, join(folder, 'out'), '--pattern', '2:4', '--per_layer', 'two=dense',
        '--backend', 'cpu', '--json', json, '--verbose');
      const {layers: [one]} = JSON.parse(readFileSync(json, 'utf8')) as RunReport;
      expect(stdout.split('\n').slice(0, 4)).to.deep.equal([
        'layer  class  shape  pattern  bytes before  after  kept energy',
        `one    Dense  32×32  2:4             4,224  2,304       ${(100 * one.keptEnergy!).toFixed(1)} %`,
        "two    Dense  32×16                  2,112  2,112               perLayer['two'] says dense",
        '',
      ]);
    }));

    it('prints nothing under --quiet', () => inFolder(async folder => {
      const modelJson = await save(smallModel(), join(folder, 'in'));
      expect(nmPrune(modelJson, join(folder, 'out'), '--pattern', '2:4', '--backend', 'cpu', '--quiet'))
        .to.deep.equal({status: 0, stdout: '', stderr: ''});
    }));

    it('finds a backend by itself', () => inFolder(async folder => {
      const modelJson = await save(smallModel(), join(folder, 'in'));
      const {status, stdout} = nmPrune(modelJson, join(folder, 'out'), '--pattern', '2:4');
      expect(status).to.equal(0);
      expect(stdout).to.match(/verified on (tensorflow|webgpu|cpu)/);
    }));

    it('exits with 1 and one line where it cannot be done', () => inFolder(async folder => {
      const modelJson = await save(smallModel(), join(folder, 'in'), {json: {format: 'graph-model'}});
      const {status, stdout, stderr} = nmPrune(modelJson, join(folder, 'out'), '--pattern', '2:4');
      expect({status, stdout}).to.deep.equal({status: 1, stdout: ''});
      expect(stderr).to.match(/^nm-prune: model\.json is a graph model\.[^\n]*\n$/);
      expect(existsSync(join(folder, 'out'))).to.be.false;
    }));

    it('exits with 2 where the command line is wrong', () => {
      expect(nmPrune('model.json', 'out')).to.deep.equal({status: 2, stdout: '', stderr:
          "nm-prune: --pattern is missing; give one, e.g. --pattern 8:32v32, or --per_layer 'glob=pattern'\n" +
          'nm-prune --help lists all flags\n'});
    });

    it('explains itself with --help, on which docs/cli.md has every flag', () => {
      const {status, stdout, stderr} = nmPrune('--help');
      expect({status, stderr}).to.deep.equal({status: 0, stderr: ''});
      expect(stdout).to.match(/^Usage: nm-prune \[options\] <model\.json> <outDir>\n/).and.contain('Examples:');
      const documented = readFileSync('docs/cli.md', 'utf8');
      const flags = stdout.match(/^ {2}(-\w, )?--\w+/gm)!.map(flag => flag.slice(flag.indexOf('--')));
      expect(flags).to.have.length(17);
      flags.forEach(flag => expect(documented).to.contain(`\`${flag}`));
    });

    it('says its version', () => {
      const {version} = JSON.parse(readFileSync('package.json', 'utf8')) as {version: string};
      expect(nmPrune('--version')).to.deep.equal({status: 0, stdout: `${version}\n`, stderr: ''});
    });

    it('writes nothing where stdout takes no report', () => inFolder(async folder => {
      const modelJson = await save(smallModel(), join(folder, 'in'));
      const {status, stderr} = spawnSync('sh', ['-c', 'exec "$@" > /dev/full', 'sh', process.execPath, script,
        modelJson, join(folder, 'out'), '--pattern', '2:4', '--backend', 'cpu'], {encoding: 'utf8'});
      expect(stderr).to.equal('nm-prune: cannot write to stdout: no space is left on the device (ENOSPC); no model ' +
          'was written. --quiet prints no report\n');
      expect(status).to.equal(1);
      expect(readdirSync(folder)).to.deep.equal(['in']);
    }));

    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      it(`leaves nothing behind when ${signal} ends it while it writes`, () => inFolder(async folder => {
        const modelJson = await save(smallModel(), join(folder, 'in'));
        // A file for each byte: the signal arrives long before the last.
        const child = spawn(process.execPath, [script, modelJson, join(folder, 'new', 'out'), '--pattern', '2:4',
          '--backend', 'cpu', '--quiet', '--weight_shard_size_bytes', '1'], {stdio: 'ignore'});
        const ended = new Promise(resolve => child.on('close', (_code, by) => resolve(by)));
        while (readdirSync(folder).length === 1 && child.exitCode === null) {
          await new Promise(resolve => setTimeout(resolve, 1));
        }
        child.kill(signal);
        expect(await ended).to.equal(signal);
        expect(readdirSync(folder)).to.deep.equal(['in']);
      }));
    }

    it('prints no control characters of a model, nor names without end', () => inFolder(async folder => {
      const evil = `\u001b[2J\u009bA\u202e\n${'x'.repeat(100_000)}`;
      const modelJson = await save(smallModel(), join(folder, 'in'));
      const text = readFileSync(modelJson, 'utf8').replaceAll('"one', `"${JSON.stringify(evil).slice(1, -1)}`);
      const options = ['--backend', 'cpu', '--pattern', '2:4'];
      const runs: Array<[text: string, args: string[]]> = [
        [text, ['--verbose']],
        [text, ['--exclude', 'none']],
        [text, ['--include', 'none']],
        [text.replace('"class_name":"Dense"', `"class_name":${JSON.stringify(evil)}`), []],
        [text.replace('"dtype":"float32"', `"dtype":${JSON.stringify(evil)}`), []],
        [text.replace('group1-shard1of1.bin', JSON.stringify(evil).slice(1, -1)), []],
        [text.replace('"format":"layers-model"', `"format":${JSON.stringify(evil)}`), []],
      ];
      for (const [i, [json, args]] of runs.entries()) {
        writeFileSync(modelJson, json);
        const {stdout, stderr} = nmPrune(modelJson, join(folder, `out${i}`), ...options, ...args);
        const said = stdout + stderr;
        expect(said, `run ${i}`).to.match(/nm-prune: |written to/);
        // eslint-disable-next-line no-control-regex -- these are what must not be printed
        expect(said, `run ${i}`).to.not.match(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/);
        expect(said.length, `run ${i}`).to.be.below(5000);
      }
    }));

    it('leaves no outDir when it dies while writing', () => inFolder(async folder => {
      const modelJson = await save(smallModel(), join(folder, 'in'));
      const before = snapshot(folder);
      // No file may grow beyond a few hundred bytes: the system ends the process, or fails the write.
      const {status} = spawnSync('sh', ['-c', 'ulimit -f 1; exec "$@"', 'sh', process.execPath, script,
        modelJson, join(folder, 'out'), '--pattern', '2:4', '--backend', 'cpu'], {encoding: 'utf8'});
      expect(status).not.to.equal(0);
      expect(readdirSync(folder)).not.to.include('out');
      expect(readFileSync(modelJson, 'latin1')).to.equal(before[modelJson]);
    }));
  });

  it('shows with DEBUG where an error comes from, and what tfjs said to the letter', () => inFolder(async folder => {
    const modelJson = await save(smallModel(), join(folder, 'in'));
    const text = readFileSync(modelJson, 'utf8');
    writeFileSync(modelJson, text.replace('"units":16', '"unit":16'));
    const args = [modelJson, join(folder, 'out'), '--pattern', '2:4', '--backend', 'cpu'];
    const env = {...process.env, DEBUG: '1'};
    const {stderr} = spawnSync(process.execPath, [script, ...args], {encoding: 'utf8', env});
    expect(stderr).to.match(/^nm-prune: Error: tfjs cannot load the model: .* but got nothing\.\n +at /);
    expect(stderr).to.match(/\[cause\]: .*Expected units to be a positive integer, but got undefined\.\n +at /);
  }));

  describe('a module of --register', () => {
    const runWith = async (folder: string, code: string) => {
      const modelJson = await save(smallModel(), join(folder, 'in'));
      writeFileSync(join(folder, 'in', 'm.mjs'), code);
      return nmPrune(modelJson, join(folder, 'out'), '--pattern', '2:4', '--backend', 'cpu', '--register',
        join(folder, 'in', 'm.mjs'));
    };
    for (const [what, code, message] of [
      ['that never finishes', 'export default () => new Promise(() => {});',
        'nm-prune: a module of --register never finished; nothing was written\n'],
      ['that throws what is no Error', 'throw null;', /^nm-prune: --register .*: null\n$/],
      ['that rejects without being awaited',
        'Promise.reject(new Error("late")); await new Promise(r => setTimeout(r, 50));',
        'nm-prune: late\n'],
    ] as const) {
      it(`${what} fails the run, with one line`, () => inFolder(async folder => {
        const {status, stderr} = await runWith(folder, code);
        if (typeof message === 'string') {
          expect(stderr).to.equal(message);
        } else {
          expect(stderr).to.match(message);
        }
        expect(status).to.equal(1);
        expect(existsSync(join(folder, 'out'))).to.equal(false);
      }));
    }
  });

  describe('--register', () => {
    const CLASS = `
      class Doubling extends tf.layers.Layer {
        static className = 'Doubling';
        computeOutputShape(shape) { return shape; }
        call(inputs) { return tf.tidy(() => tf.mul(inputs[0], 2)); }
      }
      tf.serialization.registerClass(Doubling);`;

    /** A model whose activation layer bears a class that only a module knows. */
    async function saveCustom(folder: string): Promise<string> {
      const modelJson = await save(smallModel(), join(folder, 'in'));
      const text = JSON.stringify(readJson(modelJson));
      writeFileSync(modelJson, text.replace('"class_name":"Activation"', '"class_name":"Doubling"'));
      return modelJson;
    }

    for (const [how, code] of [
      ['imports the same tfjs', `
        import * as core from '@tensorflow/tfjs-core';
        import * as layersApi from '@tensorflow/tfjs-layers';
        const tf = {...core, ...layersApi};
        ${CLASS}`],
      ['exports a function that takes tfjs', `export default tf => { ${CLASS} };`],
    ]) {
      it(`makes a custom layer known by a module that ${how}`, () => inFolder(async folder => {
        const modelJson = await saveCustom(folder);
        const module = join(buildFolder, 'doubling.mjs');
        writeFileSync(module, code);
        const args = [modelJson, join(folder, 'out'), '--pattern', '2:4', '--backend', 'cpu'];
        expect(nmPrune(...args).stderr).to.equal(
          "nm-prune: the model uses the layer class 'Doubling', which tfjs does not know; pass --register " +
          'module.mjs, a module that registers it (tf.serialization.registerClass)\n');
        const {status, stdout, stderr} = nmPrune(...args, '--register', module);
        expect({status, stderr}).to.deep.equal({status: 0, stderr: ''});
        expect(stdout).to.contain('verified on cpu');
      }));
    }
  });
});
