// What a job says is shown as text. Characters that would reorder, hide or overwrite other text are replaced.

// C0 and C1 controls but tab and line feed, bidi controls, and marks without width. ZWJ and ZWNJ stay: scripts and
// emoji need them.
const UNSAFE =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;

const picture = (character) => {
  const code = character.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return code === 0x7f ? "\u2421" : "\ufffd";
};

export const clean = (text) => text.replace(UNSAFE, picture);

/** A word as a shell takes it. */
export const shellWord = (text) =>
  /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replace(/'/g, "'\\''")}'`;

/** A value as the search language takes it. */
export const searchWord = (text) =>
  /^[^\s",:<>\\]+$/.test(text) ? text : `"${text.replace(/[\\"]/g, "\\$&")}"`;

/** Splits a command as it is typed into its arguments; quotes group, a backslash escapes. */
export function splitCommand(text) {
  const args = [];
  let word = null;
  let quote = "";
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quote === "'") {
      if (c === "'") quote = "";
      else word += c;
    } else if (c === "\\" && i + 1 < text.length && (!quote || '"\\$`'.includes(text[i + 1]))) {
      word = (word ?? "") + text[++i];
    } else if (quote) {
      if (c === '"') quote = "";
      else word += c;
    } else if (c === "'" || c === '"') {
      quote = c;
      word ??= "";
    } else if (/\s/.test(c)) {
      if (word !== null) args.push(word);
      word = null;
    } else {
      word = (word ?? "") + c;
    }
  }
  if (quote) throw new Error(`a ${quote} is not closed`);
  if (word !== null) args.push(word);
  return args;
}
