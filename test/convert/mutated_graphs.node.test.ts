/**
 * Conversion of graphs that were damaged at random: missing nodes and fields, cycles, wrong types, hostile names. It
 * ends, and either converts or throws an Error that is not a mistake of the code.
 */
import {expect} from 'chai';
import {convertGraph, findInGraph} from '../../src/convert/graph/convert_graph.js';
import {graphFiles, graphRequest} from '../../src/convert/graph_model.js';
import {bytesOf} from '../../src/format/stored_weights.js';
import {attr, constant, input, type Node} from '../support/graphs.js';
import {mulberry32, seed} from '../support/random.js';
import {between, pick, randomValues, type Random} from '../support/reference.js';

const CASES = Number(process.env.NM_SPARSE_CASES ?? 400);
const NAMES = ['x', 'W', 'V', 'b', 'p', 'q', 'r', 'y', '__proto__', 'constructor', '', '^W', 'W:1', ':0'];
const OPS = ['MatMul', 'Conv2D', 'Einsum', 'Identity', 'Const', 'AddV2', 'Relu', 'Cast', 'toString', ''];

function freshNodes(): Node[] {
  const ones = attr.counts(1, 1, 1, 1);
  return [
    input('x', [1, 4, 4, 16]), constant('W'), constant('V'), constant('b'),
    {name: 'p', op: '_FusedConv2D', input: ['x', 'W', 'b'], attr: {
      strides: ones, dilations: ones, padding: attr.text('SAME'), fused_ops: attr.texts('BiasAdd'),
      num_args: attr.count(1),
    }},
    {name: 'q', op: 'Relu', input: ['p']}, {name: 'i', op: 'Identity', input: ['V']},
    {name: 'r', op: 'Einsum', input: ['q', 'i'], attr: {equation: attr.text('abcd,de->abce')}},
    {name: 'y', op: 'AddV2', input: ['r', 'b']},
  ];
}

/** Spoils one thing. */
function mutate(nodes: Node[], random: Random): void {
  const node = pick(random, nodes) as unknown as Record<string, unknown>;
  const junk = () => pick<unknown>(
    random, [undefined, null, 0, -1, 1e30, '', 'x', [], {}, [[]], {s: 5}, {list: 3}, true]);
  const inputs = node.input as string[] | undefined;
  const attrs = node.attr as Record<string, unknown> | undefined;
  const ways: Array<() => void> = [
    () => nodes.splice(between(random, 0, nodes.length - 1), 1),
    () => nodes.push({...pick(random, nodes)}),
    () => node.op = pick(random, OPS),
    () => node.name = pick(random, NAMES),
    () => node.input = [pick(random, NAMES), pick(random, NAMES)],
    () => inputs && Array.isArray(inputs) && inputs.push(pick(random, NAMES)),
    () => node[pick(random, ['name', 'op', 'input', 'attr'])] = junk(),
    () => attrs && typeof attrs === 'object' && (attrs[pick(random, Object.keys(attrs)) ?? 'T'] = junk()),
  ];
  pick(random, ways)();
}

describe('damaged graphs', function() {
  this.timeout(600_000);

  it(`are converted or refused (${CASES} of them)`, async () => {
    const random = mulberry32(seed);
    const weight = (name: string, shape: number[]) => ({
      entry: {name, shape, dtype: 'float32' as const},
      bytes: bytesOf(randomValues(shape.reduce((a, b) => a * b, 1), random)),
    });
    const weights = [weight('W', [3, 3, 16, 32]), weight('V', [32, 32]), weight('b', [32])];
    for (let i = 0; i < CASES; ++i) {
      const nodes = freshNodes();
      for (let left = between(random, 1, 4); left > 0 && nodes.length > 0; --left) {
        mutate(nodes, random);
      }
      const text = JSON.stringify(nodes);
      const files = graphFiles({modelTopology: {node: JSON.parse(text) as Node[]}, signature: {}}, weights);
      let refusal: unknown;
      try {
        const found = findInGraph(files);
        const {topology, report} = await convertGraph(
          files, found, graphRequest(found, {pattern: '2:4v4', include: '*'}));
        expect(topology.node.length).to.be.greaterThan(0);
        expect(report.bytesAfter).to.be.at.most(report.bytesBefore);
      } catch (error) {
        refusal = error;
      }
      const isMistake = refusal instanceof TypeError || refusal instanceof RangeError;
      expect(isMistake || (refusal as Error)?.name === 'AssertionError', `${String((refusal as Error)?.stack)} ${text}`)
        .to.equal(false);
    }
  });
});
