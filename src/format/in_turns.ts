/**
 * Long work on typed arrays, done in turns with the event loop. Compressing a large matrix takes the better part of a
 * second, and it runs on a page's main thread, where more than a frame or two in one go is felt. So the work is written
 * once as a generator that yields now and then; this file runs such a generator, either politely or in one go.
 */

/** How long one turn may last, in milliseconds. */
const TURN_MS = 50;

/** Work that yields how much it has done since it last yielded (in units of its own choosing) and returns a result. */
export type Work<T> = Generator<number, T, void>;

/**
 * Runs work in turns of about 50 ms, letting the event loop have a macro-task in between.
 * @param total the sum of everything the work will yield.
 * @param onProgress called after every turn with the fraction done, which never falls, and at the end with 1.
 * @throws what the work or onProgress throws, as a rejection.
 */
export async function inTurns<T>(work: Work<T>, total: number, onProgress?: (fraction: number) => void): Promise<T> {
  let done = 0;
  let turnEnds = performance.now() + TURN_MS;
  for (let step = work.next(); ; step = work.next()) {
    if (step.done) {
      onProgress?.(1);
      return step.value;
    }
    done += step.value;
    if (performance.now() >= turnEnds) {
      onProgress?.(done / total);
      await new Promise(resolve => setTimeout(resolve, 0));
      turnEnds = performance.now() + TURN_MS;
    }
  }
}

/** Runs work in one go. */
export function inOneGo<T>(work: Work<T>): T {
  let step = work.next();
  while (!step.done) {
    step = work.next();
  }
  return step.value;
}
