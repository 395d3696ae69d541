/**
 * Plans that were measured to be the best, kept from one visit to the next.
 *
 * A stored plan is never run as it stands: it is only a name, to be compared with the names of the plans that the
 * kernels offer for a product on this device (planName). What a stale or a tampered file says is then at worst ignored.
 *
 * The key is what a measurement holds for: the adapter; rows, k, n, pattern and storage of the product; and the version
 * of the kernels. Bias and activation are not in it: they cost the same in every plan.
 */
import type {MatMulProblem, Plan} from '../../kernels/webgpu/select.js';
import {formatPattern} from '../format/pattern.js';
import {plausible, type AdapterNames, type DeviceProfile} from './device_profile.js';
import {openStore, type CachePlace} from './plan_store.js';

/**
 * To be raised when the kernels change so much that plans measured before are no longer the best, and when a profile
 * has figures that it had not.
 */
export const KERNELS_VERSION = 5;

/** The best plan for some rows of a product. */
export interface TunedPlan {
  rows: number;
  /** Its {@link planName}. */
  plan: string;
  /** Milliseconds measured, and those of the plan that would have been taken untuned. */
  ms: number;
  defaultMs: number;
}

/** What is known of one GPU. */
export interface TuningRecord {
  /** Measured. */
  profile?: DeviceProfile;
  /** By {@link productKey}. */
  plans: Record<string, TunedPlan[]>;
}

interface Document {
  version: number;
  /** By {@link adapterKey}. */
  adapters: Record<string, TuningRecord>;
}

/** A plan's name: everything about it but the epilogue. */
export function planName(plan: Plan): string {
  return JSON.stringify({...plan, config: {...plan.config, epilogue: undefined}});
}

export function productKey({shape: [k, n], pattern, dtype}: MatMulProblem): string {
  return `n ${n} k ${k} ${formatPattern(pattern)} ${dtype}`;
}

export function adapterKey({vendor, architecture, device, description}: AdapterNames): string {
  return [vendor, architecture, device, description].join(' | ');
}

/** What is stored for an adapter; undefined if that is nothing, or cannot be had. Warns of a damaged store. */
export async function readTuned(place: CachePlace, adapter: string): Promise<TuningRecord | undefined> {
  let name: string | undefined;
  let text: string | undefined;
  try {
    const store = openStore(place);
    name = store?.name;
    text = await store?.read();
  } catch {
    return undefined; // a page without storage has no tuned plans, and needs none
  }
  try {
    return text === undefined ? undefined : parseDocument(text).adapters[adapter];
  } catch (error) {
    console.warn(`tfjs-nm-sparse: the cache of tuned plans, ${name}, is not used: ${(error as Error).message} ` +
      'The next tune() writes it anew.');
    return undefined;
  }
}

/**
 * Adds to what is stored for an adapter.
 * @returns where it is stored.
 * @throws Error if it cannot be.
 */
export async function storeTuned(place: CachePlace, adapter: string, added: TuningRecord): Promise<string> {
  const store = openStore(place);
  if (!store) {
    throw new Error('there is neither IndexedDB here nor a file system.');
  }
  await store.update(text => {
    const {adapters} = readable(text);
    const document: Document = {
      version: KERNELS_VERSION, adapters: {...adapters, [adapter]: mergeRecords(adapters[adapter], added)},
    };
    return JSON.stringify(document, undefined, 1);
  });
  return store.name;
}

/** A record with what another adds or knows better. */
export function mergeRecords(old: TuningRecord = {plans: {}}, added: TuningRecord): TuningRecord {
  const plans = {...old.plans};
  for (const [key, tuned] of Object.entries(added.plans)) {
    const others = (plans[key] ?? []).filter(({rows}) => tuned.every(each => each.rows !== rows));
    plans[key] = [...others, ...tuned];
  }
  const profile = added.profile ?? old.profile;
  return {...(profile && {profile}), plans};
}

/** The stored document, or an empty one where it cannot be read: it is about to be written anew. */
function readable(text: string | undefined): Document {
  try {
    return parseDocument(text ?? '');
  } catch {
    return {version: KERNELS_VERSION, adapters: {}};
  }
}

/**
 * Reads a document, and looks at every value in it. One of another version is empty.
 * @throws Error saying what is wrong with it.
 */
function parseDocument(text: string): Document {
  const document = JSON.parse(text) as Partial<Document>;
  const {version, adapters} = document ?? {};
  if (typeof version !== 'number' || !isObject(adapters)) {
    throw new Error('it is no such cache.');
  }
  if (version !== KERNELS_VERSION) {
    return {version: KERNELS_VERSION, adapters: {}};
  }
  for (const [adapter, record] of Object.entries(adapters)) {
    const sound = isObject(record) && isObject(record.plans) && Object.values(record.plans).every(isTunedPlans) &&
      (record.profile === undefined || isObject(record.profile) && plausible(record.profile));
    if (!sound) {
      throw new Error(`its record of '${adapter}' is damaged.`);
    }
  }
  return {version, adapters};
}

function isTunedPlans(tuned: unknown): tuned is TunedPlan[] {
  return Array.isArray(tuned) && tuned.every((each: unknown) => isObject(each) && typeof each.plan === 'string' &&
    [each.rows, each.ms, each.defaultMs].every(value => typeof value === 'number' && value > 0));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
