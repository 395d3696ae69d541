/**
 * Every way nm-prune can fail, and what it says then: a message is part of the interface. And after each of them the
 * disk is as it was.
 */
import {mkdirSync, promises as fs, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync}
  from 'node:fs';
import {join} from 'node:path';
import type {io} from '@tensorflow/tfjs-core';
import {layers, sequential, type LayersModel} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {parseArguments} from '../../src/cli/arguments.js';
import {setUpBackend} from '../../src/cli/backend.js';
import {UsageError} from '../../src/cli/errors.js';
import {run, type RunOptions} from '../../src/cli/prune_model_folder.js';
import {allowLeak} from '../support/backend.js';
import {messageOf} from '../support/errors.js';
import {inFolder, readJson, save, snapshot} from './support.js';

type Json = Record<string, unknown> & {weightsManifest: io.WeightsManifestConfig};

function smallModel(): LayersModel {
  return sequential({layers: [
    layers.dense({name: 'one', units: 16, inputShape: [16]}),
    layers.dense({name: 'two', units: 16}),
  ]});
}

/** Every weight here is 4·(16·16 + 16) bytes a layer. */
const LAYER_BYTES = 1088;

const edited = (edit: (json: Json) => unknown) => (folder: string): void => {
  const file = join(folder, 'in', 'model.json');
  const json = readJson(file) as unknown as Json;
  edit(json);
  writeFileSync(file, JSON.stringify(json));
};
const rewritten = (text: string) => (folder: string): void =>
  writeFileSync(join(folder, 'in', 'model.json'), text, 'latin1');
const lastLayer = (json: Json) => (json.modelTopology as {config: {layers: unknown[]}}).config.layers[1] as
  Record<string, unknown> & {config: Record<string, unknown>};
const firstEntry = (json: Json) => json.weightsManifest[0].weights[0] as unknown as Record<string, unknown>;
const weightFile = (folder: string) => join(folder, 'in', 'group1-shard1of1.bin');

interface Failure {
  name: string;
  /** Makes it wrong: the model in folder/in, or something beside it. */
  spoil?: (folder: string) => void;
  options?: (folder: string) => Partial<RunOptions>;
  /** `IN` and `OUT` stand for the two folders. */
  message: string | RegExp;
}

/** The last layer is of a class that --register makes known, and that throws when it is built. */
function failingLayer(name: string, error: string): Pick<Failure, 'spoil' | 'options'> {
  return {
    spoil(folder) {
      edited(json => lastLayer(json).class_name = name)(folder);
      writeFileSync(join(folder, 'in', 'layer.mjs'), `export default tf => {
        class ${name} extends tf.layers.Layer {
          static className = '${name}';
          build() {
            throw ${error};
          }
        }
        tf.serialization.registerClass(${name});
      };`);
    },
    options: folder => ({register: [join(folder, 'in', 'layer.mjs')]}),
  };
}

/** A file of masks with one mask, of zeros. */
function maskNamed(name: string): Pick<Failure, 'spoil' | 'options'> {
  return {
    spoil(folder) {
      writeFileSync(join(folder, 'm.bin'), new Uint8Array(256));
      writeFileSync(join(folder, 'masks.json'), JSON.stringify(
        [{paths: ['m.bin'], weights: [{name, shape: [16, 16], dtype: 'bool'}]}]));
    },
    options: folder => ({masks: join(folder, 'masks.json')}),
  };
}

const FAILURES: Failure[] = [
  // What is read
  {name: 'no model.json', spoil: folder => rmSync(join(folder, 'in', 'model.json')),
    message: "model.json 'IN/model.json': there is no such file"},
  {name: 'a URL for model.json', options: () => ({modelJson: 'https://example.com/model.json'}),
    message: "model.json 'https://example.com/model.json': it is a URL, and nm-prune reads files; download the " +
        'model.json and its weight files'},
  {name: 'a Keras file', options: () => ({modelJson: 'model.h5'}),
    message: "model.json 'model.h5': it is a Keras file; convert it first: tensorflowjs_converter --input_format " +
        'keras --output_format tfjs_layers_model FILE FOLDER'},
  {name: 'a folder for model.json', options: folder => ({modelJson: join(folder, 'in')}),
    message: "model.json 'IN': it is a folder; give the model.json in it"},
  {name: 'model.json cut short', spoil: rewritten('{"modelTopology": {'),
    message: /^model\.json is not JSON: Expected property name or '}' in JSON at position 19/},
  {name: 'model.json that is no text', spoil: rewritten('\xff\xfe\x00'),
    message: /^model\.json is not JSON: The encoded data was not valid/},
  {name: 'a model.json that is something else', spoil: rewritten('[1, 2]'),
    message: 'model.json is JSON, but not a saved model: it holds [1,2]'},
  {name: 'a graph model', spoil: edited(json => json.format = 'graph-model'),
    message: 'model.json is a graph model. Convert it in code, by pruneGraphModel(); nm-prune takes layers models, ' +
        'such as model.save() or tensorflowjs_converter --output_format=tfjs_layers_model writes'},
  {name: 'a graph model of an old converter', spoil: edited(json => {
    delete json.format;
    json.modelTopology = {node: [], library: {}};
  }), message: /^model\.json is a graph model\./},
  {name: 'an unknown format', spoil: edited(json => json.format = 'onnx'),
    message: "model.json has format \"onnx\"; only 'layers-model' can be converted"},
  {name: 'no topology', spoil: edited(json => delete json.modelTopology),
    message: 'model.json has no modelTopology: it is not a saved model, or only its weights'},
  {name: 'a topology without layers', spoil: edited(json => json.modelTopology = {model_config: {class_name: 'Model'}}),
    message: 'model.json: modelTopology names no layers (class_name and config are missing)'},
  {name: 'a list of no layers', spoil: edited(json => Object.assign(json.modelTopology as object, {config: []})),
    message: 'model.json: modelTopology.config must be a list of layers; it is []'},
  {name: 'layers that are no list', spoil: edited(json =>
    json.modelTopology = {model_config: {class_name: 'Functional', config: {layers: {}}}}),
  message: 'model.json: modelTopology.model_config.config.layers must be a list of layers; it is {}'},
  {name: 'a layer that is none', spoil: edited(json =>
    json.modelTopology = {class_name: 'Sequential', config: [null]}),
  message: 'model.json: modelTopology.config[0] is null, no layer'},
  {name: 'a layer of no class', spoil: edited(json => delete lastLayer(json).class_name),
    message: "model.json: modelTopology.config.layers[1] has class_name none; it must name the layer's class"},
  {name: 'a layer without its configuration', spoil: edited(json => Object.assign(lastLayer(json), {config: 7})),
    message: 'model.json: modelTopology.config.layers[1] (Dense) has config 7; it must be an object'},
  {name: 'a layer whose name is no string, in a model within the model', spoil: edited(json =>
    Object.assign(lastLayer(json), {class_name: 'Sequential', config: [{class_name: 'Dense', config: {name: true}}]})),
  message: 'model.json: modelTopology.config.layers[1].config[0] (Dense) has config.name true; a name is a string'},
  {name: 'no weightsManifest', spoil: edited(json => delete (json as Partial<Json>).weightsManifest),
    message: 'model.json has no weightsManifest: it describes a model without its weights; save it with them'},
  {name: 'a manifest group without paths', spoil: edited(json => json.weightsManifest[0].paths = 'x' as never),
    message: 'model.json: weightsManifest[0] must have paths, a list of file names, and weights, a list'},
  {name: 'a weight without a name', spoil: edited(json => delete firstEntry(json).name),
    message: 'model.json: weightsManifest[0].weights[0] has no name'},
  {name: 'a weight of negative size', spoil: edited(json => firstEntry(json).shape = [-1, 16]),
    message: "model.json: weightsManifest[0].weights[0] ('one/kernel') has shape [-1,16]; a shape is a list of " +
        'whole numbers'},
  {name: 'a weight of unknown dtype', spoil: edited(json => firstEntry(json).dtype = 'float64'),
    message: "model.json: weightsManifest[0].weights[0] ('one/kernel') has dtype \"float64\", which tfjs does not " +
        'know'},
  {name: 'an unknown quantization', spoil: edited(json => firstEntry(json).quantization = {dtype: 'int4'}),
    message: "model.json: weightsManifest[0].weights[0] ('one/kernel') has quantization {\"dtype\":\"int4\"}; its " +
        'dtype must be uint8, uint16 or float16'},
  {name: 'a quantization without scale',
    spoil: edited(json => firstEntry(json).quantization = {dtype: 'uint8', min: 0}),
    message: "model.json: weightsManifest[0].weights[0] ('one/kernel') is quantized as uint8 without a scale and a " +
        'min'},
  {name: 'int32 as float16', spoil: edited(json =>
    Object.assign(firstEntry(json), {dtype: 'int32', quantization: {dtype: 'float16'}})),
  message: "model.json: weightsManifest[0].weights[0] ('one/kernel') is int32 quantized as float16, which tfjs does " +
        'not know'},
  {name: 'a weight twice', spoil: edited(json => json.weightsManifest[0].weights[2].name = 'one/kernel'),
    message: "model.json: weightsManifest has two weights named 'one/kernel'"},
  {name: 'a weight file that is not there', spoil: folder => rmSync(weightFile(folder)),
    message: "cannot read 'IN/group1-shard1of1.bin': there is no such file or folder (ENOENT); model.json names it " +
        'as a weight file. Copy the model with all its files'},
  {name: 'a weight file that is a folder', spoil: folder => {
    rmSync(weightFile(folder));
    mkdirSync(weightFile(folder));
  }, message: "cannot read 'IN/group1-shard1of1.bin': it is not a file"},
  {name: 'a weight file cut short', spoil: folder =>
    writeFileSync(weightFile(folder), readFileSync(weightFile(folder)).subarray(0, 2000)),
  message: `weight file 'group1-shard1of1.bin' holds 2000 bytes, the manifest calls for ${2 * LAYER_BYTES}: cut ` +
        'short, or of another model. Copy the model again'},
  {name: 'a weight file that is too long', spoil: folder => writeFileSync(weightFile(folder), 'more', {flag: 'a'}),
    message: `weight file 'group1-shard1of1.bin' holds ${2 * LAYER_BYTES + 4} bytes, the manifest calls for ` +
        `${2 * LAYER_BYTES}: too long, or of another model. Copy the model again`},
  {name: 'a shard left out', spoil: folder => {
    writeFileSync(join(folder, 'in', 'a.bin'), readFileSync(weightFile(folder)).subarray(0, 1000));
    writeFileSync(join(folder, 'in', 'b.bin'), '');
    edited(json => json.weightsManifest[0].paths = ['a.bin', 'b.bin'])(folder);
  }, message: `weight files 'a.bin', 'b.bin' together hold 1000 bytes, the manifest calls for ${2 * LAYER_BYTES}: ` +
        'cut short, or of another model. Copy the model again'},
  {name: 'strings cut short', spoil: folder => {
    edited(json => json.weightsManifest.push({
      paths: ['words.bin'], weights: [{name: 'words', shape: [2], dtype: 'string'}],
    }))(folder);
    writeFileSync(join(folder, 'in', 'words.bin'), Buffer.from([3, 0, 0, 0, 97, 98, 99, 5, 0, 0, 0, 97]));
  }, message: "weight file 'words.bin' holds 12 bytes, the manifest calls for 16: cut short, or of another model. " +
        'Copy the model again'},
  {name: 'a weight file that is not the one that was written', spoil: folder => {
    edited(json => Object.assign(json.weightsManifest[0], {sha256: ['0'.repeat(64)]}))(folder);
  }, message: "weight file 'group1-shard1of1.bin' does not match its checksum in model.json: it is damaged, or of " +
        'another version of the model. Copy the model again, all files together'},
  {name: 'checksums of other files', spoil: edited(json => Object.assign(json.weightsManifest[0], {sha256: []})),
    message: 'model.json: weightsManifest[0] has sha256 []; it must list a checksum for each of the paths'},
  {name: 'a weight that is NaN', spoil: folder => {
    const bytes = readFileSync(weightFile(folder));
    bytes.writeFloatLE(NaN, 4 * 20);
    writeFileSync(weightFile(folder), bytes);
  }, message: "weight 'one/kernel' holds NaN at element 20: the model is damaged, or its training diverged"},
  {name: 'a float16 weight that is NaN', spoil: folder => {
    const bytes = readFileSync(weightFile(folder));
    edited(json => {
      json.weightsManifest[0].weights[3].quantization = {dtype: 'float16'};
    })(folder);
    bytes.writeUInt16LE(0x7e00, 2 * LAYER_BYTES - 64 + 2);
    writeFileSync(weightFile(folder), bytes.subarray(0, 2 * LAYER_BYTES - 32));
  }, message: "weight 'two/bias' holds NaN at element 1: the model is damaged, or its training diverged"},
  // What tfjs makes of it
  {name: 'a layer class that tfjs does not know', spoil: folder => {
    const file = join(folder, 'in', 'model.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace('"class_name":"Dense"', '"class_name":"Fancy"'));
  }, message: "the model uses the layer class 'Fancy', which tfjs does not know; pass --register module.mjs, a " +
        'module that registers it (tf.serialization.registerClass)'},
  {name: 'an initializer of no class', spoil: edited(json =>
    lastLayer(json).config.bias_initializer = {class_name: [], config: {}}),
    message: 'some initializer of the model has a class_name that is no name; save or convert the model again'},
  {name: 'what tfjs reads without a check', spoil: edited(json =>
    lastLayer(json).config.bias_initializer = {class_name: 'Zeros', config: 'x'}),
  message: "tfjs cannot load the model: its code, or a layer's, stops at what it reads (Cannot create property " +
        "'customObjects' on string 'x'); model.json is damaged or was edited, or a class of --register has a fault"},
  {name: 'a value missing that tfjs checks', spoil: edited(json => delete lastLayer(json).config.units),
    message: 'tfjs cannot load the model: Expected units to be a positive integer, but got nothing.'},
  {name: 'a class of --register with a fault', ...failingLayer('Faulty', "new TypeError('this.w is undefined')"),
    message: "tfjs cannot load the model: its code, or a layer's, stops at what it reads (this.w is nothing); " +
        'model.json is damaged or was edited, or a class of --register has a fault'},
  {name: 'too little memory', ...failingLayer('Huge', "new RangeError('Array buffer allocation failed')"),
    message: 'tfjs cannot load the model: Array buffer allocation failed'},
  {name: 'a weight missing', spoil: folder => {
    edited(json => json.weightsManifest[0].weights.pop())(folder);
    writeFileSync(weightFile(folder), readFileSync(weightFile(folder)).subarray(0, 2 * LAYER_BYTES - 64));
  }, message: 'tfjs cannot load the model: 1 of 4 weights are not set: two/bias'},
  {name: 'a weight of another shape', spoil: edited(json => firstEntry(json).shape = [8, 32]),
    message: /^tfjs cannot load the model: .*\[8,32\]/},
  {name: 'a --register module that is not there', options: folder => ({register: [join(folder, 'none.mjs')]}),
    message: /^--register .*none\.mjs: Cannot find module/},
  {name: 'a --register module that throws', spoil: folder => {
    writeFileSync(join(folder, 'in', 'bad.mjs'), 'throw new Error("my mistake");');
  }, options: folder => ({register: [join(folder, 'in', 'bad.mjs')]}), message: /^--register .*bad\.mjs: my mistake$/},
  // What is asked for
  {name: 'nothing to convert', options: () => ({perLayer: {'*': 'dense'}}),
    message: 'no layer was converted, so nothing was written\n' +
        "  one: perLayer['*'] says dense\n  two: perLayer['*'] says dense"},
  {name: 'an include that matches nothing', options: () => ({include: ['none']}),
    message: "pruneLayersModel: include has the glob 'none', which matches no layer; the layers are one, two."},
  {name: 'values beyond float16', spoil: folder => {
    const bytes = readFileSync(weightFile(folder));
    bytes.writeFloatLE(70000, 1024); // in one/bias
    writeFileSync(weightFile(folder), bytes);
  }, options: () => ({quantizeFloat16: ['*']}),
  message: "--quantize_float16: weight 'one/bias' holds 70000, beyond float16's largest, 65504; give globs that " +
        'leave it out'},
  {name: 'masks that are no manifest', spoil: folder => writeFileSync(join(folder, 'masks.json'), '{}'),
    options: folder => ({masks: join(folder, 'masks.json')}),
    message: /^--masks .*masks\.json: it is not a weights manifest, a list of \{paths, weights\}$/},
  {name: 'masks that are not there', options: folder => ({masks: join(folder, 'masks.json')}),
    message: /^--masks .*masks\.json: cannot read '.*': there is no such file or folder \(ENOENT\)$/},
  {name: 'a mask of no layer', ...maskNamed('three'),
    message: "pruneLayersModel: masks['three'] names no layer; the layers are one, two."},
  {name: 'a backend that is not installed', options: () => ({backend: 'tensorflow'}),
    message: '--backend tensorflow: npm package @tensorflow/tfjs-node-gpu is not installed; npm package ' +
        '@tensorflow/tfjs-node is not installed'},
  // Where it is to go
  {name: 'an outDir that is not empty', spoil: folder => {
    mkdirSync(join(folder, 'out'));
    writeFileSync(join(folder, 'out', 'model.json'), 'old');
  }, message: "outDir 'OUT' is not empty; give another folder, or --overwrite to replace the model in it"},
  {name: 'an outDir with things of other people', spoil: folder => {
    mkdirSync(join(folder, 'out'));
    writeFileSync(join(folder, 'out', 'thesis.txt'), 'a year of work');
  }, options: () => ({overwrite: true}), message: "outDir 'OUT' cannot be used: it holds files and no model.json, so " +
        'there is no model for --overwrite to replace'},
  {name: "the model's own folder as outDir", options: folder => ({outDir: join(folder, 'in'), overwrite: true}),
    message: "outDir 'IN' holds 'IN/model.json', a file of the model to convert, which is never altered; give " +
        'another folder'},
  {name: 'a folder above the model as outDir', options: folder => ({outDir: folder, overwrite: true}),
    message: /^outDir '.*' cannot be used: it holds files and no model\.json, so there is no model for --overwrite/},
  {name: "a link to the model's own folder as outDir", spoil: folder => symlinkSync('in', join(folder, 'out')),
    options: () => ({overwrite: true}),
    message: "outDir 'OUT' holds 'IN/model.json', a file of the model to convert, which is never altered; give " +
        'another folder'},
  {name: 'a file as outDir', spoil: folder => writeFileSync(join(folder, 'out'), ''),
    message: "outDir 'OUT' cannot be used: it is not a folder"},
  {name: 'an outDir below a file', options: folder => ({outDir: join(folder, 'in', 'model.json', 'out')}),
    message: /^outDir '.*' cannot be used: part of the path is not a folder \(ENOTDIR\)$/},
  {name: 'a report in a folder that is not there', options: folder => ({json: join(folder, 'none', 'report.json')}),
    message: /^--json .*report\.json: there is no folder '.*none'$/},
  {name: 'the model itself as report', options: folder => ({json: join(folder, 'in', 'model.json')}),
    message: '--json IN/model.json: that is a file of a model; give another name, e.g. report.json'},
  {name: 'a new weight file as report', options: folder => ({json: join(folder, 'out', 'group1-shard1of1.bin')}),
    message: '--json OUT/group1-shard1of1.bin: that is a file of a model; give another name, e.g. report.json'},
  {name: 'a training configuration that tfjs does not know', spoil: edited(json =>
    json.trainingConfig = {optimizer_config: {class_name: 'Adam', config: {}}, loss: 'mine', weighted_metrics: []}),
  message: 'tfjs cannot load the model: Loading weight_metrics is not supported yet.'},
];

describe('nm-prune refuses', () => {
  for (const {name, spoil = () => undefined, options = () => ({}), message} of FAILURES) {
    it(`${name}, and leaves the disk as it was`, () => inFolder(async folder => {
      allowLeak('tfjs keeps the layers of a model that it fails to load');
      const modelJson = await save(smallModel(), join(folder, 'in'));
      spoil(folder);
      const before = snapshot(folder);
      const said = await messageOf(() =>
        run({modelJson, outDir: join(folder, 'out'), pattern: '2:4', backend: 'cpu', ...options(folder)}));
      if (message instanceof RegExp) {
        expect(said).to.match(message);
      } else {
        expect(said.replaceAll(join(folder, 'in'), 'IN').replaceAll(join(folder, 'out'), 'OUT')).to.equal(message);
      }
      expect(snapshot(folder)).to.deep.equal(before);
      expect(readdirSync(folder).filter(entry => entry.startsWith('.'))).to.be.empty;
    }));
  }

  it('a backend nobody has, before it looks at the model', async () => {
    expect(await messageOf(() => setUpBackend('tensorflow'))).to.match(/^--backend tensorflow: npm package/);
  });
});

describe('where writing fails, nm-prune', () => {
  const {mkdir, writeFile} = fs;
  afterEach(() => Object.assign(fs, {mkdir, writeFile}));

  const full = () => Object.assign(new Error('ENOSPC: no space left on device, write'), {code: 'ENOSPC'});

  /** From the nth file on, the disk is full: half of that file fits. */
  function fillDiskAt(nth: number): void {
    let count = 0;
    fs.writeFile = (async (file: string, data: Uint8Array, options: object) => {
      if (++count < nth) {
        return writeFile(file, data, options);
      }
      await writeFile(file, data.slice(0, data.length / 2), options);
      throw full();
    }) as typeof writeFile;
  }

  for (const nth of [1, 2, 3]) {
    it(`leaves nothing behind when the disk is full at file ${nth}`, () => inFolder(async folder => {
      const modelJson = await save(smallModel(), join(folder, 'in'));
      const before = snapshot(folder);
      const outDir = join(folder, 'new', 'out');
      fillDiskAt(nth);
      expect(await messageOf(() =>
        run({modelJson, outDir, pattern: '2:4', backend: 'cpu', weightShardSizeBytes: 500}))).to.equal(
        `cannot write '${outDir}': no space is left on the device (ENOSPC); nothing was written`);
      expect(snapshot(folder)).to.deep.equal(before);
      expect(readdirSync(folder)).to.deep.equal(['in']);
    }));
  }

  it('keeps the old model that it was to replace', () => inFolder(async folder => {
    const modelJson = await save(smallModel(), join(folder, 'in'));
    const options: RunOptions = {modelJson, outDir: join(folder, 'out'), pattern: '2:4', backend: 'cpu'};
    await run(options);
    const before = snapshot(folder);
    fillDiskAt(2);
    expect(await messageOf(() => run({...options, pattern: '1:4', overwrite: true}))).to.match(/nothing was written$/);
    expect(snapshot(folder)).to.deep.equal(before);
    expect(readdirSync(folder)).to.have.members(['in', 'out']);
  }));

  it('writes no model where the report cannot be written', () => inFolder(async folder => {
    const modelJson = await save(smallModel(), join(folder, 'in'));
    const [outDir, json] = [join(folder, 'out'), join(folder, 'report.json')];
    fillDiskAt(2);
    expect(await messageOf(() => run({modelJson, outDir, json, pattern: '2:4', backend: 'cpu'}))).to.equal(
      `cannot write '${outDir}': no space is left on the device (ENOSPC); nothing was written`);
    expect(readdirSync(folder)).to.deep.equal(['in']);
  }));
});

describe('a wrong command line', () => {
  const WRONG: Array<[args: string, message: string]> = [
    ['', "missing required argument 'model.json'"],
    ['m.json --pattern 2:4', "missing required argument 'outDir'"],
    ['m.json out', "--pattern is missing; give one, e.g. --pattern 8:32v32, or --per_layer 'glob=pattern'"],
    ['m.json out more --pattern 2:4', 'too many arguments. Expected 2 arguments but got 3.'],
    ['m.json out --patern 2:4', "unknown option '--patern' (Did you mean --pattern?)"],
    ['m.json out --pattern', "option '--pattern <N:MvL>' argument missing"],
    ['m.json out --pattern half', "option '--pattern <N:MvL>' argument 'half' is invalid. pattern 'half' is not an " +
        "N:M pattern. Write it as 'N:M' or 'N:MvL', e.g. '2:4' or '8:32v32'."],
    ['m.json out --pattern 5:4', "option '--pattern <N:MvL>' argument '5:4' is invalid. pattern '5:4' keeps N=5 of " +
        'M=4; N must be a whole number from 1 to M.'],
    ['m.json out --per_layer 2:4', "option '--per_layer <glob=pattern>' argument '2:4' is invalid. Write it as " +
        "'glob=pattern', e.g. 'encoder/*=8:32v32' or 'logits=dense'."],
    ['m.json out --per_layer a=thin', "option '--per_layer <glob=pattern>' argument 'a=thin' is invalid. pattern " +
        "'thin' is not an N:M pattern. Write it as 'N:M' or 'N:MvL', e.g. '2:4' or '8:32v32'."],
    ['m.json out --per_layer a=2:4 --per_layer a=dense', "--per_layer has the glob 'a' twice"],
    ['m.json out --pattern 2:4 --include=', "option '--include <glob>' argument '' is invalid. It is empty."],
    ['m.json out --pattern 2:4 --criterion luck',
      "option '--criterion <name>' argument 'luck' is invalid. Allowed choices are magnitude."],
    ['m.json out --pattern 2:4 --backend abacus',
      "option '--backend <name>' argument 'abacus' is invalid. Allowed choices are tensorflow, webgpu, cpu."],
    ['m.json out --pattern 2:4 --weight_shard_size_bytes 4MB', "option '--weight_shard_size_bytes <bytes>' argument " +
        "'4MB' is invalid. Give a whole number of bytes, at least 1, e.g. 4194304."],
    ['--pattern 2:4 --quantize_float16 m.json out', "missing required argument 'outDir'; --quantize_float16 took " +
        "'m.json' for its globs: put it last, or write --quantize_float16='*'"],
    ['m.json out --pattern 2:4 --json=', "option '--json <file>' argument '' is invalid. It is empty."],
    ['m.json out --pattern 2:4 --dtype float16', "unknown option '--dtype'" +
        '; --quantize_float16 stores weights as float16'],
    ['m.json out --pattern 2:4V8', "option '--pattern <N:MvL>' argument '2:4V8' is invalid. pattern '2:4V8' is not " +
        "an N:M pattern. Write it as '2:4v8'."],
    [`m.json out --pattern ${'9'.repeat(100_000)}`, `option '--pattern <N:MvL>' argument '${'9'.repeat(100)}… ` +
        "(100000 characters)' is invalid. It is too long for a pattern."],
  ];
  for (const [line, message] of WRONG) {
    it(`'${line.slice(0, 80)}' is answered with what is wrong`, async () => {
      const parse = () => parseArguments(line.split(' ').filter(Boolean), () => undefined);
      expect(await messageOf(parse)).to.equal(message);
      expect(parse).to.throw(UsageError);
    });
  }
});

describe('a command line', () => {
  const parse = (line: string) => parseArguments(line.split(' '), () => undefined)!;

  it('becomes options, flag by flag', () => {
    expect(parse('m.json out --pattern 2:4 --include a* --include b --exclude c --per_layer d=e=1:4 ' +
        '--per_layer f=dense --quantize_float16 x/*,y --weight_shard_size_bytes 100 --backend cpu ' +
        '--json r.json --overwrite --register one.mjs --register two.mjs --masks k.json --allow_outside_files ' +
        '--verbose --quiet'))
      .to.deep.equal({quiet: true, verbose: true, options: {
        modelJson: 'm.json', outDir: 'out', pattern: '2:4', include: ['a*', 'b'], exclude: ['c'],
        perLayer: [['d=e', '1:4'], ['f', 'dense']], criterion: 'magnitude', quantizeFloat16: ['x/*', 'y'],
        weightShardSizeBytes: 100, backend: 'cpu', json: 'r.json', overwrite: true,
        register: ['one.mjs', 'two.mjs'], masks: 'k.json', allowOutsideFiles: true,
      }});
  });

  it('with an empty path is refused: it would mean this folder', () => {
    expect(() => parseArguments(['m.json', '', '--pattern', '2:4'], () => undefined))
      .to.throw(UsageError, '<outDir> is empty; give a path, . for this folder');
  });

  it('tries globs of --per_layer in order, whole numbers too', () => {
    expect(parse('m.json out --per_layer *=2:4 --per_layer 1=dense').options.perLayer)
      .to.deep.equal([['*', '2:4'], ['1', 'dense']]);
  });

  it('has float16 for all weights where --quantize_float16 names none', () => {
    expect(parse('m.json out --pattern 2:4 --quantize_float16').options.quantizeFloat16).to.deep.equal(['*']);
    expect(parse('m.json out --pattern 2:4').options.quantizeFloat16).to.be.undefined;
  });
});
