// Runners and what their workers did.

import { html, useState } from "../parts/html.js";
import { useGet } from "../parts/live.js";
import { plural } from "../parts/format.js";
import { href } from "../parts/router.js";
import { Ago, Choice, Empty, Loading, RunnerState, Scroll, State, Trouble } from "../parts/ui.js";
import { Gantt } from "../parts/gantt.js";
import { useKeys } from "../parts/keys.js";

export function Runners({ overview, id }) {
  const [all, setAll] = useState("now");
  const answer = useGet("/runners", { all: all === "all" ? 1 : null }, overview.data?.at);
  const runners = answer.data?.runners || answer.old?.runners || overview.data?.runners;
  useKeys("Runners", { a: ["those of before too", () => setAll(all === "all" ? "now" : "all")] });
  if (answer.error && !runners) return html`<div class="view"><${Trouble} problem=${answer.error} /></div>`;
  if (!runners) return html`<div class="view"><${Loading} /></div>`;
  const shown = id ? runners.filter((runner) => String(runner.id) === id) : runners;
  return html`<div class="view">
    <h1 class="hidden">Runners</h1>
    <div class="bar"><${Choice} label="Which runners" value=${all} choose=${setAll} options=${[["now", "Now"], ["all", "All that are remembered"]]} />
      ${id && html`<a href=${href(["runners"])}>All runners</a>`}</div>
    ${shown.length === 0 && html`<${Empty} title=${id ? `Runner ${id} is not active` : "No runner is active"}>
      <p>${id ? html`<button type="button" onClick=${() => setAll("all")}>Look among those of before</button>` : html`Start one with <code>jobq run</code>.`}</p></${Empty}>`}
    ${shown.map((runner) => html`<${Runner} key=${runner.id} runner=${runner} open=${Boolean(id)} newest=${overview.data?.at} />`)}
  </div>`;
}

function Runner({ runner, open, newest }) {
  const [gantt, setGantt] = useState(open);
  const workers = runner.workers.filter((worker) => worker.worker != null);
  const onTheirWay = runner.workers.filter((worker) => worker.worker == null && worker.job != null);
  return html`<section class="runner" aria-label=${`Runner ${runner.id}`}>
    <h2><a href=${href(["runners", runner.id])}>Runner ${runner.id}</a> <${RunnerState} runner=${runner} />
      <span class="dim">pid ${runner.pid} on ${runner.host}, started <${Ago} at=${runner.started_at} />, last sign of life <${Ago} at=${runner.heartbeat_at} /></span>
      <button type="button" class="quiet small" aria-expanded=${String(gantt)} onClick=${() => setGantt(!gantt)}>Timeline</button></h2>
    ${runner.short_of && html`<p class="bad">It takes fewer jobs at a time: ${runner.short_of}</p>`}
    ${runner.state === "offline" && html`<p class="dim">It is gone. Its jobs are taken over by the next runner that looks.</p>`}
    ${workers.length > 0 && html`<${Scroll} label=${`Workers of runner ${runner.id}`}><table>
      <thead><tr><th scope="col" class="num">Worker</th><th scope="col">State</th><th scope="col" class="num">Job</th><th scope="col" class="grow">Kind</th><th scope="col">Since</th></tr></thead>
      <tbody>${workers.map((worker) => html`<tr key=${worker.worker}><th scope="row" class="num">${worker.worker}</th>
        <td>${worker.job != null ? html`<${State} state="running" />` : html`<span class="dim">idle</span>`}</td>
        <td class="num">${worker.job != null && html`<a href=${href(["jobs", worker.job])}>${worker.job}</a>`}</td>
        <td class="grow">${worker.kind}</td><td><${Ago} at=${worker.since} /></td></tr>`)}</tbody>
    </table><//>`}
    ${onTheirWay.length > 0 && html`<p class="dim">${plural(onTheirWay.length, "job")} on the way to a worker</p>`}
    ${gantt && html`<${Gantt} runner=${runner} newest=${newest} />`}
  </section>`;
}
