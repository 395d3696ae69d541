/**
 * Random numbers that can be had again: every test that wants randomness takes `mulberry32(seed)`, so a failure seen
 * once is seen again with `SEED=N npm test`. test/run.mjs draws one seed and hands it to every runner, Node and page
 * alike; a runner started by hand without one draws its own and says so.
 */

interface SeedSources {
  process?: {env: Record<string, string | undefined>};
  __karma__?: {config: {seed?: number}};
}

function chooseSeed(): number {
  const {process, __karma__: karma} = globalThis as SeedSources;
  const given = karma?.config.seed ?? process?.env.SEED;
  if (given === undefined || given === '') {
    const drawn = Math.floor(Math.random() * 2 ** 31);
    console.log(`seed ${drawn}`);
    return drawn;
  }
  const seed = Number(given);
  if (!Number.isInteger(seed)) {
    throw new Error(`SEED is '${given}'; it must be a whole number`);
  }
  return seed;
}

/** The seed of this run. */
export const seed: number = chooseSeed();

/** A small, good enough generator (mulberry32): each call of the returned function gives a number in [0, 1). */
export function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
