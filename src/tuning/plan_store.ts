/**
 * One text that outlives the page or the process: in IndexedDB in browsers, in a file in Node.
 *
 * The package is one build for both. Node's modules come from process.getBuiltinModule, at run time, so that no bundler
 * for browsers ever sees an import of them.
 */
import type * as fs from 'node:fs/promises';
import type * as os from 'node:os';
import type * as path from 'node:path';
import {createStore, get, update, type UseStore} from 'idb-keyval';

/** true: the place usual on this platform. A string: the path of a file, in Node. */
export type CachePlace = true | string;

export interface TextStore {
  /** Where it is, for people to read. */
  readonly name: string;
  /** @returns undefined if nothing is stored yet. */
  read(): Promise<string | undefined>;
  /** Stores what `change` makes of the present text. Nobody ever reads a half of it. */
  update(change: (text: string | undefined) => string): Promise<void>;
}

const DATABASE = 'tfjs-nm-sparse';
const KEY = 'tuned-plans';

/**
 * @returns undefined where there is neither IndexedDB nor Node's file system.
 * @throws Error if a path is given where there are no files.
 */
export function openStore(place: CachePlace): TextStore | undefined {
  const modules = nodeModules();
  if (typeof place === 'string') {
    if (!modules) {
      throw new Error(`cache is '${place}', a path, and there are no files here (a browser, or Node before 20.16); ` +
        'give true, for the place usual here, or false.');
    }
    return new FileStore(place, modules);
  }
  return modules ? new FileStore(defaultPath(modules), modules) :
    typeof indexedDB === 'undefined' ? undefined : new BrowserStore();
}

class BrowserStore implements TextStore {
  readonly name = `IndexedDB ${DATABASE}`;
  private readonly store: UseStore = createStore(DATABASE, 'keyval');

  read(): Promise<string | undefined> {
    return get<string>(KEY, this.store);
  }

  update(change: (text: string | undefined) => string): Promise<void> {
    return update<string>(KEY, change, this.store);
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

/** The user's folder for what can be made again. */
function defaultPath({os, path}: NodeModules): string {
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

  /** Written beside the file and renamed. Of two processes that update at once, one's change is lost; no file is. */
  async update(change: (text: string | undefined) => string): Promise<void> {
    const {fs, path} = this.modules;
    // In a folder that others may write to, a name that can be guessed could be a link that they have put there.
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
