/**
 * Argument checks of the public functions. An error names the argument, shows its value and says what is accepted. The
 * checks are in one place so that the wording is the same everywhere.
 */

/** The longest string that a message repeats whole. */
const MAX_SHOWN = 60;

/** Thrown where weights cannot be stored as asked: a NaN, an infinity, or a value too large for float16. */
export class UnsupportedWeightsError extends Error {
  override readonly name = 'UnsupportedWeightsError';
}

/** Thrown where a mask keeps more rows than the pattern, or other rows in one column of a group than in another. */
export class UnfitMaskError extends Error {
  override readonly name = 'UnfitMaskError';

  /** @param problem what is wrong with the mask: the message without the name of the function. */
  constructor(readonly problem: string) {
    super(`compress: ${problem}`);
  }
}

/** A value as an error message shows it: `float32 [2,3]`, `'text'`, `a Promise (forgotten await?)`. */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') {
    const shown = value.length > MAX_SHOWN ? `${value.slice(0, MAX_SHOWN)}…` : value;
    return `'${shown.replace(/\p{Cc}/gu, char => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)}'`;
  }
  if (typeof value === 'bigint') {
    return `${value}n`;
  }
  if (typeof value === 'function') {
    return 'a function (forgotten parentheses?)';
  }
  if (value === null || typeof value !== 'object') {
    return String(value);
  }
  return describeObject(value);
}

interface Described {
  then?: unknown;
  dtype?: unknown;
  shape?: unknown;
  pattern?: unknown;
  isDisposed?: unknown;
  name?: unknown;
  getClassName?: unknown;
}

function describeObject(value: object): string {
  const {then, dtype, shape, pattern, isDisposed, name, getClassName} = value as Described;
  if (typeof then === 'function') {
    return 'a Promise (forgotten await?)';
  }
  if (typeof dtype === 'string' && Array.isArray(shape)) {
    return `${pattern ? 'a compressed matrix ' : ''}${dtype} [${shape}]${isDisposed === true ? ', disposed' : ''}`;
  }
  if (typeof getClassName === 'function') { // a layer or a model of tfjs
    return `${String(getClassName.call(value))} ${describeValue(name)}`;
  }
  if (Array.isArray(value)) {
    return `an array of ${value.length}`;
  }
  const keys = Object.keys(value).slice(0, 4).join(', ');
  return ArrayBuffer.isView(value) ? `a ${value.constructor.name}` : `an object with ${keys || 'no keys'}`;
}

/** Whether a value is an object literal, and not a Promise, a Map, a tensor or another object with ways of its own. */
export function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (value === null || typeof value !== 'object') {
    return false;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/**
 * Refuses options that are not an object, and unknown option names: a misspelt option would otherwise be ignored.
 * @param example of options, for the message.
 * @param argument what the caller names the object, if it is not its options.
 * @throws Error naming the option and the names there are.
 */
export function checkOptionNames(
    caller: string, options: unknown, names: readonly string[], example: string, argument?: string): void {
  if (!isPlainObject(options)) {
    throw new Error(
      `${caller}: ${argument ?? 'options'} is ${describeValue(options)}; give an object such as ${example}.`);
  }
  const unknown = Object.keys(options).find(name => !names.includes(name));
  if (unknown !== undefined) {
    const [what, known] = [describeValue(unknown), names.join(', ')];
    throw new Error(`${caller}: ` + (argument ? `${argument} has no field ${what}; its fields are ${known}.` :
      `there is no option ${what}; the options are ${known}.`));
  }
}

/** @throws Error if it is not a whole number of at least 1. */
export function checkCount(caller: string, name: string, count: unknown): void {
  if (!Number.isInteger(count) || count as number < 1) {
    throw new Error(`${caller}: ${name} is ${describeValue(count)}; give a whole number of at least 1.`);
  }
}

/** @throws Error if it is neither true nor false. */
export function checkBoolean(caller: string, name: string, value: unknown): void {
  if (typeof value !== 'boolean') {
    throw new Error(`${caller}: ${name} is ${describeValue(value)}; give true or false.`);
  }
}

/** @throws Error if it is given and not a function. */
export function checkCallback(caller: string, name: string, callback: unknown): void {
  if (callback !== undefined && typeof callback !== 'function') {
    throw new Error(`${caller}: ${name} is ${describeValue(callback)}; give a function.`);
  }
}
