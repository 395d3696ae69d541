/** What npm packs, and that nothing is published under a placeholder address. */
import {spawnSync} from 'node:child_process';
import {copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join, posix} from 'node:path';
import {expect} from 'chai';

const manifest = JSON.parse(readFileSync('package.json', 'utf8'));

function npm(args: string[], cwd = '.') {
  // npm keeps the outer npm's settings in the environment, such as the folder of its package.json.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('npm_')));
  const {status, stdout, stderr} = spawnSync('npm', args, {cwd, env, encoding: 'utf8'});
  return {status, stdout, stderr};
}

/** The targets of the links in a Markdown file that stay inside the package, seen from its root. */
function relativeLinks(file: string): string[] {
  return [...readFileSync(file, 'utf8').matchAll(/\]\(([^)#]+)[^)]*\)/g)].map(([, target]) => target)
    .filter(target => !/^[a-z]+:/.test(target))
    .map(target => posix.join(posix.dirname(file), target));
}

describe('the package', () => {
  it('contains every file that its documents link to', () => {
    const [{files}] = JSON.parse(npm(['pack', '--dry-run', '--json', '--ignore-scripts']).stdout);
    const packed: string[] = files.map(({path}: {path: string}) => path);
    const links = packed.filter(path => path.endsWith('.md')).flatMap(relativeLinks);
    expect(links).to.include.members(['docs/cli.md', 'CONTRIBUTING.md', 'docs/format.md']);
    expect(links.filter(link => !packed.includes(link))).to.deep.equal([]);
  });

  it('documents files that the repository has', () => {
    const {stdout} = spawnSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {encoding: 'utf8'});
    const there = stdout.split('\n').filter(path => existsSync(path));
    const documents = there.filter(path => /^(CONTRIBUTING|docs\/[^/]+)\.md$/.test(path));
    const namesIn = (document: string) => readFileSync(document, 'utf8').matchAll(/`([\w./-]+\.(?:ts|wgsl))`/g);
    const named = documents.flatMap(document => [...namesIn(document)].map(([, name]) => `${document}: ${name}`));
    expect(named).to.include('CONTRIBUTING.md: kernels/contract.ts');
    const exists = (name: string) => there.some(path => `/${path}`.endsWith(`/${name}`));
    expect(named.filter(entry => !exists(entry.split(': ')[1]))).to.deep.equal([]);
  });

  it('names its repository, homepage and bugs', () => {
    expect(manifest).to.include.keys('repository', 'homepage', 'bugs');
  });
});

describe('npm publish', () => {
  /** Runs what npm publish runs first, in a package with these addresses. */
  function runGuard(addresses: object) {
    const folder = mkdtempSync(join(tmpdir(), 'publish-'));
    try {
      copyFileSync('prepublish.mjs', join(folder, 'prepublish.mjs'));
      const {prepublishOnly} = manifest.scripts;
      writeFileSync(join(folder, 'package.json'),
        JSON.stringify({name: 'empty', version: '1.0.0', scripts: {prepublishOnly}, ...addresses}));
      return npm(['run', 'prepublishOnly'], folder);
    } finally {
      rmSync(folder, {recursive: true, force: true});
    }
  }
  const home = (host: string) =>
    ({repository: {url: `git+https://${host}/a.git`}, homepage: `https://${host}/`, bugs: {url: `https://${host}/b`}});

  it('is refused while the addresses are placeholders', () => {
    const {status, stderr} = runGuard(home('tfjs-nm-sparse.invalid'));
    expect(stderr).to.include('npm publish: in package.json repository.url is git+https://tfjs-nm-sparse.invalid/a.git')
      .and.include('homepage is').and.include('bugs.url is').and.include('expected the address of');
    expect(status).not.to.equal(0);
  });

  it('is refused without addresses', () => {
    expect(runGuard({}).status).not.to.equal(0);
  });

  it('goes on with the addresses of a public repository', () => {
    expect(runGuard(home('example.com'))).to.include({status: 0, stderr: ''});
  });
});
