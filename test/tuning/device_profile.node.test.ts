/** Profiles of GPUs by their names, as Chromium, Dawn and drivers write them. */
import {expect} from 'chai';
import {plausible, profileOf, type DeviceProfile} from '../../src/tuning/device_profile.js';

describe('the profile of a GPU', () => {
  const families: Array<[string, Parameters<typeof profileOf>[0]]> = [
    ['NVIDIA Hopper', {vendor: 'nvidia', architecture: 'hopper'}],
    ['NVIDIA Hopper', {vendor: 'nvidia', architecture: '', device: '0x2335', description: 'NVIDIA: 550.54.15'}],
    ['NVIDIA Hopper', {vendor: 'nvidia', description: 'NVIDIA H200'}],
    ['NVIDIA Hopper', {vendor: 'nvidia', architecture: '', device: '', description: ''}],
    ['NVIDIA A100', {vendor: 'nvidia', description: 'NVIDIA A100-SXM4-80GB'}],
    ['NVIDIA Ampere', {vendor: 'nvidia', architecture: 'ampere'}],
    ['NVIDIA Ada', {vendor: 'nvidia', architecture: 'lovelace'}],
    ['NVIDIA Turing', {vendor: 'nvidia', architecture: 'turing'}],
    ['NVIDIA', {vendor: 'nvidia', architecture: 'something-new'}],
    ['Apple', {vendor: 'apple', architecture: 'metal-3'}],
    ['AMD RDNA 1', {vendor: 'amd', architecture: 'rdna-1'}],
    ['AMD RDNA 2', {vendor: 'amd', architecture: 'rdna-2'}],
    ['AMD RDNA 3', {vendor: 'amd', architecture: 'rdna-3'}],
    ['AMD GCN', {vendor: 'amd', architecture: 'gcn-5'}],
    ['Intel Gen 9', {vendor: 'intel', architecture: 'gen-9'}],
    ['Intel Xe', {vendor: 'intel', architecture: 'gen-12lp'}],
    ['Intel Xe', {vendor: 'intel', architecture: 'gen-12-lp'}],
    ['Intel Xe', {vendor: 'intel', architecture: 'xe-lpg'}],
    ['Intel Arc', {vendor: 'intel', architecture: 'gen-12hp'}],
    ['Intel Arc', {vendor: 'intel', architecture: 'xe-2hpg'}],
    ['Adreno 7xx', {vendor: 'qualcomm', architecture: 'adreno-7xx'}],
    ['Adreno 6xx', {vendor: 'qualcomm', architecture: 'adreno-6xx'}],
    ['Mali', {vendor: 'arm', architecture: 'valhall'}],
    ['software', {vendor: 'google', architecture: 'swiftshader'}],
    ['unknown GPU', {vendor: 'a new vendor'}],
    ['unknown GPU', {}],
  ];
  for (const [name, names] of families) {
    it(`is that of ${name} for ${JSON.stringify(names)}`, () => {
      expect(profileOf(names).name).to.equal(name);
    });
  }

  it('has figures that can be divided by, and a cache faster than memory', () => {
    for (const [, names] of families) {
      const {name, reservedBytes, ...figures} = profileOf(names);
      expect(reservedBytes, `reservedBytes of ${name}`).to.be.oneOf([0, 1024]);
      for (const [figure, value] of Object.entries(figures)) {
        expect(value, `${figure} of ${name}`).to.be.above(0).and.below(Infinity);
      }
      expect(figures.cacheGBs, name).to.be.above(figures.memoryGBs);
    }
  });

  it('is not taken from outside if a figure of it is missing or cannot be', () => {
    const profile = profileOf();
    expect(plausible({...profile})).to.deep.equal(profile);
    const wrong: Array<Partial<Record<keyof DeviceProfile, unknown>>> = [
      {tflops: NaN}, {tflops: undefined}, {cores: 0}, {cores: '8'}, {memoryGBs: Infinity}, {launchUs: -1}, {name: 5},
      {reservedBytes: -1}, {reservedBytes: undefined},
    ];
    for (const figure of wrong) {
      expect(plausible({...profile, ...figure} as DeviceProfile), JSON.stringify(figure)).to.equal(undefined);
    }
  });
});
