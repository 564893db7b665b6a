// Keys. What is on the screen registers its keys; `?` lists exactly those.

import { html, shared, useLayoutEffect, useRef, useShared } from "./html.js";
import { Dialog } from "./ui.js";

const scopes = [];
const helpOpen = shared(false);

const isTyping = (target) =>
  target.isContentEditable || target.tagName === "TEXTAREA" || target.tagName === "SELECT" ||
  (target.tagName === "INPUT" && !["checkbox", "radio", "button"].includes(target.type));

/** `useKeys("Jobs", {"j": ["next job", run], …})`. A key is what KeyboardEvent.key says; `Ctrl+k` with Ctrl or Cmd. */
export function useKeys(title, keys, enabled = true) {
  const newest = useRef(keys);
  newest.current = keys;
  // At once with what is drawn: the first key may come before the first frame.
  useLayoutEffect(() => {
    if (!enabled) return undefined;
    const scope = { title, keys: newest };
    scopes.push(scope);
    return () => scopes.splice(scopes.indexOf(scope), 1);
  }, [title, enabled]);
}

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.altKey) return;
  const modified = event.ctrlKey || event.metaKey;
  const name = modified ? `Ctrl+${event.key.toLowerCase()}` : event.key;
  if (isTyping(event.target) && !modified) return;
  if (document.querySelector("dialog[open]") && name !== "Ctrl+k") return;
  // Enter and Space on a control do what the control does.
  if ((name === "Enter" || name === " ") && event.target.closest("a, button, summary, input")) return;
  for (const scope of [...scopes].reverse()) {
    const found = Object.entries(scope.keys.current).find(([key]) => key.split(" ").includes(name));
    if (!found) continue;
    event.preventDefault();
    found[1][1](event);
    return;
  }
});

export const showKeys = () => helpOpen.set(true);

const NAMES = { Escape: "Esc", "Ctrl+k": "Ctrl K", ArrowDown: "↓", ArrowUp: "↑", Enter: "Enter" };

export function KeysHelp() {
  if (!useShared(helpOpen)) return null;
  const close = () => helpOpen.set(false);
  return html`<${Dialog} title="Keys" close=${close} wide=${true}>
    <div class="keys">
      ${[...scopes].reverse().map(({ title, keys }) => html`<section key=${title}>
        <h3>${title}</h3>
        <dl>${Object.entries(keys.current).map(([key, [what]]) => html`
          <div key=${key}>
            <dt>${key.split(" ").map((one) => html`<kbd key=${one}>${NAMES[one] || one}</kbd>`)}</dt>
            <dd>${what}</dd>
          </div>`)}</dl>
      </section>`)}
    </div>
  <//>`;
}
