/**
 * Text from files and from the command line, made safe to print. A layer's name can hold terminal escapes, which would
 * recolour, move or overwrite what a terminal shows, and it can be megabytes long.
 */

/** Control characters, line and paragraph separators, and format characters, which can reverse the text's direction. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

/** Characters of a text from outside that are shown; the rest is left out. */
const MOST_SHOWN = 200;

/** The text on one line, with escapes such as \u{1b} for what is not printable, and shortened to `most` characters. */
export function printable(text: string, most = MOST_SHOWN): string {
  return escapeControls(text.length > most ? `${text.slice(0, most)}… (${text.length} characters)` : text);
}

/** A message of several lines, whatever it quotes: each line is made printable, and none is longer than `most`. */
export function printableLines(message: string, most = 2000): string {
  return message.split('\n').map(line => printable(line, most)).join('\n');
}

function escapeControls(text: string): string {
  return text.replace(UNPRINTABLE, character => `\\u{${character.codePointAt(0)!.toString(16)}}`);
}
