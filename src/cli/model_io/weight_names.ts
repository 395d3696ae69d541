/**
 * Which stored weight belongs to a variable, as tfjs matches them (tfjs-layers 4.22, src/engine/container.ts,
 * loadWeights): by the same name; else by the name without its last but one part, where Keras puts a cell's own name.
 */
import type {StoredWeight} from '../../format/stored_weights.js';

/** Finds weights by the names of variables. */
export function byVariableName(weights: readonly StoredWeight[]): (name: string) => StoredWeight | undefined {
  const exact = new Map(weights.map(weight => [weight.entry.name, weight]));
  const shortened = new Map(weights.map(weight => {
    const parts = weight.entry.name.split('/');
    return [[...parts.slice(0, -2), ...parts.slice(-1)].join('/'), weight];
  }));
  return name => exact.get(name) ?? shortened.get(name);
}
