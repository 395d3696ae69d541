/**
 * The parts of a model whose node names stand for themselves: the graph, each library function, and the initializer.
 * Weights are shared by all of them: a Const node's data is the weight of its name.
 */
import {inputsOf, parseInput, type GraphDef, type NodeDef} from './graph_def.js';

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

  /** How reports and options name a node. */
  pathOf({name}: NodeDef): string {
    return this.path === '' ? name : `${this.path}/${name}`;
  }
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
