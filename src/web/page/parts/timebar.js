// Where a job's time went, as one bar.

import { html } from "./html.js";
import { duration, millis } from "./format.js";
import { isFinal, useTicking } from "./ui.js";

const NAMES = { scheduled: "delayed", blocked: "blocked", pending: "pending", running: "running", retry: "waiting for a retry", waiting: "waiting for children" };

/** What a job does after an attempt that ended so. */
const AFTER = { retry: "retry", snoozed: "retry", recovered: "retry", waiting: "waiting" };

/**
 * The spans of a job's life in order: `{what, from, to, attempt}`. Attempts are exact; what lies between them follows from
 * how the one before ended and from when the job was due.
 */
export function spans(job, now) {
  const all = [];
  const end = isFinal(job.state) && job.finished_at ? millis(job.finished_at) : now;
  const add = (what, from, to, attempt = null) => to > from && all.push({ what, from, to, attempt });
  let at = millis(job.created_at);
  let rest = job.depends_on?.length || job.state === "blocked" ? "blocked" : "pending";
  const attempts = (job.attempts || []).filter((one) => one.started_at);
  const due = job.run_at ? millis(job.run_at) : null;
  const first = attempts[0] ? millis(attempts[0].started_at) : end;
  if (due && due > at && !attempts.length) {
    add("scheduled", at, Math.min(due, first));
    at = Math.min(due, first);
  }
  for (const one of attempts) {
    const from = millis(one.started_at);
    const to = one.finished_at ? millis(one.finished_at) : end;
    add(rest, at, from);
    add("running", from, to, one.attempt);
    at = to;
    rest = AFTER[one.outcome] || "pending";
  }
  if (at < end) add(job.state === "waiting" ? "waiting" : isFinal(job.state) ? rest : job.state === "scheduled" && attempts.length ? "retry" : job.state, at, end);
  return all;
}

export function TimeBar({ job }) {
  const text = useTicking(() => (isFinal(job.state) ? "" : String(Date.now() - (Date.now() % 1000))));
  const list = spans(job, text ? Number(text) + 1000 : 0);
  if (!list.length) return null;
  const from = list[0].from;
  const total = list[list.length - 1].to - from;
  if (total <= 0) return null;
  const sums = {};
  for (const { what, from: a, to } of list) sums[what] = (sums[what] || 0) + to - a;
  const words = Object.entries(sums).map(([what, ms]) => `${NAMES[what] || what} ${duration(ms)}`).join(", ");
  // Each has at least a hair, so that a short attempt is seen.
  const width = ({ from: a, to }) => Math.max(0.3, ((to - a) / total) * 100);
  const scale = 100 / list.reduce((sum, span) => sum + width(span), 0);
  let x = 0;
  return html`<section class="times" aria-label="Where the time went">
    <svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label=${words}>
      ${list.map((span, index) => {
        const left = x;
        x += width(span) * scale;
        const name = `${NAMES[span.what] || span.what}${span.attempt ? `, attempt ${span.attempt}` : ""}: ${duration(span.to - span.from)}`;
        return html`<rect key=${index} class=${`t-${span.what}`} x=${left} y="0" width=${x - left} height="10"><title>${name}</title></rect>`;
      })}
    </svg>
    <ul class="legend">${Object.entries(sums).map(([what, ms]) => html`<li key=${what}><i class=${`t-${what}`}></i>${NAMES[what] || what} <b class="num">${duration(ms)}</b></li>`)}
      <li class="dim">in all <b class="num">${duration(total)}</b></li></ul>
  </section>`;
}
