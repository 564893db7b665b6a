// The search box. Its text is the whole filter, in the language that the command line and `top` have too.

import { html, useEffect, useId, useRef, useState } from "./html.js";
import * as api from "./api.js";
import { searchWord } from "./text.js";
import { Icon, STATES } from "./ui.js";

const WORDS = [
  ["state:", "failed, pending …"], ["kind:", "which handler"], ["queue:", ""], ["tenant:", ""], ["tag:", "env=prod"],
  ["error:", "words in its error"], ["id:", "5-9"], ["since:", "2h"], ["until:", "a time"], ["attempt>", "1"],
  ["took>", "30s"], ["waited>", "5m"], ["parent:", "a job"], ["schedule:", ""], ["sort:", "newest"],
];
const EXAMPLE = 'state:failed kind:resize error:"timed out" took>30s';
const SUGGESTED = ["kind", "queue", "tenant", "tag", "schedule"];

// A word with its quotes, as the language has them.
const TOKEN = /(?:[^\s"]|"(?:[^"\\]|\\.)*"?)+/g;

export const tokens = (text) => text.match(TOKEN) || [];

/** The value of a word, when it occurs. */
export const wordOf = (text, word) => tokens(text).find((token) => token.startsWith(`${word}:`))?.slice(word.length + 1);

/** The text with another value for a word; without the word where the value is empty. */
export function withWord(text, word, value) {
  const kept = tokens(text).filter((token) => !token.startsWith(`${word}:`));
  return (value ? [`${word}:${value}`, ...kept] : kept).join(" ");
}

async function suggestions(token) {
  const [, word, value] = /^(\w+):(.*)$/.exec(token) || [];
  if (word === "state") {
    const parts = value.split(",");
    const last = parts.pop();
    return STATES.filter((state) => state.startsWith(last)).map((state) => [`state:${[...parts, state].join(",")}`, ""]);
  }
  if (SUGGESTED.includes(word)) {
    const { values } = await api.get("/suggest", { field: word, prefix: value.replace(/^"|"$/g, "") });
    return values.slice(0, 12).map((one) => [`${word}:${searchWord(one)}`, ""]);
  }
  return token ? WORDS.filter(([name]) => name.startsWith(token)) : WORDS;
}

export function Search({ text, change, problem, setTyping }) {
  const [draft, setDraft] = useState(text);
  const [list, setList] = useState([]);
  const [chosen, setChosen] = useState(-1);
  const [open, setOpen] = useState(false);
  const input = useRef(null);
  const asked = useRef(0);
  const id = useId();
  useEffect(() => setDraft(text), [text]);

  const tokenAt = () => {
    const before = draftNow().slice(0, input.current.selectionStart);
    return /(?:[^\s"]|"[^"]*"?)*$/.exec(before)[0];
  };
  const draftNow = () => input.current.value;
  const suggest = async () => {
    const number = ++asked.current;
    try {
      const found = await suggestions(tokenAt());
      if (number !== asked.current) return;
      setList(found);
      setChosen(-1);
    } catch {
      setList([]);
    }
  };
  const take = ([value]) => {
    const at = input.current.selectionStart;
    const start = at - tokenAt().length;
    const whole = !/[:>]$/.test(value);
    const after = draftNow().slice(at).replace(/^\s+/, "");
    const taken = `${draftNow().slice(0, start)}${value}${whole ? " " : ""}${after}`;
    setDraft(taken);
    input.current.value = taken;
    input.current.focus();
    const caret = start + value.length + (whole ? 1 : 0);
    input.current.setSelectionRange(caret, caret);
    suggest();
  };
  const submit = () => {
    setOpen(false);
    setTyping?.(false);
    change(draftNow().trim());
  };
  const shown = open && list.length > 0;
  const onKeyDown = (event) => {
    const moves = { ArrowDown: 1, ArrowUp: -1 };
    if (event.key in moves) {
      event.preventDefault();
      if (!shown) return setOpen(true), suggest();
      const size = list.length + 1;
      setChosen((chosen + 1 + moves[event.key] + size) % size - 1);
    } else if ((event.key === "Enter" || (event.key === "Tab" && shown && chosen >= 0)) && !event.isComposing) {
      event.preventDefault();
      if (shown && chosen >= 0) take(list[chosen]);
      else submit();
    } else if (event.key === "Escape") {
      if (shown) event.stopPropagation();
      setOpen(false);
      if (!shown) {
        setDraft(text);
        input.current.blur();
      }
    }
    return undefined;
  };
  return html`<div class="search" role="search">
    <${Icon} name="search" />
    <input ref=${input} id="search" type="text" value=${draft} autocomplete="off" autocapitalize="off" spellcheck=${false}
      role="combobox" aria-label="Search jobs" aria-expanded=${String(shown)} aria-controls=${id} aria-autocomplete="list"
      aria-activedescendant=${shown && chosen >= 0 ? `${id}-${chosen}` : null} aria-invalid=${problem ? "true" : null}
      placeholder=${EXAMPLE}
      onInput=${(event) => { setDraft(event.target.value); setOpen(true); setTyping?.(true); suggest(); }}
      onFocus=${() => { setTyping?.(true); }}
      onBlur=${() => { setOpen(false); setTyping?.(false); }}
      onKeyDown=${onKeyDown} />
    ${draft && html`<button type="button" class="quiet" aria-label="Clear the search" onClick=${() => { setDraft(""); change(""); input.current.focus(); }}><${Icon} name="failed" /></button>`}
    <ul id=${id} role="listbox" aria-label="Suggestions" hidden=${!shown}>
      ${list.map((entry, index) => html`<li key=${entry[0]} id=${`${id}-${index}`} role="option" aria-selected=${String(index === chosen)}
        onMouseDown=${(event) => { event.preventDefault(); take(entry); }}><code>${entry[0]}</code> <span class="dim">${entry[1]}</span></li>`)}
    </ul>
  </div>`;
}
