/**
 * Where nm-prune writes: one folder for the model, and a file for the report if --json names one.
 *
 * The rule is that nothing is lost and nothing is half-written:
 * - The places are checked before the work. Just before writing they are checked again: what changed meanwhile is
 *   somebody else's, so the run fails.
 * - All files are written to a staging folder first, which is created exclusively under a random name.
 * - Then they are moved into place without a pause, the weight files before model.json and the report (place_files.ts).
 *   Only a file that the user named is ever replaced: model.json under --overwrite, and the report.
 * - Of a model that is replaced, the weight files named by its manifest are deleted at the end. Every other file stays.
 */
import {
  accessSync, constants, existsSync, lstatSync, mkdtempSync, promises as fs, readdirSync, readlinkSync, realpathSync,
  statSync,
} from 'node:fs';
import {basename, dirname, join, sep} from 'node:path';
import {reasonOf} from '../errors.js';
import {printable} from '../printable.js';
import {canonicalEntry, canonicalPath, fingerprintOf, identityOf} from './file_identity.js';
import {makeFolder, nearestFolder, removeFile, removeIfEmpty, removeStaging} from './folders.js';
import {placeFiles, type Placement} from './place_files.js';
import {MODEL_JSON, weightFilesOf} from './saved_model.js';
import {LONGEST_NAME} from './shards.js';

export interface OutputPlaces {
  /** Folder for the model; created if it does not exist. */
  outDir: string;
  /** File for the report. */
  json?: string;
  /** Whether a saved model in outDir may be replaced. */
  overwrite?: boolean;
}

/** What outDir is: missing, an empty folder, or a folder with a saved model. */
type Content =
  {is: 'missing'} |
  {is: 'empty'; identity: string} |
  {is: 'model'; identity: string; weightFiles: string[]; fingerprints: (string | undefined)[]};

const STAGING_PREFIX = '.nm-prune-';
/** The signals that ask a process to end; what was staged is removed first. */
const SIGNALS: NodeJS.Signals[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

export class OutputFolder {
  private readonly content: Content;
  private readonly outDir: string;
  private readonly json: {path: string; fingerprint: string | undefined} | undefined;
  /** Identities of the files that were read, and how to name them. */
  private readonly inputs = new Map<string, string>();

  /** @throws Error if one of the places cannot be written, or holds something that would be lost. */
  constructor(private readonly places: OutputPlaces) {
    this.outDir = canonicalPath(places.outDir);
    this.content = this.look();
    this.json = places.json === undefined ? undefined : this.checkReport(places.json);
  }

  /** outDir as error messages show it. */
  private get shownDir(): string {
    return printable(this.places.outDir);
  }

  /** Names of the files in outDir, in lower case: some file systems ignore case. */
  get takenNames(): ReadonlySet<string> {
    const names = this.content.is === 'missing' ? [] : readdirSync(this.outDir);
    return new Set(names.map(name => name.toLowerCase()));
  }

  /**
   * Declares files that were read. None of them may be replaced or deleted, under whatever path it is known.
   * @throws Error if writing would do so.
   */
  protect(inputs: readonly string[]): void {
    for (const input of inputs) {
      const identity = identityOf(input);
      if (identity !== undefined) {
        this.inputs.set(identity, input);
      }
    }
    const weightFiles = this.content.is === 'model' ? this.content.weightFiles : [];
    for (const path of [join(this.outDir, MODEL_JSON), ...weightFiles]) {
      const input = this.inputNamed(path);
      if (input !== undefined) {
        throw new Error(`outDir '${this.shownDir}' holds '${printable(input)}', a file of the model to convert, ` +
            'which is never altered; give another folder');
      }
    }
    if (this.json && this.inputNamed(this.json.path) !== undefined) {
      throw new Error(`--json ${printable(this.places.json!)}: that is a file of a model; give another name, e.g. ` +
          'report.json');
    }
  }

  /**
   * Writes the model's files, and the report.
   * @param files by name; model.json among them.
   * @param report the report's text.
   * @throws Error if that fails; then every file is as it was.
   */
  async write(files: ReadonlyMap<string, Uint8Array>, report?: string): Promise<void> {
    const staging: string[] = [];
    const cleanUp = () => staging.forEach(removeStaging);
    const stop = (signal: NodeJS.Signals) => {
      cleanUp();
      process.kill(process.pid, signal);
    };
    SIGNALS.forEach(signal => process.once(signal, stop));
    try {
      const placements = await this.stage(files, report, staging);
      this.putInPlace(placements, staging);
    } catch (error) {
      throw new Error(`cannot write '${this.shownDir}': ${reasonOf(error)}; nothing was written`, {cause: error});
    } finally {
      cleanUp();
      SIGNALS.forEach(signal => process.off(signal, stop));
    }
  }

  private inputNamed(path: string): string | undefined {
    const identity = identityOf(path);
    return identity === undefined ? undefined : this.inputs.get(identity);
  }

  /** Writes all files under random names, on the file systems that they will lie on. */
  private async stage(
      files: ReadonlyMap<string, Uint8Array>, report: string | undefined, staging: string[]): Promise<Placement[]> {
    const stagingIn = (folder: string): string => {
      // By its real path, under which it is found again whatever becomes of links.
      const made = mkdtempSync(join(realpathSync(folder), STAGING_PREFIX));
      staging.push(made);
      return made;
    };
    const modelStaging = stagingIn(nearestFolder(this.outDir));
    const placements: Placement[] = [];
    const add = async (folder: string, target: string, data: Uint8Array | string, replace: boolean) => {
      const staged = join(folder, String(placements.length));
      await fs.writeFile(staged, data, {flag: 'wx', flush: true});
      placements.push({staged, target, replace});
    };
    for (const [name, bytes] of files) {
      if (name !== MODEL_JSON) {
        await add(modelStaging, join(this.outDir, name), bytes, false);
      }
    }
    if (this.json && report !== undefined) {
      const {path, fingerprint} = this.json;
      const folder = dirname(path);
      await add(existsSync(folder) ? stagingIn(folder) : modelStaging, path, report, fingerprint !== undefined);
    }
    // Last: from here on readers find the new model.
    await add(modelStaging, join(this.outDir, MODEL_JSON), files.get(MODEL_JSON)!, this.content.is === 'model');
    return placements;
  }

  /** Synchronous, so that no other code of this process, such as a signal's handler, runs in the middle. */
  private putInPlace(placements: Placement[], staging: string[]): void {
    this.checkUnchanged(staging);
    const made: string[] = [];
    try {
      if (this.content.is === 'missing') {
        makeFolder(this.outDir, made);
      }
      placeFiles(placements);
    } catch (error) {
      made.reverse().forEach(removeIfEmpty);
      throw error;
    }
    if (this.content.is === 'model') {
      const placed = new Set(placements.map(({target}) => identityOf(target)));
      this.content.weightFiles.filter(path => !placed.has(identityOf(path))).forEach(removeFile);
    }
  }

  /** @throws Error if outDir is not what it was when it was first looked at. */
  private checkUnchanged(staging: string[]): void {
    const now = this.look(staging.map(folder => basename(folder)));
    const isThere = canonicalPath(this.places.outDir) === this.outDir;
    if (!isThere || JSON.stringify(now) !== JSON.stringify(this.content)) {
      throw new Error('it changed while the model was converted');
    }
    if (this.json && fingerprintOf(this.json.path) !== this.json.fingerprint) {
      throw new Error(`--json ${printable(this.places.json!)}: the file changed while the model was converted`);
    }
    this.protect([]);
  }

  /** @param own names in outDir to be ignored. */
  private look(own: string[] = []): Content {
    const {overwrite = false} = this.places;
    try {
      const link = lstatSync(this.outDir, {throwIfNoEntry: false});
      const stat = statSync(this.outDir, {throwIfNoEntry: false});
      if (!link || stat?.isDirectory()) {
        lstatSync(join(this.outDir, LONGEST_NAME), {throwIfNoEntry: false}); // throws if the path is too long
      }
      if (!link) {
        accessSync(nearestFolder(this.outDir), constants.W_OK | constants.X_OK);
        return {is: 'missing'};
      }
      if (!stat) {
        throw new Error(`it is a link to '${readlinkSync(this.outDir)}', which does not exist`);
      }
      if (!stat.isDirectory()) {
        throw new Error('it is not a folder');
      }
      const names = readdirSync(this.outDir).filter(name => !own.includes(name));
      accessSync(this.outDir, constants.W_OK | constants.X_OK);
      const identity = identityOf(this.outDir) as string;
      if (names.length === 0) {
        return {is: 'empty', identity};
      }
      if (!overwrite) {
        throw new NotEmptyError(`outDir '${this.shownDir}' is not empty; give another folder, or --overwrite ` +
            'to replace the model in it');
      }
      const weightFiles = weightFilesOf(this.outDir);
      const fingerprints = [join(this.outDir, MODEL_JSON), ...weightFiles].map(fingerprintOf);
      return {is: 'model', identity, weightFiles, fingerprints};
    } catch (error) {
      throw error instanceof NotEmptyError ? error :
        new Error(`outDir '${this.shownDir}' cannot be used: ${reasonOf(error)}`, {cause: error});
    }
  }

  /** @returns the file to write: links are followed, so that a link stays one. */
  private checkReport(json: string): {path: string; fingerprint: string | undefined} {
    const fail = (why: string): never => {
      throw new Error(`--json ${printable(json)}: ${why}`);
    };
    const path = canonicalEntry(json);
    const identity = identityOf(path);
    const ofModel = this.content.is === 'model' ? [join(this.outDir, MODEL_JSON), ...this.content.weightFiles] : [];
    if (path === join(this.outDir, MODEL_JSON) || path.toLowerCase().endsWith('.bin') ||
        (identity !== undefined && ofModel.some(file => identityOf(file) === identity))) {
      fail('that is a file of a model; give another name, e.g. report.json');
    }
    if (`${this.outDir}${sep}`.startsWith(path + sep)) {
      fail('outDir needs a folder of that name; give another name, e.g. report.json');
    }
    if (dirname(path) !== this.outDir && !statSync(dirname(path), {throwIfNoEntry: false})?.isDirectory()) {
      fail(`there is no folder '${dirname(json)}'`);
    }
    const folder = nearestFolder(dirname(path));
    try {
      accessSync(folder, constants.W_OK | constants.X_OK);
    } catch (error) {
      fail(`the folder '${folder}' cannot be written: ${reasonOf(error)}`);
    }
    if (!lstatSync(path, {throwIfNoEntry: false})) {
      return {path, fingerprint: undefined};
    }
    const stat = statSync(path, {throwIfNoEntry: false});
    return stat?.isFile() ? {path: realpathSync(path), fingerprint: fingerprintOf(path)} :
      fail(stat ? 'it is not a file' : 'it is a link to nothing');
  }
}

class NotEmptyError extends Error {}
