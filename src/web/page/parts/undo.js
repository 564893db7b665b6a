// What was done, and the way back. `u` undoes the newest.

import { html, shared, useRef, useShared } from "./html.js";
import * as api from "./api.js";
import { features } from "./features.js";
import { Icon, Marked } from "./ui.js";

const SHOWN_MS = 10000;
const toasts = shared([]);
let next = 1;

/** `toast("Job 42 cancelled", {undo: event})`. */
export function toast(text, { undo = null, bad = false, hint = null, link = null } = {}) {
  const id = next++;
  if (!features.get()?.undo) undo = null;
  toasts.set([...toasts.get().slice(-3), { id, text, undo, bad, hint, link }]);
  later(id);
  return id;
}

const timers = new Map();
const later = (id) => timers.set(id, setTimeout(() => drop(id), SHOWN_MS));
const stay = (id) => clearTimeout(timers.get(id));

function drop(id) {
  stay(id);
  timers.delete(id);
  toasts.set(toasts.get().filter((toast) => toast.id !== id));
}

/** Shows what went wrong, with the server's hint. */
export const failed = (problem) => toast(problem.message, { bad: true, hint: problem.hint });

async function undo({ id, undo: event }) {
  drop(id);
  try {
    const answer = await api.send("POST", `/undo/${event}`);
    toast(`Undone: ${answer.undone}`);
  } catch (problem) {
    failed(problem);
  }
}

export function undoNewest() {
  const newest = toasts.get().filter((toast) => toast.undo).pop();
  if (newest) undo(newest);
  else toast("There is nothing to undo here", { hint: "`jobq undo` lists older changes" });
}

export function Toasts() {
  const list = useShared(toasts);
  const box = useRef(null);
  return html`<div class="toasts" role="status" aria-live="polite" ref=${box}>
    ${list.map((toast) => html`<div key=${toast.id} class=${toast.bad ? "toast bad" : "toast"}
        onMouseEnter=${() => stay(toast.id)} onMouseLeave=${() => later(toast.id)}
        onFocusIn=${() => stay(toast.id)} onFocusOut=${() => later(toast.id)}>
      <${Icon} name=${toast.bad ? "warning" : "completed"} />
      <div><p>${toast.text}</p>${toast.hint && html`<p class="dim"><${Marked} text=${toast.hint} /></p>`}</div>
      ${toast.link && html`<a href=${toast.link.to} onClick=${() => drop(toast.id)}>${toast.link.title}</a>`}
      ${toast.undo && html`<button type="button" onClick=${() => undo(toast)}>Undo <kbd>u</kbd></button>`}
      <button type="button" class="quiet" aria-label="Dismiss" onClick=${() => drop(toast.id)}><${Icon} name="failed" /></button>
    </div>`)}
  </div>`;
}
