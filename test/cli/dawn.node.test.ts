/** What Dawn writes to the process's stderr, from C++, is not for the user of nm-prune. */
import {spawnSync} from 'node:child_process';
import {mkdtempSync, rmSync} from 'node:fs';
import {join} from 'node:path';
import {layers, sequential} from '@tensorflow/tfjs-layers';
import {expect} from 'chai';
import esbuild from 'esbuild';
import {wasmKernels} from '../../kernels/wasm/plugin.mjs';
import {inFolder, save} from './support.js';

/** A machine without a Vulkan driver: Dawn warns of it, even if nobody chose WebGPU. */
const WITHOUT_VULKAN = {VK_ICD_FILENAMES: '/nowhere/icd.json', LD_LIBRARY_PATH: ''};

describe('nm-prune where Dawn has warnings', () => {
  let buildFolder: string;

  before('build the script', async () => {
    buildFolder = mkdtempSync('build/nm-prune-');
    await esbuild.build({
      plugins: [wasmKernels],
      entryPoints: ['src/cli/main.ts'], outfile: join(buildFolder, 'nm-prune.js'), bundle: true, platform: 'node',
      format: 'esm', target: 'es2020', packages: 'external', ignoreAnnotations: true, logLevel: 'warning',
    });
  });
  after('remove the script', () => rmSync(buildFolder, {recursive: true, force: true}));

  for (const backend of [[], ['--backend', 'webgpu']]) {
    it(`prints none of them with ${backend.join(' ') || 'no --backend'}`, () => inFolder(async folder => {
      const model = sequential({layers: [layers.dense({units: 32, inputShape: [32]})]});
      const args = [await save(model, join(folder, 'in')), join(folder, 'out'), '--pattern', '2:4', ...backend];
      const {status, stdout, stderr} = spawnSync(process.execPath, [join(buildFolder, 'nm-prune.js'), ...args], {
        encoding: 'utf8', env: {...process.env, ...WITHOUT_VULKAN},
      });
      if (status === 0) {
        expect(stdout).to.match(/verified on /);
        expect(stderr).to.equal('');
      } else {
        expect(stderr).to.equal('nm-prune: --backend webgpu: Dawn finds no GPU adapter\n');
      }
    }));
  }
});
