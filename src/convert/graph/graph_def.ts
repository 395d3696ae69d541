/**
 * The topology of a graph model: TensorFlow's GraphDef as JSON, as tensorflowjs_converter writes it. Read here without
 * trust: fields may be missing, strings may be base64 or lists of codes, and numbers may be strings.
 */

/** An attribute of a node: exactly one field is set. */
export interface AttrValue {
  s?: unknown;
  i?: unknown;
  f?: unknown;
  b?: boolean;
  type?: unknown;
  shape?: unknown;
  tensor?: unknown;
  list?: {s?: unknown[]; i?: unknown[]; f?: unknown[]; b?: unknown[]; type?: unknown[]; shape?: unknown[]};
  [other: string]: unknown;
}

export interface NodeDef {
  name: string;
  op: string;
  input?: string[];
  attr?: Record<string, AttrValue>;
}

export interface FunctionDef {
  signature: {name: string; inputArg?: Array<{name: string}>; outputArg?: Array<{name: string}>};
  nodeDef?: NodeDef[];
  ret?: Record<string, string>;
}

export interface GraphDef {
  node: NodeDef[];
  library?: {function?: FunctionDef[]};
  [other: string]: unknown;
}

/** A reference to an output of a node: 'name', 'name:1', 'name:output:0' in functions, '^name' for control inputs. */
export interface InputName {
  /** As it is written. */
  text: string;
  node: string;
  /** 0 for the first output. */
  output: number;
  isControl: boolean;
}

export function parseInput(input: string): InputName {
  const isControl = input.startsWith('^');
  const parts = (isControl ? input.slice(1) : input).split(':');
  return {text: input, node: parts[0], output: parts.length === 1 ? 0 : Number(parts[parts.length - 1]), isControl};
}

/** The data inputs of a node, without control inputs. */
export function dataInputs(node: NodeDef): InputName[] {
  return inputsOf(node).filter(({isControl}) => !isControl);
}

/** All inputs of a node. */
export function inputsOf({input}: NodeDef): InputName[] {
  return Array.isArray(input) ? input.filter(each => typeof each === 'string').map(parseInput) : [];
}

/** A text attribute; '' if there is none. */
export function textAttr({attr}: NodeDef, name: string): string {
  return decodeText(attr?.[name]?.s);
}

/** A list of texts; empty if there is none. */
export function textsAttr({attr}: NodeDef, name: string): string[] {
  return listOf(attr?.[name]?.list?.s).map(decodeText);
}

/** A list of numbers; empty if there is none. */
export function numbersAttr({attr}: NodeDef, name: string): number[] {
  return listOf(attr?.[name]?.list?.i).map(Number);
}

export function numberAttr({attr}: NodeDef, name: string, otherwise: number): number {
  const {i, f} = attr?.[name] ?? {};
  return i === undefined && f === undefined ? otherwise : Number(i ?? f);
}

export function boolAttr({attr}: NodeDef, ...names: string[]): boolean {
  return names.some(name => attr?.[name]?.b === true);
}

function listOf(list: unknown): unknown[] {
  return Array.isArray(list) ? list : [];
}

/** tfjs takes base64, and lists of character codes. The texts that are read here are ASCII. */
function decodeText(text: unknown): string {
  if (Array.isArray(text)) {
    return String.fromCharCode(...text.map(Number));
  }
  if (typeof text !== 'string') {
    return '';
  }
  try {
    return atob(text);
  } catch {
    return '';
  }
}

/** Attributes as they are written. */
export const attrs = {
  text: (value: string): AttrValue => ({s: btoa(value)}),
  number: (value: number): AttrValue => ({f: value}),
  count: (value: number): AttrValue => ({i: value}),
  flag: (value: boolean): AttrValue => ({b: value}),
  counts: (values: readonly number[]): AttrValue => ({list: {i: [...values]}}),
  dtype: (value: 'float32' | 'int32'): AttrValue => ({type: value === 'float32' ? 'DT_FLOAT' : 'DT_INT32'}),
};

/** A node whose data is the weight of the same name in the manifest. */
export function constNode(
    name: string, {dtype, shape}: {dtype: 'float32' | 'int32'; shape: readonly number[]}, input?: string[]): NodeDef {
  const {type} = attrs.dtype(dtype);
  return {
    name, op: 'Const', ...(input && input.length > 0 ? {input} : {}),
    attr: {
      dtype: {type},
      value: {tensor: {dtype: type, tensorShape: {dim: shape.map(size => ({size: String(size)}))}}},
    },
  };
}
