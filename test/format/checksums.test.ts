/** Loading a model whose weight files have checksums, from a server that is made of a Map. */
import {io} from '@tensorflow/tfjs-core';
import {layers, loadLayersModel, sequential} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import {CHECKSUMS, httpWithChecksums, sha256} from '../../src/format/checksums.js';
import {messageOf} from '../support/errors.js';

type Files = Map<string, Uint8Array>;

/** A model of two weight files, by the URLs that they have on the server. */
async function served(withSums = true): Promise<Files> {
  const model = sequential({layers: [layers.dense({units: 4, inputShape: [4]})]});
  let saved: io.ModelArtifacts = {};
  await model.save(io.withSaveHandler(async artifacts => {
    saved = artifacts;
    return {modelArtifactsInfo: io.getModelArtifactsInfoForJSON(artifacts)};
  }));
  model.dispose();
  const bytes = new Uint8Array(saved.weightData as ArrayBuffer);
  const shards = [bytes.slice(0, 30), bytes.slice(30)];
  const group = {
    paths: ['a.bin', 'b.bin'], weights: saved.weightSpecs!,
    ...(withSums ? {[CHECKSUMS]: await Promise.all(shards.map(sha256))} : {}),
  };
  const json = {format: 'layers-model', modelTopology: saved.modelTopology, weightsManifest: [group]};
  return new Map([
    ['http://host/m/model.json?v=1', new TextEncoder().encode(JSON.stringify(json))],
    ['http://host/m/a.bin?v=1', shards[0]],
    ['http://host/m/b.bin?v=1', shards[1]],
  ]);
}

const URL_OF_MODEL = 'http://host/m/model.json?v=1';
const fetchFrom = (files: Files) => (async (url: string) => {
  const bytes = files.get(url);
  return bytes ? new Response(bytes as BodyInit) : new Response('', {status: 404});
}) as typeof fetch;
const load = (files: Files, options: io.LoadOptions = {}) =>
  loadLayersModel(httpWithChecksums(URL_OF_MODEL, {fetchFunc: fetchFrom(files), ...options}));

describe('httpWithChecksums', () => {
  it('has the sums that SHA-256 is specified with', async () => {
    expect(await sha256(new TextEncoder().encode('abc')))
      .to.equal('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });

  it('loads a model whose files match', async () => {
    const model = await load(await served());
    expect(model.countParams()).to.equal(20);
    model.dispose();
  });

  it('looks for the weight files where the options say', async () => {
    const files = await served();
    const moved = new Map([...files].map(([url, bytes]) => [url.replace(/m(?=\/[ab])/, 'w'), bytes]));
    const converter = async (path: string) => `http://host/w/${path}?v=1`;
    for (const options of [{weightPathPrefix: 'http://host/w/'}, {weightUrlConverter: converter}]) {
      (await load(moved, options)).dispose();
    }
  });

  it('refuses a weight file that is another', async () => {
    const files = await served();
    files.get('http://host/m/b.bin?v=1')![3] ^= 1;
    expect(await messageOf(() => load(files))).to.equal("httpWithChecksums: weight file 'b.bin' does not match its " +
      `checksum in ${URL_OF_MODEL}. It is damaged, or of another version of the model; clear the cache, or upload ` +
      'all files of the model together.');
  });

  it('refuses a model without checksums, and what is no URL', async () => {
    expect(await messageOf(async () => load(await served(false)))).to.match(/has no checksums; nm-prune writes them/);
    expect(() => httpWithChecksums(URL_OF_MODEL, {streamWeights: true}))
      .to.throw('httpWithChecksums: streamWeights is set; a file is checked whole, so leave it out.');
    expect(() => httpWithChecksums(URL_OF_MODEL, {fetch: 1} as never)).to.throw(/there is no option 'fetch'/);
    expect(() => httpWithChecksums(undefined as never))
      .to.throw('httpWithChecksums: url is undefined; give the URL of a model.json.');
  });
});
