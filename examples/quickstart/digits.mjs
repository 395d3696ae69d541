/**
 * The digits: handwritten ones, 8×8 pixels each, as data/README.md tells. Decoded here for Node and for a page alike;
 * where the bytes come from, a file or a fetch, is the caller's business.
 */

export const SIDE = 8;
export const PIXELS = SIDE * SIDE;

const LARGEST_PIXEL = 16;
const PIXEL_BITS = 5;
const IMAGE_BYTES = PIXELS * PIXEL_BITS / 8 + 1; // and the label

/**
 * Decodes data/digits.bin.
 * @param {Uint8Array} bytes the file.
 * @returns {{pixels: Float32Array, labels: Int32Array}} 64 pixels for each image, 0 … 1, and its label, 0 … 9.
 */
export function decodeDigits(bytes) {
  const count = bytes.length / IMAGE_BYTES;
  if (!Number.isInteger(count)) {
    throw new Error(`digits: ${bytes.length} bytes are no whole number of images, ${IMAGE_BYTES} bytes each`);
  }
  const pixels = new Float32Array(count * PIXELS);
  const labels = new Int32Array(count);
  for (let image = 0; image < count; ++image) {
    const start = image * IMAGE_BYTES;
    for (let i = 0; i < PIXELS; ++i) {
      const bit = i * PIXEL_BITS;
      const at = start + (bit >> 3);
      const twoBytes = bytes[at] | (bytes[at + 1] << 8); // a pixel may lie across two
      pixels[image * PIXELS + i] = ((twoBytes >> (bit & 7)) & 31) / LARGEST_PIXEL;
    }
    labels[image] = bytes[start + IMAGE_BYTES - 1];
  }
  return {pixels, labels};
}

/**
 * Parts the digits by lot, the same way every time: neighbours in the file were written by one hand.
 * @returns two sets of digits, the first of `count` images.
 */
export function splitDigits({pixels, labels}, count, seed = 1) {
  const random = seededRandom(seed);
  const order = Array.from(labels, (_, i) => i);
  for (let i = order.length - 1; i > 0; --i) {
    const j = Math.floor(random() * (i + 1));
    [order[i], order[j]] = [order[j], order[i]];
  }
  const take = images => ({
    pixels: Float32Array.from(images.flatMap(i => [...pixels.subarray(i * PIXELS, (i + 1) * PIXELS)])),
    labels: Int32Array.from(images, i => labels[i]),
  });
  return [take(order.slice(0, count)), take(order.slice(count))];
}

/** mulberry32: numbers 0 … 1. Math.random cannot be seeded. */
function seededRandom(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
