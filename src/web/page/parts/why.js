// Why a row waits. The question is asked for rows that are seen, one at a time, and again only after something has
// changed in the file: a page on which nothing happens asks nothing.

import { html, useEffect, useRef, useState } from "./html.js";
import * as api from "./api.js";
import { href } from "./router.js";

const ASK_AGAIN_MS = 5000;
const waiting = [];
let isAsking = false;

async function askNext() {
  if (isAsking) return;
  isAsking = true;
  for (let task = waiting.shift(); task; task = waiting.shift()) {
    if (!task.isOver()) await task.ask();
  }
  isAsking = false;
}

/** Whether a verdict is about this state: the state may have changed since it was asked for. */
export const isAbout = (why, state) => (/^job \d+ is (\w+)/.exec(why.message)?.[1] ?? state) === state;

/** The rule without what the row says already: `job 7 is pending: `. */
export const reason = (message) => message.replace(/^job \d+ is \w+: /, "");

/** `at` is the event as of which the row is shown. */
export function WhyChip({ id, state, at }) {
  const [why, setWhy] = useState(null);
  const [isSeen, setSeen] = useState(false);
  const chip = useRef(null);
  const asked = useRef(0);
  useEffect(() => {
    const observer = new IntersectionObserver((entries) => setSeen(entries[entries.length - 1].isIntersecting));
    observer.observe(chip.current);
    return () => observer.disconnect();
  }, []);
  useEffect(() => {
    if (!isSeen || document.hidden) return undefined;
    let isOver = false;
    const ask = async () => {
      asked.current = Date.now();
      const answer = await api.get(`/jobs/${id}/why`).catch(() => null);
      if (!isOver) setWhy(answer);
    };
    const timer = setTimeout(() => {
      waiting.push({ ask, isOver: () => isOver });
      askNext();
    }, Math.max(0, asked.current + ASK_AGAIN_MS - Date.now()));
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }, [id, state, at, isSeen]);
  const text = why && isAbout(why, state) ? reason(why.message) : "";
  return html`<a ref=${chip} class=${`chip cut${text ? "" : " unknown"}`} href=${href(["jobs", id])} tabindex="-1" title=${why ? [why.message, why.hint].filter(Boolean).join("\n") : null}>${text || " "}</a>`;
}
