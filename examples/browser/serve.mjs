/**
 * Serves this repository to this machine, for pages under examples/: a browser runs no modules and fetches nothing from
 * file:// URLs.
 *
 *   npm run example:browser             then open the URL it prints
 *   PORT=3000 npm run example:browser   on another port
 */
import {createReadStream, statSync} from 'node:fs';
import {createServer} from 'node:http';
import {extname, join} from 'node:path';
import {fileURLToPath} from 'node:url';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PAGE = '/examples/browser/';
const PORT = Number(process.env.PORT ?? 8080);

const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
};

/** The file a URL asks for; undefined if there is none. A parsed URL holds no '..', so none leads out of ROOT. */
function findFile(url) {
  try {
    const {pathname} = new URL(url, 'http://localhost');
    const path = join(ROOT, decodeURIComponent(pathname), pathname.endsWith('/') ? 'index.html' : '');
    return path.startsWith(ROOT) && statSync(path).isFile() ? path : undefined;
  } catch {
    return undefined;
  }
}

const server = createServer(({url}, response) => {
  if (url === '/') {
    response.writeHead(302, {location: PAGE}).end();
    return;
  }
  const file = findFile(url);
  if (file === undefined) {
    response.writeHead(404).end(`not found: ${url}\n`);
    return;
  }
  response.writeHead(200, {
    'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
    'cache-control': 'no-cache', // models are made anew, under the same name
  });
  createReadStream(file).pipe(response);
});

server.on('error', ({code, message}) => {
  console.error(code === 'EADDRINUSE' ? `port ${PORT} is taken; choose another: PORT=3000 npm run example:browser` :
    message);
  process.exitCode = 1;
});
server.listen(PORT, 'localhost', () => console.log(`http://localhost:${PORT}${PAGE}   (Ctrl+C ends it)`));
