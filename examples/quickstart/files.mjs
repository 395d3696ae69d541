/**
 * Models on the disk, without tfjs-node: tfjs itself has no file access in Node, but lets one be plugged in. In a page
 * none of this is needed: there it is `tf.loadLayersModel('model.json')`.
 */
/* global Response */
import {mkdirSync, readdirSync, statSync, writeFileSync} from 'node:fs';
import {readFile} from 'node:fs/promises';
import {join, resolve} from 'node:path';
import {pathToFileURL} from 'node:url';
import * as tf from '@tensorflow/tfjs';

/** Writes folder/model.json and folder/weights.bin. */
export async function saveModel(model, folder) {
  await model.save(tf.io.withSaveHandler(async artifacts => {
    const {weightData, weightSpecs, ...rest} = artifacts;
    const json = {...rest, weightsManifest: [{paths: ['weights.bin'], weights: weightSpecs}]};
    mkdirSync(folder, {recursive: true});
    writeFileSync(join(folder, 'weights.bin'), Buffer.from(weightData));
    writeFileSync(join(folder, 'model.json'), JSON.stringify(json));
    return {modelArtifactsInfo: tf.io.getModelArtifactsInfoForJSON(artifacts)};
  }));
}

/** tf.loadLayersModel, where "fetch" reads a file: the way a page takes, but for the network. */
export async function loadModel(folder) {
  const url = pathToFileURL(resolve(folder, 'model.json')).href;
  const fetchFunc = async file => new Response(await readFile(new URL(file)));
  return tf.loadLayersModel(tf.io.http(url, {fetchFunc}));
}

/** What a visitor would download: model.json and weights. */
export function bytesOnDisk(folder) {
  return readdirSync(folder).reduce((sum, file) => sum + statSync(join(folder, file)).size, 0);
}
