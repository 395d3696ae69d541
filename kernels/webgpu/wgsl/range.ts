/** 0 … count-1: what shader generators loop over to write unrolled code. */
export function range(count: number): number[] {
  return Array.from({length: count}, (_, i) => i);
}
