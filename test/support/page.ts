/** Opens a page from a folder in headless Chromium and collects what it logs. */
import {spawn} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {readFile} from 'node:fs/promises';
import {createServer, type Server} from 'node:http';
import {type AddressInfo} from 'node:net';
import {tmpdir} from 'node:os';
import {extname, join} from 'node:path';
import {createInterface} from 'node:readline';
import {CHROMIUM_FLAGS} from './find_chrome.mjs';

const TYPES: Record<string, string> = {'.html': 'text/html', '.js': 'text/javascript', '.json': 'application/json'};

async function serve(folder: string): Promise<Server> {
  const server = createServer((request, response) => {
    const {pathname} = new URL(request.url!, 'http://localhost'); // a parsed URL holds no '..'
    readFile(join(folder, decodeURIComponent(pathname))).then(
      bytes => response.writeHead(200, {'content-type': TYPES[extname(pathname)] ?? ''}).end(bytes),
      () => response.writeHead(404).end());
  });
  await new Promise<void>(resolve => server.listen(0, 'localhost', resolve));
  return server;
}

/**
 * Opens `page`, a path in `folder`, until it logs a line that `isLast` accepts, fails, or `timeoutMs` have passed.
 * @returns the lines that it logged. An exception that nothing caught is a line 'Uncaught …', and the last one.
 */
export async function openPage(
    chrome: string, folder: string, page: string, isLast: (line: string) => boolean,
    timeoutMs: number): Promise<string[]> {
  const server = await serve(folder);
  const profile = mkdtempSync(join(tmpdir(), 'chromium-'));
  const url = `http://localhost:${(server.address() as AddressInfo).port}/${page}`;
  const flags = [...CHROMIUM_FLAGS, '--enable-logging=stderr', `--user-data-dir=${profile}`];
  const browser = spawn(chrome, [...flags, url], {stdio: ['ignore', 'ignore', 'pipe'], timeout: timeoutMs});
  const closed = new Promise((resolve, reject) => browser.on('close', resolve).on('error', reject));
  const lines: string[] = [];
  createInterface({input: browser.stderr}).on('line', text => {
    const line = /CONSOLE[:(]\d+\)?\] "(.*)", source: /.exec(text)?.[1];
    if (line !== undefined) {
      lines.push(line);
      if (isLast(line) || line.startsWith('Uncaught')) {
        browser.kill();
      }
    }
  });
  try {
    await closed;
  } finally {
    server.close();
    server.closeAllConnections();
    rmSync(profile, {recursive: true, force: true, maxRetries: 5});
  }
  return lines;
}
