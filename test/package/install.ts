/** Installs the built package as its users do, from what npm packs, but without a network. */
import {execFileSync} from 'node:child_process';
import {mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join, resolve} from 'node:path';

/** Without the settings of an outer npm, such as the folder of its package.json. */
export const ENV_OF_A_USER = {
  ...Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_'))),
  npm_config_offline: 'true',
};

/**
 * Makes a new folder in which this package is installed, and every package of the repository's node_modules beside it,
 * as a link.
 * @returns the folder's path. The caller removes the folder.
 */
export function installInNewFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'fresh-'));
  const own = join(folder, 'node_modules', 'tfjs-nm-sparse');
  mkdirSync(join(folder, 'node_modules', '.bin'), {recursive: true});
  mkdirSync(own);
  const pack = ['pack', '--silent', '--ignore-scripts', '--pack-destination', folder];
  const tarball = execFileSync('npm', pack, {encoding: 'utf8', env: ENV_OF_A_USER}).trim();
  execFileSync('tar', ['-xzf', join(folder, tarball), '-C', own, '--strip-components=1']);
  rmSync(join(folder, tarball));
  for (const name of readdirSync('node_modules').filter(name => !name.startsWith('.') && name !== 'tfjs-nm-sparse')) {
    symlinkSync(resolve('node_modules', name), join(folder, 'node_modules', name));
  }
  symlinkSync('../tfjs-nm-sparse/dist/cli/nm-prune.js', join(folder, 'node_modules', '.bin', 'nm-prune'));
  writeFileSync(join(folder, 'package.json'), '{}');
  return folder;
}
