// The whole file at a glance: states, what stands in the way, queues, runners, the last failures.

import { html, useState } from "../parts/html.js";
import * as api from "../parts/api.js";
import { compact, count, plural, rate } from "../parts/format.js";
import { href } from "../parts/router.js";
import { searchWord } from "../parts/text.js";
import { Ago, closeDialog, Command, Dialog, Empty, Loading, Marked, openDialog, RunnerState, Scroll, State, STATES, Trouble } from "../parts/ui.js";
import { attempt, pauseQueue, Remedy } from "../parts/actions.js";
import { canWrite } from "../parts/features.js";
import { useKeys } from "../parts/keys.js";

export function Overview({ overview }) {
  const { data, error } = overview;
  useKeys("Overview", {
    p: ["pause or resume all queues", () => data && canWrite() && pauseQueue(null, !data.all_paused_at)],
    d: ["doctor", () => openDialog(Doctor, {})],
  });
  if (error && !data) return html`<div class="view"><${Trouble} problem=${error} /></div>`;
  if (!data) return html`<div class="view"><${Loading} /></div>`;
  const total = STATES.reduce((sum, state) => sum + (data.counts[state] || 0), 0);
  const live = data.runners.filter((runner) => runner.state !== "offline");
  return html`<div class="view">
    <h1 class="hidden">Overview</h1>
    <${Tiles} counts=${data.counts} />
    <p class="sentence">${sentence(data, live)}</p>
    ${total === 0 && html`<${Empty} title="No jobs yet"><p>Type <code>jobq enqueue -- echo hello</code> and, in another terminal, <code>jobq run</code>.</p></${Empty}>`}
    ${total > 0 && !live.length && html`<section class="why stands"><p>No runner is active, so nothing runs.</p><p class="dim">Start one with <code>jobq run</code>.</p></section>`}
    <${Verdicts} verdicts=${data.verdicts} />
    <div class="columns even">
      <${Queues} queues=${data.queues} />
      <div>
        <${Runners} runners=${data.runners} />
        <${Failures} failures=${data.failures} />
      </div>
    </div>
    <footer class="foot">
      ${canWrite() && html`<button type="button" class="quiet" onClick=${() => pauseQueue(null, !data.all_paused_at)}>${data.all_paused_at ? "Resume all queues" : "Pause all queues"}</button>`}
      <button type="button" class="quiet" onClick=${() => openDialog(Doctor, {})}>Examine the file</button>
    </footer>
  </div>`;
}

const Tiles = ({ counts }) => html`<ul class="tiles">
  ${STATES.map((state) => {
    const n = counts[state] || 0;
    return html`<li key=${state}><a href=${href(["jobs"], { search: `state:${state}` })} class=${n ? "" : "none"} title=${`${count(n)} ${state}`}>
      <b class="num">${compact(n)}</b> <${State} state=${state} /></a></li>`;
  })}
</ul>`;

function sentence(data, live) {
  const busy = live.flatMap((runner) => runner.workers).filter((worker) => worker.job != null).length;
  const workers = live.flatMap((runner) => runner.workers).filter((worker) => worker.worker != null).length;
  const parts = [];
  if (live.length) parts.push(`${plural(live.length, "runner")}, ${busy} of ${plural(workers, "worker")} busy`);
  const { completed_per_s: done, failed_per_s: failed } = data.rate || {};
  if (done || failed) parts.push(`${rate(done)} completed${failed ? `, ${rate(failed)} failed` : ""} in the last minute`);
  return html`${parts.join(" · ")}${data.next_due_at && html`${parts.length ? " · " : ""}the next delayed job is due <${Ago} at=${data.next_due_at} />`}`;
}

/** What keeps pending jobs from running, by queue, with the remedy as a button. */
export const Verdicts = ({ verdicts }) =>
  verdicts?.length > 0 && html`<section aria-label="What stands in the way">${verdicts.map(({ queue, pending, items }) => html`<div class="verdict" key=${queue}>
    <h2><a href=${href(["jobs"], { search: `state:pending queue:${searchWord(queue)}` })}>${queue}</a> <span class="dim">${count(pending)} pending</span></h2>
    <ul class="plain">${items.map((item) => html`<li key=${item.message}>
      <span class="num">${count(item.jobs)}${item.at_least ? "+" : ""}</span>
      <span class="said"><${Marked} text=${item.message} />${item.hint && html` <small class="dim"><${Marked} text=${item.hint} /></small>`}</span>
      <${Remedy} action=${item.action} />
    </li>`)}</ul>
  </div>`)}</section>`;

const Queues = ({ queues }) => html`<section><h2><a href=${href(["queues"])}>Queues</a></h2>
  ${queues.length === 0 ? html`<p class="dim">A queue is there as soon as a job names it.</p>` : html`<${Scroll} label="Queues"><table>
    <thead><tr><th scope="col">Queue</th><th scope="col" class="num">Pending</th><th scope="col" class="num">Running</th><th scope="col" class="num">Scheduled</th><th scope="col" class="num">Failed</th><th scope="col"><span class="hidden">Paused</span></th></tr></thead>
    <tbody>${queues.map((queue) => html`<tr key=${queue.name}>
      <th scope="row"><a href=${href(["jobs"], { search: `queue:${searchWord(queue.name)}` })}>${queue.name}</a></th>
      ${["pending", "running", "scheduled", "failed"].map((state) => html`<td class=${`num${state === "failed" && queue.counts.failed ? " bad" : ""}`} key=${state}>${queue.counts[state] ? compact(queue.counts[state]) : html`<span class="dim">0</span>`}</td>`)}
      <td>${queue.paused && html`<span class="state s-blocked">paused</span>`}</td>
    </tr>`)}</tbody>
  </table><//>`}
</section>`;

const Runners = ({ runners }) => html`<section><h2><a href=${href(["runners"])}>Runners</a></h2>
  ${runners.length === 0 ? html`<p class="dim">None is active. Start one with <code>jobq run</code>.</p>` : html`<ul class="plain runners">${runners.slice(0, 8).map((runner) => html`<li key=${runner.id}>
    <a href=${href(["runners", runner.id])} class="num">${runner.id}</a> <${RunnerState} runner=${runner} />
    <span class="workers" role="img" aria-label=${busyText(runner)}>${runner.workers.filter((worker) => worker.worker != null).slice(0, 64).map((worker) => html`<i key=${worker.worker} class=${worker.job != null ? "busy" : ""} title=${worker.job != null ? `worker ${worker.worker}: job ${worker.job}, ${worker.kind}` : `worker ${worker.worker} is idle`}></i>`)}</span>
    <span class="dim cut">${runner.host}</span>
  </li>`)}</ul>`}
  ${runners.length > 8 && html`<p><a href=${href(["runners"])}>${plural(runners.length - 8, "more runner")}</a></p>`}
</section>`;

export function busyText(runner) {
  const busy = runner.workers.filter((worker) => worker.job != null).length;
  return `${busy} of ${plural(runner.workers.filter((worker) => worker.worker != null).length, "worker")} busy`;
}

const Failures = ({ failures }) => html`<section><h2><a href=${href(["errors"])}>Last failures</a></h2>
  ${failures.length === 0 ? html`<p class="dim">No job has failed.</p>` : html`<ul class="plain failures">${failures.map((job) => html`<li key=${job.id}>
    <a href=${href(["jobs", job.id])} class="num">${job.id}</a> <span class="kind cut">${job.kind}</span> <span class="bad cut">${job.error}</span> <span class="dim"><${Ago} at=${job.finished_at} /></span>
  </li>`)}</ul>`}
</section>`;

function Doctor() {
  const [state, setState] = useState({});
  const examine = () =>
    attempt(async () => {
      setState({ busy: true });
      setState({ findings: (await api.get("/doctor")).findings });
    }).then((done) => done === null && setState({}));
  const { busy, findings } = state;
  const footer = html`<button type="submit" class="primary" disabled=${busy}>${findings ? "Examine again" : "Examine"}</button>`;
  return html`<${Dialog} title="Doctor" close=${closeDialog} footer=${footer} onSubmit=${examine}>
    ${!findings && html`<p>${busy ? "Examining" : "It looks at the file, its counters, its locks and its runners, and changes nothing."}</p>`}
    ${findings && (findings.every((finding) => finding.severity === "ok") ? html`<p>Nothing is wrong.</p>` : "")}
    ${findings && html`<ul class="plain findings">${findings.filter((finding) => finding.severity !== "ok").map((finding, index) => html`<li key=${index} class=${`severity-${finding.severity}`}>
      <p><b>${finding.severity}</b> <${Marked} text=${finding.what} /></p>${finding.remedy && html`<p class="dim"><${Marked} text=${finding.remedy} /></p>`}</li>`)}</ul>`}
    <${Command} text="jobq doctor" />
  <//>`;
}

