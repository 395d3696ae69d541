/**
 * Plans that were measured to be the best, kept from one visit to the next.
 *
 * A stored plan is never run as it stands: it is only a name, to be compared with the names of the plans that the
 * kernels offer for a product on this device (planName). What a stale or a tampered file says is then at worst ignored.
 *
 * The key is what a measurement holds for: the adapter; rows, k, n, pattern and storage of the product; and the version
 * of the kernels. Bias and activation are not in it: they cost the same in every plan.
 */
import {PLANS_VERSION, type MatMulProblem} from '../../kernels/webgpu/plan.js';
import {formatPattern} from '../format/pattern.js';
import {plausible, type AdapterNames, type DeviceProfile} from './device_profile.js';
import {openStore, type CachePlace} from './plan_store.js';

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

export function productKey({shape: [k, n], pattern, dtype}: MatMulProblem): string {
  return `n ${n} k ${k} ${formatPattern(pattern)} ${dtype}`;
}

export function adapterKey({vendor, architecture, device, description}: AdapterNames): string {
  return [vendor, architecture, device, description].join(' | ');
}

/** What is stored for an adapter; undefined if that is nothing, or cannot be read. Warns of damage. */
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
  const {adapters, damage} = parseDocument(text);
  if (damage !== undefined) {
    console.warn(`tfjs-nm-sparse: the cache of tuned plans, ${name}, is damaged: ${damage}. ` +
      'The next tune() measures and stores what is missing.');
  }
  return adapters[adapter];
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
    const {adapters} = parseDocument(text);
    // What the reader would refuse is not stored, nor kept.
    const record = mergeRecords(adapters[adapter], soundRecord(added, () => undefined));
    const document: Document = {version: PLANS_VERSION, adapters: {...adapters, [adapter]: record}};
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

/**
 * The sound entries of a stored document; none if it is of another version.
 * @returns `damage` says what else it holds; undefined if nothing.
 */
function parseDocument(text: string | undefined): {adapters: Document['adapters']; damage?: string} {
  if (text === undefined) {
    return {adapters: {}};
  }
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (error) {
    return {adapters: {}, damage: (error as Error).message};
  }
  const {version, adapters} = isObject(document) ? document : {};
  if (typeof version !== 'number' || !isObject(adapters)) {
    return {adapters: {}, damage: 'it holds something else'};
  }
  if (version !== PLANS_VERSION) {
    return {adapters: {}};
  }
  const dropped: string[] = [];
  const sound = Object.fromEntries(Object.entries(adapters).map(([adapter, record]) =>
    [adapter, soundRecord(record, what => dropped.push(`${what} of '${adapter}'`))]));
  return {adapters: sound, ...(dropped.length > 0 && {damage: `it has no sound ${dropped.slice(0, 3).join(', ')}`})};
}

/** What can be used of a stored record; the rest is reported by name. */
function soundRecord(record: unknown, drop: (what: string) => void): TuningRecord {
  const {profile, plans} = isObject(record) ? record : {};
  const sound: TuningRecord = {plans: {}};
  if (isObject(profile) && plausible(profile)) {
    sound.profile = plausible(profile);
  } else if (profile !== undefined) {
    drop('profile');
  }
  if (!isObject(plans)) {
    drop('plans');
    return sound;
  }
  for (const [key, tuned] of Object.entries(plans)) {
    const all: unknown[] = Array.isArray(tuned) ? tuned : [undefined];
    const usable = all.filter(isTunedPlan);
    if (usable.length < all.length) {
      drop(`plan for '${key}'`);
    }
    if (usable.length > 0) {
      sound.plans[key] = usable;
    }
  }
  return sound;
}

function isTunedPlan(tuned: unknown): tuned is TunedPlan {
  return isObject(tuned) && typeof tuned.plan === 'string' &&
    [tuned.rows, tuned.ms, tuned.defaultMs].every(value => Number.isFinite(value) && value as number > 0);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
