// Output of commands: SGR colours become spans, every other escape sequence is dropped, a carriage return begins its line
// anew as on a terminal.

// CSI, OSC and other string sequences, and two-character escapes. A sequence that is cut off at the end is dropped too.
const SEQUENCE =
  /\u001b(?:\[([0-?]*)([ -/]*)([@-~])?|[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\|$)|[ -/]*[0-~]?)|\u009b([0-?]*)([ -/]*)([@-~])?/g;

const PLAIN = Object.freeze({ fg: null, bg: null, bold: false, dim: false, italic: false, underline: false, strike: false, inverse: false });

const FLAGS = { 1: ["bold", true], 2: ["dim", true], 3: ["italic", true], 4: ["underline", true], 7: ["inverse", true], 9: ["strike", true],
  23: ["italic", false], 24: ["underline", false], 27: ["inverse", false], 29: ["strike", false] };

const LEVELS = [0, 95, 135, 175, 215, 255];

function indexed(n) {
  if (n < 16) return n;
  if (n >= 232) {
    const gray = 8 + (n - 232) * 10;
    return `rgb(${gray},${gray},${gray})`;
  }
  n -= 16;
  return `rgb(${LEVELS[Math.floor(n / 36)]},${LEVELS[Math.floor(n / 6) % 6]},${LEVELS[n % 6]})`;
}

/** The colour that begins behind a 38 or 48, and how many numbers it takes. */
function extended(codes, at) {
  const byte = (n) => Math.min(255, Math.max(0, n || 0));
  if (codes[at] === 5) return [indexed(byte(codes[at + 1])), 2];
  if (codes[at] === 2) return [`rgb(${byte(codes[at + 1])},${byte(codes[at + 2])},${byte(codes[at + 3])})`, 4];
  return [null, 1];
}

function apply(style, parameters) {
  const codes = parameters.split(/[;:]/).map((code) => Number(code) || 0);
  let next = { ...style };
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) next = { ...PLAIN };
    else if (FLAGS[code]) next[FLAGS[code][0]] = FLAGS[code][1];
    else if (code === 22) next.bold = next.dim = false;
    else if (code >= 30 && code <= 37) next.fg = code - 30;
    else if (code >= 90 && code <= 97) next.fg = code - 82;
    else if (code === 39) next.fg = null;
    else if (code >= 40 && code <= 47) next.bg = code - 40;
    else if (code >= 100 && code <= 107) next.bg = code - 92;
    else if (code === 49) next.bg = null;
    else if (code === 38 || code === 48) {
      const [colour, taken] = extended(codes, i + 1);
      next[code === 38 ? "fg" : "bg"] = colour;
      i += taken;
    }
  }
  return next;
}

/** `{spans: [{text, style}], style}` of one line; `style` is how the next line of the stream begins. */
export function parseLine(line, style = PLAIN) {
  const spans = [];
  let at = 0;
  const push = (text) => text && spans.push({ text, style });
  for (const found of line.matchAll(SEQUENCE)) {
    push(line.slice(at, found.index));
    at = found.index + found[0].length;
    const [, parameters, between, final, parameters8, between8, final8] = found;
    const isSgr = (final === "m" && !between) || (final8 === "m" && !between8);
    if (isSgr && !/[<=>?]/.test(parameters ?? parameters8)) style = apply(style, parameters ?? parameters8);
  }
  push(line.slice(at));
  return { spans: afterReturn(spans), style };
}

/** What a terminal would show of a line with carriage returns: the text behind the last that has some. */
function afterReturn(spans) {
  const last = spans[spans.length - 1];
  if (last) last.text = last.text.replace(/\r+$/, "");
  for (let i = spans.length - 1; i >= 0; i--) {
    const at = spans[i].text.lastIndexOf("\r");
    if (at < 0) continue;
    return [{ ...spans[i], text: spans[i].text.slice(at + 1) }, ...spans.slice(i + 1)].filter(({ text }) => text);
  }
  return spans.filter(({ text }) => text);
}

/** The class names and, for colours beyond the sixteen, the CSS of a span. */
export function look({ fg, bg, bold, dim, italic, underline, strike, inverse }) {
  if (inverse) [fg, bg] = [bg ?? "inv", fg ?? "inv"];
  const named = (what, colour) => (typeof colour === "number" || colour === "inv" ? `${what}${colour}` : "");
  const names = [named("fg", fg), named("bg", bg), bold && "b", dim && "d", italic && "i", underline && "u", strike && "st"];
  const css = {};
  if (typeof fg === "string" && fg !== "inv") css.color = fg;
  if (typeof bg === "string" && bg !== "inv") css.backgroundColor = bg;
  return { class: names.filter(Boolean).join(" ") || null, style: Object.keys(css).length ? css : null };
}
