export interface Runner {
  name: string;
  place: 'node' | 'browser';
  backend: 'cpu' | 'webgpu' | 'webgl';
}
export const RUNNERS: Runner[];
export function browserBundle(bundles: string, runner: Runner): string;
