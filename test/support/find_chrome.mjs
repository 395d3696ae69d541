/**
 * Finds a Chrome or Chromium for the tests, and fetches one where there is none. Node needs it too, where there is no
 * GPU: Dawn then runs on the SwiftShader that lies beside the browser.
 */
import {spawnSync} from 'node:child_process';
import {accessSync, constants, existsSync, realpathSync} from 'node:fs';
import {delimiter, dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {Browser, detectBrowserPlatform, getInstalledBrowsers, install, resolveBuildId} from '@puppeteer/browsers';

/** Where a browser that no package manager installed is kept; git ignores it. */
const CACHE = fileURLToPath(new URL('../../.cache', import.meta.url));

/** For test pages: no window, WebGPU and WebGL in software, no network. */
export const CHROMIUM_FLAGS = [
  '--headless=new',
  '--no-sandbox', // containers run as root, where Chromium's sandbox refuses to
  '--disable-dev-shm-usage', // containers give /dev/shm 64 MB
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  // The second one is why shaders compile in reasonable time: see dawn.ts.
  '--disable-dawn-features=timestamp_quantization,use_vulkan_zero_initialize_workgroup_memory_extension',
  '--use-angle=swiftshader',
  '--enable-unsafe-swiftshader', // WebGL in software
  // A test page talks to karma and to nobody else; nor does the browser around it.
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--no-first-run',
  '--disable-quic',
];

const NAMES = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable'];
const MACOS_PATHS = [
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
  '/Applications/Chromium.app/Contents/MacOS/Chromium',
];
/** On Linux the thing in PATH is often a script, and the browser with its libraries lies in one of these. */
const LINUX_FOLDERS = ['/usr/lib/chromium', '/usr/lib/chromium-browser', '/usr/lib64/chromium-browser',
  '/opt/google/chrome'];

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The path of a Chrome or Chromium on this machine, or undefined. CHROME_BIN, where set, is taken at its word. */
export async function findChrome() {
  if (process.env.CHROME_BIN) {
    return process.env.CHROME_BIN;
  }
  const folders = (process.env.PATH ?? '').split(delimiter);
  const installed = [...NAMES.flatMap(name => folders.map(folder => join(folder, name))), ...MACOS_PATHS]
    .find(isExecutable);
  return installed ?? (await getInstalledBrowsers({cacheDir: CACHE}))[0]?.executablePath;
}

/** Runs a command in the open: fetching a browser takes minutes, and silence looks like a hang. */
function runVisibly(command, ...args) {
  console.log(`$ ${command} ${args.join(' ')}`);
  return spawnSync(command, args, {
    stdio: 'inherit', env: {...process.env, DEBIAN_FRONTEND: 'noninteractive'},
  }).status === 0;
}

function installFromDebian() {
  if (!existsSync('/etc/debian_version')) {
    return false;
  }
  const aptGet = process.getuid?.() === 0 ? ['apt-get'] : ['sudo', '-n', 'apt-get'];
  return runVisibly(...aptGet, 'update') &&
    runVisibly(...aptGet, 'install', '-y', '--no-install-recommends', 'chromium');
}

async function installFromGoogle() {
  try {
    const buildId = await resolveBuildId(Browser.CHROME, detectBrowserPlatform(), 'stable');
    console.log(`fetching Chrome ${buildId} into ${CACHE}`);
    await install({browser: Browser.CHROME, buildId, cacheDir: CACHE, downloadProgressCallback: 'default'});
    return true;
  } catch (error) {
    console.log(`Chrome could not be fetched: ${error.message}`);
    return false;
  }
}

/** The path of a Chrome or Chromium, which is fetched first if need be; undefined if that fails too. */
export async function findOrInstallChrome() {
  for (const provide of [() => true, installFromDebian, installFromGoogle]) {
    const chrome = await provide() && await findChrome();
    if (chrome) {
      return chrome;
    }
  }
  return undefined;
}

/** What Dawn needs in its environment to run on the SwiftShader of this browser; undefined if it has none. */
export function swiftShaderEnv(chrome) {
  const folder = [dirname(realpathSync(chrome)), ...LINUX_FOLDERS]
    .find(folder => existsSync(join(folder, 'vk_swiftshader_icd.json')));
  return folder && {
    VK_ICD_FILENAMES: join(folder, 'vk_swiftshader_icd.json'),
    // The Vulkan loader lies there too, and a machine without a GPU has seldom one of its own.
    LD_LIBRARY_PATH: [folder, process.env.LD_LIBRARY_PATH].filter(Boolean).join(delimiter),
  };
}
