/**
 * Damaged input of every kind: nm-prune either says in one line what is wrong and writes nothing, or converts.
 */
import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {join} from 'node:path';
import {layers, sequential, type LayersModel} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {run} from '../../src/cli/prune_model_folder.js';
import {allowLeak} from '../support/backend.js';
import {mulberry32, seed} from '../support/random.js';
import {inFolder, save} from './support.js';

const ROUNDS = 200;

function model(): LayersModel {
  return sequential({layers: [
    layers.dense({name: 'one', units: 16, inputShape: [16], activation: 'relu'}),
    sequential({name: 'within', layers: [layers.batchNormalization({name: 'norm', inputShape: [16]})]}),
    layers.dense({name: 'two', units: 16}),
  ]});
}

/** What a value in model.json is replaced by. */
const OTHERS = [null, -1, 0, 1e300, '', 'x', [], {}, true, 'NaN', 4096];

/** Replaces, deletes or doubles something, somewhere. */
function damage(value: unknown, random: () => number): unknown {
  const pick = <T>(list: T[]): T => list[Math.floor(random() * list.length)];
  if (typeof value !== 'object' || value === null || Object.keys(value).length === 0 || random() < 0.1) {
    return pick(OTHERS);
  }
  if (Array.isArray(value)) {
    const at = Math.floor(random() * value.length);
    return random() < 0.15 ? [...value, value[at]] : value.map((item, i) => i === at ? damage(item, random) : item);
  }
  const key = pick(Object.keys(value));
  const {[key]: chosen, ...rest} = value as Record<string, unknown>;
  return random() < 0.15 ? rest : {...rest, [key]: damage(chosen, random)};
}

describe('nm-prune, given damaged files,', () => {
  const kinds: Array<[kind: string, spoil: (file: string, random: () => number) => void]> = [
    ['random bytes in model.json', (file, random) => {
      const bytes = readFileSync(file);
      const count = 1 + Math.floor(random() * 20);
      for (let i = 0; i < count; ++i) {
        bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
      }
      writeFileSync(file, bytes);
    }],
    ['a model.json cut short', (file, random) => {
      const bytes = readFileSync(file);
      writeFileSync(file, bytes.subarray(0, Math.floor(random() * bytes.length)));
    }],
    ['JSON with other values in model.json', (file, random) => {
      writeFileSync(file, JSON.stringify(damage(JSON.parse(readFileSync(file, 'utf8')), random)) ?? '');
    }],
    ['a weight file cut short', (file, random) => {
      const shard = file.replace('model.json', `group1-shard${1 + Math.floor(random() * 2)}of3.bin`);
      const bytes = readFileSync(shard);
      writeFileSync(shard, bytes.subarray(0, Math.floor(random() * bytes.length)));
    }],
  ];
  for (const [kind, spoil] of kinds) {
    it(`${kind}, says so in one line and writes nothing, or converts`, () => inFolder(async folder => {
      allowLeak('tfjs keeps the layers of a model that it fails to load');
      const random = mulberry32(seed);
      const warn = console.warn;
      console.warn = () => undefined; // tfjs on what it makes of such models
      try {
        const modelJson = await save(model(), join(folder, 'in'), {shardBytes: 1000});
        const whole = new Map(['model.json', ...[1, 2, 3].map(i => `group1-shard${i}of3.bin`)]
          .map(name => [name, readFileSync(join(folder, 'in', name))]));
        for (let round = 0; round < ROUNDS; ++round) {
          whole.forEach((bytes, name) => writeFileSync(join(folder, 'in', name), bytes));
          spoil(modelJson, random);
          const outDir = join(folder, `out${round}`);
          let thrown: unknown;
          try {
            await run({modelJson, outDir, pattern: '2:4', backend: 'cpu'});
          } catch (error) {
            thrown = error;
          }
          expect(existsSync(outDir), `round ${round}`).to.equal(thrown === undefined);
          if (thrown !== undefined) {
            expect(thrown, `round ${round}`).to.be.instanceOf(Error);
            const {message} = thrown as Error;
            expect(message, `round ${round}`).to.match(/^(no layer was converted|[^\n]{10,500}$)/);
            expect(message, `round ${round}`).to.not.match(/undefined|\[object Object\]/);
            // What stopped the code of tfjs says nothing by itself: it comes between brackets.
            expect(message, `round ${round}`)
              .to.not.match(/^[^(]*(Cannot (read|create)|is not a function|is not iterable|Invalid typed array)/);
          }
        }
      } finally {
        console.warn = warn;
      }
    }));
  }
});
