/**
 * Assigns buffers with known lifetimes to as few and as small blocks of memory as possible: the method of TensorFlow
 * Lite's "greedy by size" planner for shared objects (arXiv 2001.03288).
 */

/** A buffer, and the first and last dispatch that use it. */
export interface Lifetime {
  bytes: number;
  first: number;
  /** At least `first`; Infinity if the buffer is needed after all dispatches. */
  last: number;
}

export interface MemoryPlan {
  /** Bytes of each block. */
  blocks: number[];
  /** For each buffer, the index of its block. */
  blockOf: number[];
}

/**
 * Assigns the largest buffers first. A buffer goes to the smallest block that is free during its lifetime, and to a new
 * block if none is. Two lifetimes that share a dispatch overlap: a dispatch must not read the block that it writes.
 */
export function planMemory(lifetimes: readonly Lifetime[]): MemoryPlan {
  const blocks: Array<{bytes: number; users: Lifetime[]}> = [];
  const blockOf = new Array<number>(lifetimes.length);
  const largestFirst = lifetimes.map((_, i) => i).sort((a, b) => lifetimes[b].bytes - lifetimes[a].bytes);
  for (const i of largestFirst) {
    const buffer = lifetimes[i];
    let best = -1;
    blocks.forEach(({bytes, users}, block) => {
      if ((best < 0 || bytes < blocks[best].bytes) && users.every(user => !overlaps(user, buffer))) {
        best = block;
      }
    });
    if (best < 0) {
      best = blocks.push({bytes: buffer.bytes, users: []}) - 1;
    }
    blocks[best].users.push(buffer);
    blockOf[i] = best;
  }
  return {blocks: blocks.map(({bytes}) => bytes), blockOf};
}

function overlaps(a: Lifetime, b: Lifetime): boolean {
  return a.first <= b.last && b.first <= a.last;
}
