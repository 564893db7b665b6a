// Ctrl-K: go anywhere and do anything by typing a few letters.

import { html, shared, useEffect, useId, useRef, useShared, useState } from "./html.js";
import * as api from "./api.js";
import { go } from "./router.js";
import { searchWord } from "./text.js";
import { pauseQueue } from "./actions.js";
import { canWrite, features } from "./features.js";
import { newJob } from "./enqueue.js";
import { showKeys } from "./keys.js";
import { undoNewest } from "./undo.js";
import { Dialog } from "./ui.js";
import { nextTheme } from "./theme.js";

const open = shared(false);
export const showPalette = () => open.set(true);

const goTo = (...parts) => () => go(parts);

function commands(views, overview) {
  const list = views.map(([name, title]) => ({ title: `Go to ${title.toLowerCase()}`, run: goTo(name) }));
  if (canWrite()) {
    list.push({ title: "New job", run: newJob });
    if (!features.get().tenant) {
      const paused = Boolean(overview?.all_paused_at);
      list.push({ title: paused ? "Resume all queues" : "Pause all queues", run: () => pauseQueue(null, !paused) });
      for (const queue of overview?.queues || []) {
        list.push({ title: `${queue.paused ? "Resume" : "Pause"} queue ${queue.name}`, run: () => pauseQueue(queue.name, !queue.paused) });
      }
    }
    list.push({ title: "Undo the last change", run: undoNewest });
  }
  list.push({ title: "Failed jobs", run: () => go(["jobs"], { search: "state:failed" }) });
  list.push({ title: "Running jobs", run: () => go(["jobs"], { search: "state:running" }) });
  list.push({ title: "Light, dark or as the system", run: nextTheme });
  list.push({ title: "Keys", run: showKeys });
  return list;
}

/** How well a title fits: its words begin with what is typed, or it has its letters in order. Pure; 0 is no fit. */
export function fit(title, typed) {
  const text = title.toLowerCase();
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.every((word) => text.split(" ").some((part) => part.startsWith(word)))) return 3;
  if (words.every((word) => text.includes(word))) return 2;
  let at = 0;
  for (const letter of words.join("")) {
    at = text.indexOf(letter, at) + 1;
    if (!at) return 0;
  }
  return 1;
}

export function Palette({ views, overview }) {
  return useShared(open) ? html`<${Box} views=${views} overview=${overview} />` : null;
}

function Box({ views, overview }) {
  const [typed, setTyped] = useState("");
  const [names, setNames] = useState([]);
  const [chosen, setChosen] = useState(0);
  const list = useRef(null);
  const id = useId();
  const close = () => open.set(false);
  useEffect(() => {
    let ended = false;
    if (typed.length < 2) return setNames([]);
    const ask = (field) => api.get("/suggest", { field, prefix: typed }).then(({ values }) => values.slice(0, 5).map((value) => ({ title: `Jobs of ${field} ${value}`, run: () => go(["jobs"], { search: `${field}:${searchWord(value)}` }) })), () => []);
    Promise.all(["kind", "queue", "tenant"].map(ask)).then((found) => ended || setNames(found.flat()));
    return () => {
      ended = true;
    };
  }, [typed]);
  const direct = /^#?\d+$/.test(typed.trim()) ? [{ title: `Open job ${typed.trim().replace("#", "")}`, run: () => go(["jobs", typed.trim().replace("#", "")]) }] : [];
  const known = commands(views, overview).map((command) => ({ ...command, fit: typed ? fit(command.title, typed) : 1 })).filter((command) => command.fit);
  const search = typed.trim() ? [{ title: `Search jobs: ${typed.trim()}`, run: () => go(["jobs"], { search: typed.trim() }) }] : [];
  const all = [...direct, ...known.sort((a, b) => b.fit - a.fit), ...names, ...search].slice(0, 12);
  const at = Math.min(chosen, all.length - 1);
  const run = (command) => {
    close();
    // The dialog must be gone before another one opens.
    queueMicrotask(() => command.run());
  };
  const onKeyDown = (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      setChosen((at + step + all.length) % Math.max(1, all.length));
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (all[at]) run(all[at]);
    }
  };
  return html`<${Dialog} title="Go to, or do" close=${close}>
    <div class="palette"><input type="text" role="combobox" aria-label="What to go to or to do" aria-expanded="true" aria-controls=${id} aria-activedescendant=${`${id}-${at}`}
      value=${typed} placeholder="A view, a job, a kind, or what to do" autofocus spellcheck=${false} onInput=${(event) => { setTyped(event.target.value); setChosen(0); }} onKeyDown=${onKeyDown} />
    <ul id=${id} role="listbox" aria-label="What there is" ref=${list}>${all.map((command, index) => html`<li key=${command.title} id=${`${id}-${index}`} role="option" aria-selected=${String(index === at)} onMouseMove=${() => setChosen(index)} onClick=${() => run(command)}>${command.title}</li>`)}</ul></div>
  <//>`;
}
