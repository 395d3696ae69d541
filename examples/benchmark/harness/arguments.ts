/** Reads the benchmark's options from text: command-line arguments in Node, query parameters in a page. */
import {formatPattern, readPattern} from '../../../src/format/pattern.js';
import {ownSuite, type Point, type Suite} from './suites.js';

/** The matrices of a point are drawn by hashes of 30 bits (data.ts). */
const MAX_ELEMENTS = 2 ** 30;

/** @throws Error that names the option, its value and what is accepted. */
function refuse(option: string, value: string, expected: string): never {
  throw new Error(`bench: ${option} is '${value}'; expected ${expected}.`);
}

const items = (text: string) => text.split(',').map(item => item.trim());

/** Returns the whole number that `text` is. */
export function parseCount(option: string, text: string, least: number, most: number): number {
  const count = /^\d+$/.test(text) ? Number(text) : NaN;
  return count >= least && count <= most ? count : refuse(option, text, `a whole number from ${least} to ${most}`);
}

/** Returns the whole numbers of a list. */
export function parseCounts(option: string, text: string, least: number, most: number): number[] {
  return items(text).map(item => parseCount(option, item, least, most));
}

/** Returns the items of a list, each of them one of `accepted`. */
export function parseNames<Name extends string>(option: string, text: string, accepted: readonly Name[]): Name[] {
  return items(text).map(item =>
    accepted.find(name => name === item) ?? refuse(option, item, `names among ${accepted.join(', ')}`));
}

/** Returns the points of a list such as '64x1024x512,1x4096x4096'. */
export function parsePoints(text: string): Point[] {
  return items(text).map(item => {
    const [, rows, n, k] = (/^(\d+)\s*[x×]\s*(\d+)\s*[x×]\s*(\d+)$/.exec(item) ?? []).map(Number);
    const isPoint = Math.min(rows, n, k) >= 1 && Math.max(rows * k, n * k, rows * n) < MAX_ELEMENTS;
    return isPoint ? {rows, n, k} : refuse('points', item,
      'ROWSxNxK in whole numbers from 1, such as 64x1024x512, with fewer than 2^30 elements in each matrix');
  });
}

/** Returns the patterns of a list such as '8:32v32,2:4', each of them once. */
export function parsePatterns(text: string): string[] {
  const refusePattern = (problem: string): never => {
    throw new Error(`bench: patterns is '${text}': ${problem}`);
  };
  return [...new Set(items(text).map(item => formatPattern(readPattern(item, refusePattern))))];
}

/** Returns the suite that the options points and patterns describe; undefined if neither is given. */
export function ownProducts(points: string | undefined, patterns: string | undefined): Suite | undefined {
  if (points !== undefined) {
    return ownSuite(parsePoints(points), patterns === undefined ? undefined : parsePatterns(patterns));
  }
  return patterns === undefined ? undefined :
    refuse('patterns', patterns, 'together with points, such as 64x1024x512; a suite has its own patterns');
}
