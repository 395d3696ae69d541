/**
 * One text that outlives the page or the process: in IndexedDB in browsers, in a file in Node.
 *
 * The package is one build for both. Node's modules come from process.getBuiltinModule at run time, so that bundlers
 * for browsers see no import of them.
 */
import type * as fs from 'node:fs/promises';
import type * as os from 'node:os';
import type * as path from 'node:path';
import {get, update, type UseStore} from 'idb-keyval';

export interface TextStore {
  /** Where it is, for messages. */
  readonly name: string;
  /** @returns undefined if nothing is stored yet. */
  read(): Promise<string | undefined>;
  /** Replaces the text by `change` of it, atomically. */
  update(change: (text: string | undefined) => string): Promise<void>;
}

const DATABASE = 'tfjs-nm-sparse';
const OBJECT_STORE = 'keyval';
const KEY = 'tuned-plans';
/** IndexedDB that has not answered after this many ms counts as missing: some browsers then never answer. */
const ANSWER_MS = 2000;

/** @returns undefined where there is neither IndexedDB nor Node's file system (Node 20.16 or newer). */
export function openStore(): TextStore | undefined {
  const modules = nodeModules();
  return modules ? new FileStore(filePath(modules), modules) :
    typeof indexedDB === 'undefined' ? undefined : new BrowserStore();
}

/** A database that is created by the first update and open only while it is used. */
export class BrowserStore implements TextStore {
  readonly name: string;

  constructor(private readonly database = DATABASE) {
    this.name = `IndexedDB ${database}`;
  }

  async read(): Promise<string | undefined> {
    return answered(this.use(false, store => get<string>(KEY, store)));
  }

  async update(change: (text: string | undefined) => string): Promise<void> {
    return answered(this.use(true, store => update<string>(KEY, change, store)));
  }

  private async use<T>(create: boolean, run: (store: UseStore) => Promise<T>): Promise<T | undefined> {
    const database = await openDatabase(this.database, create);
    try {
      return database && await run(async (mode, access) =>
        access(database.transaction(OBJECT_STORE, mode).objectStore(OBJECT_STORE)));
    } finally {
      database?.close();
    }
  }
}

/** @returns undefined if the database does not exist and is not to be created. */
function openDatabase(name: string, create: boolean): Promise<IDBDatabase | undefined> {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(name);
    let isNew = false;
    request.onupgradeneeded = () => {
      isNew = true;
      if (create) {
        request.result.createObjectStore(OBJECT_STORE);
      } else {
        request.transaction?.abort(); // IndexedDB then removes the database that opening created
      }
    };
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => isNew && !create ? resolve(undefined) : reject(request.error as Error);
  });
}

/** @throws Error if the work is not done in time. */
async function answered<T>(work: Promise<T>): Promise<T> {
  let done = false;
  const silent = async () => {
    // Several waits, so that a long task of the page uses up only one of them.
    for (let i = 0; i < 4 && !done; ++i) {
      await new Promise(resolve => setTimeout(resolve, ANSWER_MS / 4));
    }
    throw new Error(`IndexedDB has not answered within ${ANSWER_MS} ms.`);
  };
  try {
    return await Promise.race([work, silent()]);
  } finally {
    done = true;
  }
}

interface NodeModules {
  fs: typeof fs;
  os: typeof os;
  path: typeof path;
}

function nodeModules(): NodeModules | undefined {
  const {process} = globalThis as {process?: Partial<NodeJS.Process>};
  const load = process?.versions?.node === undefined ? undefined : process.getBuiltinModule;
  return load && {fs: load('node:fs/promises'), os: load('node:os'), path: load('node:path')};
}

/** In the user's cache folder. */
function filePath({os, path}: NodeModules): string {
  const {XDG_CACHE_HOME, LOCALAPPDATA} = process.env;
  const home = os.homedir();
  const folder = XDG_CACHE_HOME || (process.platform === 'win32' ? LOCALAPPDATA || path.join(home, 'AppData', 'Local') :
    process.platform === 'darwin' ? path.join(home, 'Library', 'Caches') : path.join(home, '.cache'));
  return path.join(folder, 'tfjs-nm-sparse', 'tuned-plans.json');
}

class FileStore implements TextStore {
  constructor(readonly name: string, private readonly modules: NodeModules) {}

  async read(): Promise<string | undefined> {
    try {
      return await this.modules.fs.readFile(this.name, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') {
        return undefined;
      }
      throw error;
    }
  }

  /** Writes a temporary file and renames it. If two processes update at once, one change is lost, never the file. */
  async update(change: (text: string | undefined) => string): Promise<void> {
    const {fs, path} = this.modules;
    // A random name: in a folder that others may write to, a predictable one could be a link to another file.
    const temporary = `${this.name}.${crypto.randomUUID()}.tmp`;
    const text = change(await this.read());
    await fs.mkdir(path.dirname(this.name), {recursive: true});
    try {
      await fs.writeFile(temporary, text, {flag: 'wx'});
      await fs.rename(temporary, this.name);
    } catch (error) {
      await fs.rm(temporary, {force: true});
      throw error;
    }
  }
}
