/**
 * The report for people: what was converted, in one line; layers that could not be, with the reason; and what became of
 * the files. --verbose adds a line per layer that has weights. The same facts for programs are RunReport, as JSON.
 */
import type {LayerReport} from '../index.js';
import {printable} from './printable.js';
import type {RunReport} from './prune_model_folder.js';

interface Column {
  title: string;
  cell(layer: LayerReport): string;
  alignRight?: boolean;
}

/** Characters of a name that are shown. */
const MOST_SHOWN = 60;

const COLUMNS: Column[] = [
  {title: 'layer', cell: ({name}) => printable(name, MOST_SHOWN)},
  {title: 'class', cell: ({className}) => printable(className, MOST_SHOWN)},
  {title: 'shape', cell: ({shape}) => shape ? shape.join('×') : ''},
  {title: 'pattern', cell: ({converted, pattern}) => converted ? pattern ?? '' : ''},
  {title: 'bytes before', cell: ({bytesBefore}) => thousands(bytesBefore), alignRight: true},
  {title: 'after', cell: ({bytesAfter}) => thousands(bytesAfter), alignRight: true},
  {title: 'kept energy', cell: ({keptEnergy}) => keptEnergy === undefined ? '' : percent(keptEnergy), alignRight: true},
  {title: '', cell: ({reason}) => printable(reason ?? '')},
];

/** Several lines, ending in a newline. */
export function formatReport({layers, memory, disk, verification, backend}: RunReport, verbose: boolean): string {
  const withWeights = layers.filter(({bytesBefore}) => bytesBefore > 0);
  return [
    ...(verbose ? [...alignColumns(withWeights), ''] : notConverted(withWeights)),
    summary(withWeights),
    `weights in memory   ${beforeAndAfter(memory.bytesBefore, memory.bytesAfter)}`,
    `weight files        ${beforeAndAfter(disk.weightsBefore, disk.weightsAfter)}` +
        (disk.optimizerBytesDropped > 0 ? `, ${thousands(disk.optimizerBytesDropped)} of it the optimizer's` : ''),
    `model.json          ${beforeAndAfter(disk.modelJsonBefore, disk.modelJsonAfter)}`,
    formatVerification(verification, backend),
    '',
  ].join('\n');
}

/** A line for each dense layer that stayed as it was. Layers of other kinds are for --verbose. */
function notConverted(layers: LayerReport[]): string[] {
  return layers.filter(({converted, shape}) => !converted && shape)
    .map(({name, reason}) => `${printable(name, MOST_SHOWN)} stays as it is: ${printable(reason ?? '')}`);
}

function summary(layers: LayerReport[]): string {
  const converted = layers.filter(layer => layer.converted);
  const share = (count: (layer: LayerReport) => number): string => {
    const total = (of: LayerReport[]) => of.reduce((sum, layer) => sum + count(layer), 0);
    return percent(total(converted) / total(layers));
  };
  return `converted ${converted.length} of ${layers.length} layers with weights: ` +
      `${share(({bytesBefore}) => bytesBefore)} of the parameters, ` +
      `${share(({multiplyAdds}) => multiplyAdds)} of the multiply-adds`;
}

/** A headline and a line per layer, in columns of equal width. */
function alignColumns(layers: LayerReport[]): string[] {
  const rows = [COLUMNS.map(({title}) => title), ...layers.map(layer => COLUMNS.map(({cell}) => cell(layer)))];
  const widths = COLUMNS.map((_, column) => Math.max(...rows.map(row => row[column].length)));
  return rows.map(row => row
    .map((cell, column) => COLUMNS[column].alignRight ? cell.padStart(widths[column]) : cell.padEnd(widths[column]))
    .join('  ').trimEnd());
}

function formatVerification(verification: RunReport['verification'], backend: string): string {
  if (!verification.verified) {
    return `not verified: ${verification.reason}`;
  }
  const {maxRelativeDifference: difference} = verification;
  return `verified on ${backend}: the files to write predict what the converted model does, ` +
      (difference === 0 ? 'exactly' : `to within ${difference.toExponential(1)} of its largest output`);
}

function beforeAndAfter(before: number, after: number): string {
  return `${thousands(before)} → ${thousands(after)} bytes` + (before > 0 ? ` (${percent(after / before)})` : '');
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

function thousands(bytes: number): string {
  return bytes.toLocaleString('en-US');
}
