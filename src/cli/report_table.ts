/**
 * The report for people: a line per layer that has weights, totals, and what became of the files. The same facts for
 * programs are RunReport, as JSON.
 */
import type {LayerReport} from '../index.js';
import type {RunReport} from './run.js';

interface Column {
  title: string;
  cell(layer: LayerReport): string;
  alignRight?: boolean;
}

const COLUMNS: Column[] = [
  {title: 'layer', cell: ({name}) => name},
  {title: 'class', cell: ({className}) => className},
  {title: 'shape', cell: ({shape}) => shape ? shape.join('×') : ''},
  {title: 'pattern', cell: ({converted, pattern}) => converted ? pattern ?? '' : ''},
  {title: 'bytes before', cell: ({bytesBefore}) => thousands(bytesBefore), alignRight: true},
  {title: 'after', cell: ({bytesAfter}) => thousands(bytesAfter), alignRight: true},
  {title: 'kept energy', cell: ({keptEnergy}) => keptEnergy === undefined ? '' : percent(keptEnergy), alignRight: true},
  {title: '', cell: ({reason}) => reason ?? ''},
];

/** Several lines, ending in a newline. */
export function formatReport({layers, memory, disk, verification, backend, outDir}: RunReport): string {
  const withWeights = layers.filter(({bytesBefore}) => bytesBefore > 0);
  return [
    ...alignColumns(withWeights),
    '',
    `weights in memory   ${beforeAndAfter(memory.bytesBefore, memory.bytesAfter)}`,
    `weight files        ${beforeAndAfter(disk.weightsBefore, disk.weightsAfter)}` +
        (disk.optimizerBytesDropped > 0 ? `, ${thousands(disk.optimizerBytesDropped)} of it the optimizer's` : ''),
    `model.json          ${beforeAndAfter(disk.modelJsonBefore, disk.modelJsonAfter)}`,
    formatVerification(verification, backend),
    `written to ${outDir}`,
    '',
  ].join('\n');
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
  return `verified on ${backend}: what was written predicts what the converted model does, ` +
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
