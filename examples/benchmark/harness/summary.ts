/**
 * What a run comes to: for each kernel the geometric means of its ratios over the points, as ratios are averaged, and
 * the points where users would lose by it.
 */
import type {Row} from './run.js';

export interface Mean {
  suite: string;
  kernel: string;
  dtype: string;
  points: number;
  overMatMul: number | null;
  overDense: number | null;
  /** Of the time of the plan chosen over the best one's: the mean, and the largest. */
  choiceOverBest: number | null;
  worstChoice: number | null;
}

export function meansOf(rows: Row[]): Mean[] {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const key = `${row.suite} ${row.kernel} ${row.dtype}`;
    groups.set(key, [...groups.get(key) ?? [], row]);
  }
  return [...groups.values()].map(group => ({
    suite: group[0].suite,
    kernel: group[0].kernel,
    dtype: group[0].dtype,
    points: group.length,
    overMatMul: geometricMean(group.map(({overMatMul}) => overMatMul)),
    overDense: geometricMean(group.map(({overDense}) => overDense)),
    choiceOverBest: geometricMean(group.map(({choiceOverBest}) => choiceOverBest)),
    worstChoice: group.reduce<number | null>(
      (worst, {choiceOverBest: choice}) => choice !== null && choice > (worst ?? 0) ? choice : worst, null),
  }));
}

export function slowerThanMatMul(rows: Row[]): Row[] {
  return rows.filter(({overMatMul}) => overMatMul !== null && overMatMul < 1);
}

/** Of the values there are. */
export function geometricMean(values: (number | null)[]): number | null {
  const known = values.filter(value => value !== null);
  return known.length === 0 ? null : Math.exp(known.reduce((sum, value) => sum + Math.log(value), 0) / known.length);
}
