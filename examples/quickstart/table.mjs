/** A table for the terminal: columns as wide as they need to be, numbers to the right. */

/**
 * @param {string[]} titles
 * @param {string[][]} rows the first cell of each is a name, all others are numbers.
 */
export function formatTable(titles, rows) {
  const widths = titles.map((title, column) => Math.max(...[titles, ...rows].map(row => row[column].length)));
  const line = cells => cells
    .map((cell, column) => column === 0 ? cell.padEnd(widths[column]) : cell.padStart(widths[column]))
    .join('   ');
  return [line(titles), widths.map(width => '─'.repeat(width)).join('───'), ...rows.map(line)].join('\n');
}
