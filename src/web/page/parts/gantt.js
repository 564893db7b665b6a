// What the workers of a runner did, a lane each; stretches in which nothing ran are drawn short.

import { html, useState } from "./html.js";
import { useGet } from "./live.js";
import { clockTime, duration, millis } from "./format.js";
import { go } from "./router.js";
import { Choice, Empty, Trouble } from "./ui.js";

const LANE_PX = 18;
const IDLE_MS = 2000;
/** The width of an idle stretch, as a part of the whole. */
const IDLE_SHARE = 0.02;
const RANGES = [["5", "5 min"], ["30", "30 min"], ["180", "3 h"], ["1440", "24 h"]];

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

export function Gantt({ runner, change }) {
  const [minutes, setMinutes] = useState("30");
  // The range moves on only with the data, not with every drawing.
  const to = Math.ceil(Date.now() / 10000) * 10000;
  const from = to - Number(minutes) * 60000;
  const query = { from: new Date(from).toISOString(), to: new Date(to).toISOString() };
  const { data, error, old } = useGet(`/runners/${runner}/timeline`, query, change);
  const spans = ((data || old)?.spans || []).map((span) => ({ ...span, from: millis(span.from), to: span.to ? millis(span.to) : Date.now(), open: !span.to }));
  const head = html`<div class="bar"><${Choice} label="Range" value=${minutes} choose=${setMinutes} options=${RANGES} /></div>`;
  if (error) return html`${head}<${Trouble} problem=${error} />`;
  if (!spans.length) return html`${head}<${Empty} title="Nothing ran in this time" />`;
  const pieces = compress(spans, Math.max(from, Math.min(...spans.map((span) => span.from))), to);
  const lanes = [...new Set(spans.map((span) => span.worker))].sort((a, b) => a - b);
  const height = lanes.length * LANE_PX;
  return html`${head}<figure class="gantt">
    <ol class="names" aria-hidden="true">${lanes.map((lane) => html`<li key=${lane} class="num">${lane}</li>`)}</ol>
    <svg viewBox=${`0 0 1000 ${height}`} height=${height} preserveAspectRatio="none" role="img" aria-label=${`Timeline of runner ${runner}: ${spans.length} attempts by ${lanes.length} workers`}>
      ${pieces.filter((piece) => piece.idle).map((piece) => html`<rect key=${`i${piece.from}`} class="idle" x=${piece.x * 1000} y="0" width=${piece.width * 1000} height=${height}><title>nothing ran for ${duration(piece.to - piece.from)}</title></rect>`)}
      ${spans.map((span) => {
        const x = place(pieces, span.from) * 1000;
        const width = Math.max(1.5, place(pieces, span.to) * 1000 - x);
        const outcome = span.open ? "running" : span.outcome || "completed";
        return html`<rect key=${`${span.job} ${span.attempt}`} class=${`g-${outcome}`} x=${x} y=${lanes.indexOf(span.worker) * LANE_PX + 2} width=${width} height=${LANE_PX - 4} onClick=${() => go(["jobs", span.job])}>
          <title>job ${span.job}, ${span.kind}, attempt ${span.attempt}: ${outcome}, ${duration(span.to - span.from)} from ${clockTime(span.from)}</title></rect>`;
      })}
    </svg>
    <figcaption class="dim"><span>${clockTime(pieces[0].from)}</span><span>${clockTime(to)}</span></figcaption>
    ${(data || old).complete === false && html`<p class="dim">There were more attempts than are drawn; choose a shorter range.</p>`}
  </figure>`;
}
