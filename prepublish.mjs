/**
 * Stops `npm publish` while package.json names no real home: the addresses on .invalid are placeholders. Once the
 * repository is public, put its addresses in and remove this file and the script `prepublishOnly`.
 */
import {readFileSync} from 'node:fs';

const {repository, homepage, bugs} = JSON.parse(readFileSync('package.json', 'utf8'));
const addresses = {'repository.url': repository?.url, homepage, 'bugs.url': bugs?.url};
const placeholders = Object.entries(addresses).filter(([, url]) => !url || /\.invalid\b/.test(url));
if (placeholders.length > 0) {
  const fields = placeholders.map(([field, url]) => `${field} is ${url}`).join(', ');
  console.error(`npm publish: in package.json ${fields}; expected the address of the public repository.`);
  process.exitCode = 1;
}
