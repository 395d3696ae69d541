export interface Verdict {
  name: string;
  passed: string[];
  skipped: string[];
  failures: string[];
}
export interface Result {
  title: string;
  state: 'passed' | 'failed' | 'skipped';
  error?: string;
}
export function repeatedTitles(titles: string[]): string[];
export function judge(run: {
  name: string; exit: number | string; declared: string[]; results: Result[]; complete: boolean;
}): Verdict;
export function sumUp(verdicts: Verdict[]): {lines: string[]; failed: number};
