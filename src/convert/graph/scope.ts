/**
 * The parts of a model whose node names stand for themselves: the graph, each library function, and the initializer.
 * Weights are shared by all of them: a Const node's data is the weight of its name.
 */
import {dataInputs, inputsOf, parseInput, type GraphDef, type InputName, type NodeDef} from './graph_def.js';

/** Ops that pass a tensor on unchanged. */
const PASSING = ['Identity', 'StopGradient', 'Snapshot'];
const FLOATS: unknown[] = ['DT_FLOAT', '1', 1];

export class Scope {
  private readonly byName = new Map<string, NodeDef>();
  private readonly readers = new Map<string, NodeDef[]>();

  /**
   * @param path '' for the graph, else a prefix of its nodes' paths.
   * @param pinned nodes that others name: outputs and inputs of signatures, returned values.
   * @param isRewritable whether products in it may be replaced.
   */
  constructor(
      readonly path: string, readonly nodes: readonly NodeDef[], private readonly pinned: ReadonlySet<string>,
      readonly isRewritable: boolean) {
    for (const node of nodes) {
      this.byName.set(node.name, node);
    }
    for (const node of nodes) {
      for (const name of new Set(inputsOf(node).map(input => input.node))) {
        addTo(this.readers, name, node);
      }
    }
  }

  node(name: string): NodeDef | undefined {
    return this.byName.get(name);
  }

  /** Nodes that read a node, control inputs included. */
  readersOf(name: string): readonly NodeDef[] {
    return this.readers.get(name) ?? [];
  }

  /** Whether a node must keep its name and output: it is named from outside, or an output as no node reads it. */
  isPinned(name: string): boolean {
    return this.pinned.has(name) || this.readersOf(name).length === 0;
  }

  /** The name of the Const node whose data an input is, directly or passed on; undefined if there is none. */
  constBehind(input: Pick<InputName, 'node' | 'output'>): string | undefined {
    let {node: name, output} = input;
    for (let hops = 0; hops < this.nodes.length && output === 0; ++hops) {
      const node = this.byName.get(name);
      if (node?.op === 'Const') {
        return name;
      }
      if (!node || !isPassing(node)) {
        return undefined;
      }
      ({node: name, output} = dataInputs(node)[0]);
    }
    return undefined;
  }

  /** How reports and options name a node. */
  pathOf({name}: NodeDef): string {
    return this.path === '' ? name : `${this.path}/${name}`;
  }
}

/** Whether a node passes its only data input on, and float32 stays float32. */
export function isPassing(node: NodeDef): boolean {
  const isFloat = (name: string) => FLOATS.includes(node.attr?.[name]?.type);
  return dataInputs(node).length === 1 &&
    (PASSING.includes(node.op) || (node.op === 'Cast' && isFloat('SrcT') && isFloat('DstT')));
}

/** Adds to the list of a key. */
export function addTo<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list) {
    list.push(value);
  } else {
    lists.set(key, [value]);
  }
}

/** What names nodes outside of the graph: the signatures of a model. */
export interface Signature {
  inputs?: Record<string, {name?: string}>;
  outputs?: Record<string, {name?: string}>;
}

/** The scopes of a model; the graph first. */
export function scopesOf(graph: GraphDef, signatures: readonly Signature[], initializer?: GraphDef): Scope[] {
  const named = new Set(signatures.flatMap(({inputs, outputs}) =>
    [...Object.values(inputs ?? {}), ...Object.values(outputs ?? {})].flatMap(({name}) =>
      typeof name === 'string' ? [parseInput(name).node] : [])));
  const scopes = [new Scope('', nodesOf(graph.node), named, true)];
  for (const {signature, nodeDef, ret} of listOf(graph.library?.function)) {
    const returned = new Set(Object.values(ret ?? {}).map(name => parseInput(name).node));
    scopes.push(new Scope(signature.name, nodesOf(nodeDef), returned, true));
  }
  if (initializer) {
    scopes.push(new Scope('initializer', nodesOf(initializer.node), new Set(), false));
  }
  return scopes;
}

function listOf<T>(list: readonly T[] | undefined): readonly T[] {
  return Array.isArray(list) ? list as readonly T[] : [];
}

function nodesOf(nodes: readonly NodeDef[] | undefined): readonly NodeDef[] {
  return listOf(nodes).filter(node => typeof node?.name === 'string' && typeof node.op === 'string');
}
