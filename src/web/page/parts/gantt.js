// What the workers of a runner did, a lane each; stretches in which nothing ran are drawn short.

import { html, useEffect, useRef, useState } from "./html.js";
import * as api from "./api.js";
import { useSlow } from "./live.js";
import { clockTime, duration, millis } from "./format.js";
import { go } from "./router.js";
import { Choice, Empty, Loading, Trouble } from "./ui.js";

const LANE_PX = 18;
const IDLE_MS = 2000;
/** The width of an idle stretch, as a part of the whole. */
const IDLE_SHARE = 0.02;
const MAX_SPANS = 3000;
/** Where the history is begun to be read: so many events before the newest. */
const DEPTHS = [["1000", "The last 1,000 events"], ["5000", "5,000"], ["20000", "20,000"]];
const ENDS = ["job_completed", "job_failed", "job_retry", "job_cancelled", "job_snoozed", "job_returned", "job_recovered", "job_waiting"];

/**
 * The time line with idle stretches compressed: pieces `{from, to, x, width, idle}` with x and width in 0..1. Pure.
 */
export function compress(spans, from, to) {
  const busy = [];
  for (const { from: a, to: b } of [...spans].sort((x, y) => x.from - y.from)) {
    const last = busy[busy.length - 1];
    if (last && a - last.to < IDLE_MS) last.to = Math.max(last.to, b);
    else busy.push({ from: Math.max(a, from), to: b });
  }
  const pieces = [];
  let at = from;
  for (const { from: a, to: b } of busy) {
    if (a > at) pieces.push({ from: at, to: a, idle: true });
    pieces.push({ from: a, to: Math.max(b, a + 1), idle: false });
    at = Math.max(at, b);
  }
  if (at < to) pieces.push({ from: at, to, idle: true });
  const length = pieces.reduce((sum, piece) => sum + (piece.idle ? 0 : piece.to - piece.from), 0);
  const idles = pieces.filter((piece) => piece.idle);
  // Where little ran, the idle stretches may have more.
  const share = Math.min(IDLE_SHARE, 0.5 / Math.max(1, idles.length));
  const rest = 1 - share * idles.length;
  let x = 0;
  for (const piece of pieces) {
    piece.x = x;
    piece.width = piece.idle ? (length ? share : 1 / idles.length) : (rest * (piece.to - piece.from)) / length;
    x += piece.width;
  }
  return pieces;
}

function place(pieces, time) {
  const piece = pieces.find((one) => time <= one.to) || pieces[pieces.length - 1];
  const part = piece.to > piece.from ? (time - piece.from) / (piece.to - piece.from) : 0;
  return piece.x + piece.width * Math.min(1, Math.max(0, part));
}

/** The spans of the attempts of a runner that have ended since an event, read on with each change. */
function useEnded(runner, newest, depth) {
  const change = useSlow(newest, 1000);
  const [state, setState] = useState({ spans: null, problem: null });
  const kept = useRef({ key: null, after: 0, spans: [] });
  useEffect(() => {
    if (!change) return undefined;
    const aborter = new AbortController();
    const key = `${runner} ${depth}`;
    if (kept.current.key !== key) kept.current = { key, after: Math.max(0, change - depth), spans: [] };
    const now = kept.current;
    api.text("/events", { after: now.after, kind: ENDS }, { signal: aborter.signal }).then((text) => {
      const events = text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
      if (events.length) now.after = events[events.length - 1].id;
      now.spans = [...now.spans, ...events.filter((event) => event.runner === runner && event.worker != null).map(spanOf)].slice(-MAX_SPANS);
      setState({ spans: now.spans, problem: null });
    }, (problem) => problem.name !== "AbortError" && setState((old) => ({ ...old, problem })));
    return () => aborter.abort();
  }, [runner, depth, change]);
  return state;
}

function spanOf({ job, attempt, worker, kind, at, took_ms: took }) {
  const to = millis(at);
  return { job, attempt, worker, outcome: kind.replace("job_", ""), from: to - (took || 0), to };
}

export function Gantt({ runner, newest }) {
  const [depth, setDepth] = useState("1000");
  const { spans: ended, problem } = useEnded(runner.id, newest, Number(depth));
  const now = Date.now();
  const running = runner.workers.filter((worker) => worker.job != null && worker.worker != null && worker.since)
    .map(({ job, worker, since }) => ({ job, attempt: "now", worker, outcome: "running", from: millis(since), to: now }));
  const spans = [...(ended || []), ...running];
  const head = html`<div class="bar"><${Choice} label="How far back" value=${depth} choose=${setDepth} options=${DEPTHS} /></div>`;
  if (problem) return html`${head}<${Trouble} problem=${problem} />`;
  if (!ended) return html`${head}<${Loading} />`;
  if (!spans.length) return html`${head}<${Empty} title="Of the last events, none is of an attempt of this runner" />`;
  const pieces = compress(spans, Math.min(...spans.map((span) => span.from)), Math.max(...spans.map((span) => span.to)));
  const lanes = [...new Set(spans.map((span) => span.worker))].sort((a, b) => a - b);
  const height = lanes.length * LANE_PX;
  return html`${head}<figure class="gantt">
    <ol class="names" aria-hidden="true">${lanes.map((lane) => html`<li key=${lane} class="num">${lane}</li>`)}</ol>
    <svg viewBox=${`0 0 1000 ${height}`} height=${height} preserveAspectRatio="none" role="img" aria-label=${`Timeline of runner ${runner.id}: ${spans.length} attempts by ${lanes.length} workers`}>
      ${pieces.filter((piece) => piece.idle).map((piece) => html`<rect key=${`i${piece.from}`} class="idle" x=${piece.x * 1000} y="0" width=${piece.width * 1000} height=${height}><title>${`nothing ran for ${duration(piece.to - piece.from)}`}</title></rect>`)}
      ${spans.map((span) => {
        const x = place(pieces, span.from) * 1000;
        const width = Math.max(1.5, place(pieces, span.to) * 1000 - x);
        return html`<rect key=${`${span.job} ${span.attempt}`} class=${`g-${span.outcome}`} x=${x} y=${lanes.indexOf(span.worker) * LANE_PX + 2} width=${width} height=${LANE_PX - 4} onClick=${() => go(["jobs", span.job])}>
          <title>${`job ${span.job}, attempt ${span.attempt}: ${span.outcome}, ${duration(span.to - span.from)} from ${clockTime(span.from)}`}</title></rect>`;
      })}
    </svg>
    <figcaption class="dim"><span>${clockTime(pieces[0].from)}</span><span>${clockTime(pieces[pieces.length - 1].to)}</span></figcaption>
  </figure>`;
}
