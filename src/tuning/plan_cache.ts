/**
 * The results of tune(), stored from one visit to the next.
 *
 * A stored plan never runs as it stands. It is a name, compared with the names of the plans that the kernels offer for
 * a product on this device (planName); a stale or forged name matches none.
 *
 * A measurement holds for an adapter, for rows, k, n, pattern and storage of a product, and for a version of the
 * kernels. Bias and activation cost the same in every plan.
 */
import {PLANS_VERSION, type MatMulProblem} from '../../kernels/webgpu/plan.js';
import {formatPattern} from '../format/pattern.js';
import type {PlanChooser} from './choose.js';
import {plausible, type AdapterNames, type DeviceProfile} from './device_profile.js';
import {openStore} from './plan_store.js';

/** The fastest plan for a number of rows of a product. */
export interface TunedPlan {
  rows: number;
  /** Its planName(). */
  plan: string;
  /** Measured ms of that plan, and of the plan that runs without tuning. */
  ms: number;
  defaultMs: number;
}

/** What was measured on one GPU. */
export interface TuningRecord {
  profile?: DeviceProfile;
  /** By {@link productKey}. */
  plans: Record<string, TunedPlan[]>;
}

interface Document {
  version: number;
  /** By {@link adapterKey}. */
  adapters: Record<string, TuningRecord>;
}

export function productKey({shape: [k, n], pattern, dtype}: MatMulProblem): string {
  return `n ${n} k ${k} ${formatPattern(pattern)} ${dtype}`;
}

export function adapterKey({vendor, architecture, device, description}: AdapterNames): string {
  return [vendor, architecture, device, description].join(' | ');
}

/** Has a chooser learn what is stored for its GPU; reads it once for each chooser. */
export function loadTuned(chooser: PlanChooser): Promise<void> {
  chooser.loading ??= readTuned(chooser.adapter).then(record => record && chooser.learnStored(record));
  return chooser.loading;
}

/** @returns the record of an adapter; undefined if none is stored or it cannot be read. Warns if it is damaged. */
export async function readTuned(adapter: string): Promise<TuningRecord | undefined> {
  const store = openStore();
  const text = await store?.read().catch(() => undefined); // a page without storage has no tuned plans and needs none
  const adapters = parseAdapters(text);
  if (!adapters) {
    console.warn(`tfjs-nm-sparse: the stored plans in ${store?.name} are damaged and ignored; ` +
      'the next tune() measures and replaces them.');
  }
  return adapters?.[adapter];
}

/**
 * Adds to what is stored for an adapter.
 * @returns where it is stored.
 * @throws Error if it can't be stored.
 */
export async function storeTuned(adapter: string, added: TuningRecord): Promise<string> {
  const store = openStore();
  if (!store) {
    throw new Error('there is neither IndexedDB here nor a file system.');
  }
  await store.update(text => {
    const adapters = parseAdapters(text) ?? {};
    const document: Document = {
      version: PLANS_VERSION, adapters: {...adapters, [adapter]: mergeRecords(adapters[adapter], added)},
    };
    return JSON.stringify(document, undefined, 1);
  });
  return store.name;
}

/** A record with all entries of both; where both have one, that of `added`. */
export function mergeRecords(old: TuningRecord = {plans: {}}, added: TuningRecord): TuningRecord {
  const plans = {...old.plans};
  for (const [key, tuned] of Object.entries(added.plans)) {
    const others = (plans[key] ?? []).filter(({rows}) => tuned.every(each => each.rows !== rows));
    plans[key] = [...others, ...tuned];
  }
  const profile = added.profile ?? old.profile;
  return {...(profile && {profile}), plans};
}

/** @returns the records of a stored document; none if it is of another version; undefined if it is damaged. */
function parseAdapters(text: string | undefined): Document['adapters'] | undefined {
  if (text === undefined) {
    return {};
  }
  try {
    const {version, adapters} = JSON.parse(text) as Document;
    const isOlder = typeof version === 'number' && version !== PLANS_VERSION;
    return isOlder ? {} : Object.values(adapters).every(isSound) ? adapters : undefined;
  } catch {
    return undefined;
  }
}

/** Whether all figures that are divided by or shown are positive numbers. */
function isSound({profile, plans}: TuningRecord): boolean {
  return (profile === undefined || plausible(profile) !== undefined) && Object.values(plans).every(tuned =>
    tuned.every(({rows, ms, defaultMs}) => Math.min(rows, ms, defaultMs) > 0));
}
