/**
 * The plan that runs a product until its best plan is compiled. A large register tile, unrolled, takes a driver 150 to
 * 500 ms to compile, a small one in a loop 60 to 100 ms. So the first predict need not wait for the best programs: they
 * are compiled meanwhile, and take over.
 */
import {programCount, type Plan} from './plan.js';

/** Work of compiling a program with no accumulators, where one vec4 of accumulators is 1: estimated on one GPU. */
const FIXED_WORK = 10;
/** The smallest advantage that is worth a second compilation. */
const MIN_ADVANTAGE = 1.25;
/** Code of groups narrower than a vec4, relative to others: each column reads a row of x of its own. */
const NARROW_GROUPS = 4;

/**
 * The plan of these that compiles fastest, made compact.
 * @param candidates of equal ones the first is returned.
 * @returns undefined if none compiles much faster than `best`.
 */
export function interimPlan(best: Plan, candidates: readonly Plan[], rows: number): Plan | undefined {
  const work = compileWork(best, rows);
  let interim: Plan | undefined;
  let least = work / MIN_ADVANTAGE;
  for (const candidate of candidates) {
    const plan = compacted(candidate);
    const its = compileWork(plan, rows);
    if (its < least) {
      [interim, least] = [plan, its];
    }
  }
  return interim;
}

function compacted(plan: Plan): Plan {
  return plan.kind === 'gemv' ? {...plan, config: {...plan.config, compact: true}} :
    {...plan, config: {...plan.config, compact: true}};
}

/** How long the programs of a plan take to compile, relative to others. */
function compileWork(plan: Plan, rows: number): number {
  const {config} = plan;
  const vecs = plan.kind === 'gemv' ?
    plan.config.rows * (plan.config.pattern.vectorLength < 4 ? NARROW_GROUPS : 1) :
    (plan.config.threadRows * plan.config.threadCols) / 4;
  return FIXED_WORK * programCount(plan, rows) + (config.compact ? vecs : 2 * vecs);
}
