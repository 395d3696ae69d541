/**
 * How kept values are stored: a table with one row per format. All code that depends on the format reads its row, so a
 * new format is a new row.
 */
import {describeValue} from '../util/options.js';
import {halfWordsPerRow, MAX_HALF, packHalves, unpackHalves} from './pack.js';

export interface StorageFormat {
  /** dtype of the tensor `values`, and its number of columns for a matrix of n columns. */
  tensorDtype: 'float32' | 'int32';
  columns(n: number): number;
  bytesPerValue: number;
  /** Whether `values` can be trained as they are. */
  trainable: boolean;
  /** Largest finite magnitude, and the smallest that rounds to infinity. */
  largest: number;
  overflow: number;
  /** [rows, n] row-major ↔ the elements of the tensor, [rows, columns(n)] row-major. */
  encode(values: Float32Array, rows: number, n: number): Float32Array | Int32Array;
  decode(stored: Float32Array | Int32Array, rows: number, n: number): Float32Array;
  wgsl: {
    /** Type that holds four neighbouring values as they are stored, and its zero. */
    stored: string;
    zero: string;
    /** Components of the binding `values` if n is a multiple of 4. */
    components: 2 | 4;
    /** Statements that return four values of kept row j from column 4·c4 on, as they are stored. */
    load: {aligned: string; unaligned: string};
    /** Expression of type vec4<f32> for `stored`. */
    unpack: string;
  };
}

const COLS = 'u32(uniforms.cols)';

const FORMATS = {
  float32: {
    tensorDtype: 'float32',
    columns: (n: number) => n,
    bytesPerValue: 4,
    trainable: true,
    largest: 3.4028234663852886e38,
    overflow: Infinity,
    encode: (values: Float32Array) => values,
    decode: (stored: Float32Array | Int32Array) => stored as Float32Array,
    wgsl: {
      stored: 'vec4<f32>',
      zero: 'vec4<f32>(0.0)',
      components: 4,
      load: {
        aligned: `return vec4<f32>(values[j * (${COLS} / 4u) + c4]);`,
        unaligned: `let at = j * ${COLS} + c4 * 4u;
      return vec4<f32>(f32(values[at]), f32(values[at + 1u]), f32(values[at + 2u]), f32(values[at + 3u]));`,
      },
      unpack: 'stored',
    },
  },
  float16: {
    tensorDtype: 'int32',
    columns: halfWordsPerRow,
    bytesPerValue: 2,
    trainable: false,
    largest: MAX_HALF,
    overflow: 65520, // MAX_HALF plus half a unit in the last place
    encode: packHalves,
    decode: (stored: Float32Array | Int32Array, rows: number, n: number) => unpackHalves(stored as Int32Array, rows, n),
    wgsl: {
      stored: 'vec2<u32>',
      zero: 'vec2<u32>(0u)',
      components: 2,
      load: {
        aligned: `return bitcast<vec2<u32>>(values[j * (${COLS} / 4u) + c4]);`,
        unaligned: `let at = j * ((${COLS} + 1u) / 2u) + c4 * 2u;
      return vec2<u32>(bitcast<u32>(values[at]), bitcast<u32>(values[at + 1u]));`,
      },
      unpack: 'vec4<f32>(unpack2x16float(stored.x), unpack2x16float(stored.y))',
    },
  },
} satisfies Record<string, StorageFormat>;

/** How the kept values are stored: 'float32', or 'float16' as two halves per int32 word. */
export type StorageDtype = keyof typeof FORMATS;

export const STORAGE: Readonly<Record<StorageDtype, StorageFormat>> = FORMATS;

const STORAGE_DTYPES = Object.keys(FORMATS) as StorageDtype[];

/** @throws Error if it is not the name of a storage format. */
export function checkDtype(caller: string, dtype: unknown, name = 'dtype'): void {
  if (!STORAGE_DTYPES.includes(dtype as StorageDtype)) {
    throw new Error(
      `${caller}: ${name} is ${describeValue(dtype)}; give ${STORAGE_DTYPES.map(describeValue).join(' or ')}.`);
  }
}
