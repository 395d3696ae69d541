/**
 * Checksums of weight files. Each group of a weightsManifest that nm-prune writes has one for each of its `paths`, in a
 * field that tfjs ignores. A file that was cut, damaged, or left over from another version of the model is then found:
 * by nm-prune, and in a page by {@link httpWithChecksums}.
 */
import {env, io} from '@tensorflow/tfjs-core';
import {checkOptionNames, describeValue} from '../util/options.js';

/** The field of a manifest group: a list of SHA-256 sums in lower-case hexadecimal, as long as `paths`. */
export const CHECKSUMS = 'sha256';

/**
 * The SHA-256 sum of bytes, in lower-case hexadecimal.
 * @throws Error (as a rejection) in a page without Web Crypto, which browsers offer on https and localhost only.
 */
export async function sha256(bytes: Uint8Array): Promise<string> {
  const {subtle} = (globalThis as {crypto?: Partial<Crypto>}).crypto ?? {};
  if (!subtle) {
    throw new Error('sha256: this page has no crypto.subtle; serve it from https or localhost.');
  }
  const digest = new Uint8Array(await subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
  return Array.from(digest, byte => byte.toString(16).padStart(2, '0')).join('');
}

/** The checksums of a group's files, unchecked; undefined if it has none, like the models that tfjs saves. */
export function checksumsOf(group: io.WeightsManifestConfig[number]): unknown {
  return (group as unknown as Record<string, unknown>)[CHECKSUMS];
}

/** The fields of tf.io.LoadOptions. */
const LOAD_OPTION_NAMES = [
  'requestInit', 'onProgress', 'fetchFunc', 'strict', 'weightPathPrefix', 'fromTFHub', 'weightUrlConverter',
  'streamWeights',
];

/**
 * A handler for tf.loadLayersModel that compares each weight file with its checksum in model.json.
 *
 * ```js
 * const model = await tf.loadLayersModel(httpWithChecksums('model-sparse/model.json'));
 * ```
 *
 * @param url of a model.json that nm-prune wrote.
 * @param options as tf.io.http takes them.
 * @returns the handler. Its load() rejects with an Error that names the file if one does not match, or if model.json
 *     has no checksums.
 */
export function httpWithChecksums(url: string, options: io.LoadOptions = {}): io.IOHandler {
  if (typeof url !== 'string' || url === '') {
    throw new Error(`httpWithChecksums: url is ${describeValue(url)}; give the URL of a model.json.`);
  }
  checkOptionNames('httpWithChecksums', options, LOAD_OPTION_NAMES, "{weightPathPrefix: 'https://example.com/'}");
  if (options.streamWeights) {
    throw new Error('httpWithChecksums: streamWeights is set; a file is checked whole, so leave it out.');
  }
  return {load: () => loadChecked(url, options)};
}

async function loadChecked(url: string, options: io.LoadOptions): Promise<io.ModelArtifacts> {
  const sumByPath = new Map<string, string>();
  const pathByUrl = new Map<string, string>();
  const plainFetch = options.fetchFunc ?? env().platform.fetch.bind(env().platform);
  const fetchFunc = async (address: string, init?: RequestInit): Promise<Response> => {
    const response = await plainFetch(address, init) as Response;
    if (!response.ok) {
      return response; // tf.io.http says what is wrong
    }
    const path = pathByUrl.get(address);
    if (path === undefined) {
      collectSums(url, await response.clone().json() as io.ModelJSON, sumByPath);
      return response;
    }
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (await sha256(bytes) !== sumByPath.get(path)) {
      throw new Error(`httpWithChecksums: weight file '${path}' does not match its checksum in ${url}. It is ` +
          'damaged, or of another version of the model; clear the cache, or upload all files of the model together.');
    }
    return new Response(bytes, {status: response.status, headers: response.headers});
  };
  const weightUrlConverter = async (path: string): Promise<string> => {
    const address = await (options.weightUrlConverter ?? defaultWeightUrl)(path);
    pathByUrl.set(address, path);
    return address;
  };
  // As tf.io.http does it: tfjs-core/src/io/http.ts, getWeightUrls.
  const defaultWeightUrl = async (path: string): Promise<string> => {
    const [slash, query] = [url.lastIndexOf('/'), url.lastIndexOf('?')];
    const folder = options.weightPathPrefix || `${url.substring(0, slash)}/`;
    return folder + path + (query > slash ? url.substring(query) : '');
  };
  return io.http(url, {...options, fetchFunc: fetchFunc as typeof fetch, weightUrlConverter}).load!();
}

function collectSums(url: string, {weightsManifest}: io.ModelJSON, sumByPath: Map<string, string>): void {
  for (const group of weightsManifest ?? []) {
    const sums = checksumsOf(group) as string[] | undefined;
    if (!Array.isArray(sums) || sums.length !== group.paths.length) {
      throw new Error(`httpWithChecksums: ${url} has no checksums; nm-prune writes them. Load it with the URL alone.`);
    }
    group.paths.forEach((path, i) => sumByPath.set(path, sums[i]));
  }
}
