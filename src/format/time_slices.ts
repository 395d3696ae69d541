/**
 * Long work on typed arrays, cut into time slices. Compressing a large matrix takes up to a second, and it runs on a
 * page's main thread, where users notice more than a frame or two. So the work is written once, as a generator that
 * yields now and then. This file runs such a generator: in time slices, or in one go.
 */

/** Duration of a time slice, in ms. */
const SLICE_MS = 50;

/** Work that yields how much it has done since it last yielded (in units of its own) and returns a result. */
export type Work<T> = Generator<number, T, void>;

/**
 * Runs work in slices of about 50 ms; the event loop runs a macrotask between two of them.
 * @param total the sum of everything the work will yield.
 * @param onProgress called after every slice with the fraction done, which never falls, and at the end with 1.
 * @throws what the work or onProgress throws, as a rejection.
 */
export async function inTimeSlices<T>(
    work: Work<T>, total: number, onProgress?: (fraction: number) => void): Promise<T> {
  let done = 0;
  let sliceEnds = performance.now() + SLICE_MS;
  for (let next = work.next(); ; next = work.next()) {
    if (next.done) {
      onProgress?.(1);
      return next.value;
    }
    done += next.value;
    if (performance.now() >= sliceEnds) {
      onProgress?.(done / total);
      await new Promise(resolve => setTimeout(resolve, 0));
      sliceEnds = performance.now() + SLICE_MS;
    }
  }
}

/** Runs work in one go. */
export function inOneGo<T>(work: Work<T>): T {
  let next = work.next();
  while (!next.done) {
    next = work.next();
  }
  return next.value;
}
