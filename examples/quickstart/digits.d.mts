/** The types of digits.mjs, for tests. */
export interface Digits {
  pixels: Float32Array;
  labels: Int32Array;
}
export const SIDE: number;
export const PIXELS: number;
export function decodeDigits(bytes: Uint8Array): Digits;
export function splitDigits(digits: Digits, count: number, seed?: number): [Digits, Digits];
