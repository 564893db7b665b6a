// The small parts that every view uses.

import { html, shared, useEffect, useId, useLayoutEffect, useRef, useState } from "./html.js";
import { clockTime, duration, fullTime, millis, relative } from "./format.js";

export const STATES = ["scheduled", "blocked", "pending", "running", "waiting", "completed", "failed", "cancelled"];
export const FINAL = ["completed", "failed", "cancelled"];
export const isFinal = (state) => FINAL.includes(state);

// Each state has a shape of its own, so that colour is never the only sign.
const SHAPES = {
  scheduled: ["M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2z", "M8 5v3.2l2.2 1.6"],
  blocked: ["M4 7.5h8v6H4z", "M5.7 7.5V5.3a2.3 2.3 0 0 1 4.6 0v2.2"],
  pending: ["M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3z"],
  running: ["M5 3.2v9.6L12.6 8z"],
  waiting: ["M4.5 2.5h7M4.5 13.5h7", "M5.5 2.5c0 3.5 2.5 3.5 2.5 5.5s-2.5 2-2.5 5.5M10.5 2.5c0 3.5-2.5 3.5-2.5 5.5s2.5 2 2.5 5.5"],
  completed: ["M3 8.6l3.2 3.2L13 4.8"],
  failed: ["M4 4l8 8M12 4l-8 8"],
  cancelled: ["M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11z", "M4.2 11.8l7.6-7.6"],
};

const ICONS = {
  ...SHAPES,
  search: ["M7 2.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9z", "M10.4 10.4L14 14"],
  more: ["M3.5 8h.01M8 8h.01M12.5 8h.01"],
  pause: ["M5.5 3v10M10.5 3v10"],
  copy: ["M5.5 5.5h8v8h-8z", "M10.5 5.5v-3h-8v8h3"],
  sun: ["M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6z", "M8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1"],
  moon: ["M13.5 9.5A5.8 5.8 0 0 1 6.5 2.5a5.8 5.8 0 1 0 7 7z"],
  auto: ["M8 2.5a5.5 5.5 0 1 0 0 11z", "M8 2.5a5.5 5.5 0 0 1 0 11"],
  plus: ["M8 3v10M3 8h10"],
  warning: ["M8 2.2L14.4 13.4H1.6z", "M8 6.5v3M8 11.6h.01"],
};

export const Icon = ({ name }) => html`<svg class=${`icon icon-${name}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
  ${(ICONS[name] || []).map((d) => html`<path key=${d} d=${d} />`)}
</svg>`;

export const State = ({ state, note }) =>
  html`<span class=${`state s-${state}`}><${Icon} name=${state} />${state}${note && html`<small> ${note}</small>`}</span>`;

const RUNNER_ICONS = { idle: "pending", busy: "running", stopping: "waiting", offline: "cancelled" };

export const RunnerState = ({ runner: { state } }) =>
  html`<span class=${`state r-${state}`}><${Icon} name=${RUNNER_ICONS[state] || "pending"} />${state === "offline" ? "gone" : state}</span>`;

// ---- time

const ticks = new Set();
let timer = 0;

function tick() {
  for (const listener of ticks) listener();
}

function retime() {
  clearInterval(timer);
  timer = ticks.size && !document.hidden ? setInterval(tick, 1000) : 0;
}
addEventListener("visibilitychange", () => {
  if (!document.hidden) tick();
  retime();
});

/** A text that depends on the time; drawn anew only when it differs. */
export function useTicking(text) {
  const [, setShown] = useState("");
  const newest = useRef(text);
  newest.current = text;
  useEffect(() => {
    const listener = () => setShown(newest.current());
    if (!ticks.size) queueMicrotask(retime);
    ticks.add(listener);
    return () => {
      ticks.delete(listener);
      if (!ticks.size) retime();
    };
  }, []);
  return text();
}

export function Ago({ at }) {
  const text = useTicking(() => (at ? relative(at) : ""));
  return at ? html`<time datetime=${at} title=${fullTime(at)}>${text}</time>` : null;
}

/** How long something has gone on. */
export function Since({ at }) {
  const text = useTicking(() => (at ? duration(Math.floor((Date.now() - millis(at)) / 1000) * 1000) : ""));
  return at ? html`<time datetime=${at} title=${fullTime(at)}>${text}</time>` : null;
}

export const Clock = ({ at }) => (at ? html`<time datetime=${at} title=${fullTime(at)}>${clockTime(at)}</time>` : null);

// ---- pieces

export function Progress({ progress, label }) {
  const percent = progress?.percent;
  if (percent == null) return progress?.message ? html`<span class="dim">${progress.message}</span>` : null;
  const whole = Math.floor(percent);
  return html`<span class="progress">
    <progress max="100" value=${percent} aria-label=${label || "progress"}>${whole} %</progress>
    <span class="num">${whole} %</span>
    ${progress.message && html`<span class="dim cut">${progress.message}</span>`}
  </span>`;
}

export function Copy({ text, label = "Copy" }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await copyText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1500);
  };
  return html`<button type="button" class="quiet" onClick=${copy} title=${text}><${Icon} name=${done ? "completed" : "copy"} />${done ? "Copied" : label}</button>`;
}

export async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without a secure context (a name other than localhost, no TLS) there is no clipboard API.
  const area = document.createElement("textarea");
  area.value = text;
  (document.querySelector("dialog[open]") || document.body).append(area);
  area.select();
  document.execCommand("copy");
  return area.remove();
}

export const Command = ({ text }) => html`<div class="command"><code>${text}</code><${Copy} text=${text} /></div>`;

/** An error of the server in its words, with its hint. */
export const Trouble = ({ problem, retry }) =>
  problem &&
  html`<div class="trouble" role="alert">
    <${Icon} name="warning" />
    <div><p>${problem.message}</p>${problem.hint && html`<p class="dim"><${Marked} text=${problem.hint} /></p>`}</div>
    ${retry && html`<button type="button" onClick=${retry}>Try again</button>`}
  </div>`;

/** Text in which `this` is code. */
export const Marked = ({ text }) =>
  (text || "").split("`").map((part, index) => (index % 2 ? html`<code key=${index}>${part}</code>` : part));

export const Empty = ({ title, children }) => html`<div class="empty"><p>${title}</p>${children}</div>`;

/** What stands while the first data comes: nothing for a moment, since most of it comes at once. */
export const Loading = () => html`<p class="loading" aria-live="polite">Loading</p>`;

export function Dialog({ title, close, wide, children, footer, onSubmit }) {
  const element = useRef(null);
  const id = useId();
  useLayoutEffect(() => {
    const before = document.activeElement;
    element.current.showModal();
    return () => before?.isConnected && before.focus();
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    close();
  };
  const outside = (event) => event.target === element.current && event.button === 0 && close();
  const submit = (event) => {
    event.preventDefault();
    onSubmit?.();
  };
  return html`<dialog ref=${element} class=${wide ? "wide" : ""} aria-labelledby=${id} onCancel=${cancel} onMouseDown=${outside}>
    <form method="dialog" onSubmit=${submit}>
      <header><h2 id=${id}>${title}</h2><button type="button" class="quiet" aria-label="Close" onClick=${close}><${Icon} name="failed" /></button></header>
      <div class="body">${children}</div>
      ${footer && html`<footer>${footer}</footer>`}
    </form>
  </dialog>`;
}

/** What is open above the view: a function that gives the dialog, or null. */
export const dialog = shared(null);
export const openDialog = (component, props) => dialog.set({ component, props, key: Math.random() });
export const closeDialog = () => dialog.set(null);

/** Tabs that are links, so that each has an address. */
export const Tabs = ({ label, tabs, open }) => html`<nav class="tabs" aria-label=${label}>
  ${tabs.map(({ name, title, to, note }) => html`<a key=${name} href=${to} aria-current=${name === open ? "page" : null}>${title}${note != null && html` <span class="num dim">${note}</span>`}</a>`)}
</nav>`;

/** Buttons of which one is pressed. */
export const Choice = ({ label, options, value, choose }) => html`<div class="choice" role="group" aria-label=${label}>
  ${options.map(([name, title]) => html`<button type="button" key=${name} aria-pressed=${String(name === value)} onClick=${() => choose(name)}>${title}</button>`)}
</div>`;

export const Tags = ({ tags }) =>
  tags ? Object.entries(tags).map(([name, value]) => html`<span class="tag" key=${name}>${name}=${value}</span> `) : null;

/** A table that may be wider than the screen scrolls by itself, also by keys. */
export const Scroll = ({ label, children }) =>
  html`<div class="scroll" role="region" aria-label=${label} tabindex="0">${children}</div>`;
