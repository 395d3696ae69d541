/** What tests of the cache store, and how they hear of its warnings. */
import {profileOf} from '../../src/tuning/device_profile.js';
import type {TunedPlan, TuningRecord} from '../../src/tuning/plan_cache.js';

export function tunedPlan(rows: number, plan = 'a plan', ms = 1): TunedPlan {
  return {rows, plan, ms, defaultMs: 2};
}

export const RECORD: TuningRecord = {
  profile: {...profileOf({vendor: 'apple'}), name: 'Apple, measured'},
  plans: {'n 8 k 8 2:4 float32': [tunedPlan(1), tunedPlan(64)]},
};

/** What is warned of while `run` runs. */
export async function warningsOf(run: () => Promise<unknown>): Promise<string[]> {
  const warnings: string[] = [];
  const {warn} = console;
  console.warn = (message: string) => warnings.push(message);
  try {
    await run();
  } finally {
    console.warn = warn;
  }
  return warnings;
}

/** Makes `folder` the user's cache folder, in Node. @returns what restores the former one. */
export function cacheFolder(folder: string): () => void {
  const before = process.env.XDG_CACHE_HOME;
  process.env.XDG_CACHE_HOME = folder;
  return () => {
    if (before === undefined) {
      delete process.env.XDG_CACHE_HOME;
    } else {
      process.env.XDG_CACHE_HOME = before;
    }
  };
}
