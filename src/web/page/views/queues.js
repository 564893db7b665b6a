// Queues: what is in them, their limits, and what stands in their way.

import { html, useState } from "../parts/html.js";
import * as api from "../parts/api.js";
import { compact, count, duration, durationOption } from "../parts/format.js";
import { href } from "../parts/router.js";
import { searchWord, shellWord } from "../parts/text.js";
import { closeDialog, Command, Dialog, Empty, Loading, openDialog, Scroll, State, STATES, Trouble } from "../parts/ui.js";
import { pauseQueue } from "../parts/actions.js";
import { canWrite } from "../parts/features.js";
import { useKeys } from "../parts/keys.js";
import { toast } from "../parts/undo.js";
import { Verdicts } from "./overview.js";

export function Queues({ overview }) {
  const { data, error } = overview;
  const [cursor, setCursor] = useState(0);
  const queues = data?.queues || [];
  const here = queues[Math.min(cursor, queues.length - 1)];
  const move = (step) => () => setCursor(Math.max(0, Math.min(queues.length - 1, cursor + step)));
  useKeys("Queues", {
    "j ArrowDown": ["next queue", move(1)],
    "k ArrowUp": ["queue before", move(-1)],
    p: ["pause or resume it", () => here && canWrite() && pauseQueue(here.name, !here.paused)],
    e: ["change its limits", () => here && canWrite() && openDialog(Limits, { queue: here })],
    "Enter o": ["its jobs", () => here && (location.hash = href(["jobs"], { search: `queue:${searchWord(here.name)}` }))],
  });
  if (error && !data) return html`<div class="view"><${Trouble} problem=${error} /></div>`;
  if (!data) return html`<div class="view"><${Loading} /></div>`;
  return html`<div class="view">
    <h1 class="hidden">Queues</h1>
    ${data.all_paused_at && html`<section class="why stands"><p>All queues are paused.</p>${canWrite() && html`<button type="button" class="small" onClick=${() => pauseQueue(null, false)}>Resume all queues</button>`}</section>`}
    ${queues.length === 0
      ? html`<${Empty} title="No queues yet"><p>A queue is there as soon as a job names it: <code>jobq enqueue --queue images -- true</code></p></${Empty}>`
      : html`<${Scroll} label="Queues"><table>
        <caption class="hidden">Queues</caption>
        <thead><tr><th scope="col">Queue</th>${STATES.map((state) => html`<th scope="col" class="num" key=${state}><${State} state=${state} /></th>`)}<th scope="col">Limits</th><th scope="col" class="acts"><span class="hidden">Actions</span></th></tr></thead>
        <tbody>${queues.map((queue) => html`<tr key=${queue.name} class=${queue === here ? "here" : ""}>
          <th scope="row"><a href=${href(["jobs"], { search: `queue:${searchWord(queue.name)}` })}>${queue.name}</a>${queue.paused && html` <span class="state s-blocked">paused</span>`}</th>
          ${STATES.map((state) => html`<td class="num" key=${state}>${queue.counts[state]
            ? html`<a href=${href(["jobs"], { search: `state:${state} queue:${searchWord(queue.name)}` })} title=${count(queue.counts[state])}>${compact(queue.counts[state])}</a>`
            : html`<span class="dim">0</span>`}</td>`)}
          <td>${limitsText(queue) || html`<span class="dim">none</span>`}</td>
          <td class="acts">${canWrite() && html`<button type="button" class="small" onClick=${() => pauseQueue(queue.name, !queue.paused)} aria-label=${`${queue.paused ? "Resume" : "Pause"} queue ${queue.name}`}>${queue.paused ? "Resume" : "Pause"}</button>
            <button type="button" class="small quiet" onClick=${() => openDialog(Limits, { queue })} aria-label=${`Limits of queue ${queue.name}`}>Limits</button>`}</td>
        </tr>`)}</tbody>
      </table><//>`}
    <${Verdicts} verdicts=${data.verdicts} />
  </div>`;
}

const rateText = (rate) => (rate ? `${rate.jobs}/${durationOption(rate.per_ms)}` : "");

function limitsText({ concurrency, rate, max_size: size, weight }) {
  return [
    concurrency != null && `${concurrency} at a time`,
    rate && `${count(rate.jobs)} in ${duration(rate.per_ms)}`,
    size != null && `at most ${count(size)} jobs`,
    weight !== 1 && weight != null && `weight ${weight}`,
  ].filter(Boolean).join(", ");
}

const FIELDS = [
  ["concurrency", "Jobs at a time, over all runners", "2"], ["rate", "Starts in a span", "10/1m"],
  ["max_size", "Jobs in it at most", "1000"], ["weight", "Weight beside other queues", "1"],
];

function Limits({ queue }) {
  const start = {
    concurrency: queue.concurrency ?? "", rate: rateText(queue.rate), max_size: queue.max_size ?? "", weight: queue.weight ?? 1,
  };
  const [form, setForm] = useState(start);
  const [problem, setProblem] = useState(null);
  const changed = FIELDS.filter(([name]) => String(form[name]).trim() !== String(start[name]));
  const valueOf = (name) => {
    const text = String(form[name]).trim();
    if (text === "") return name === "weight" ? 1 : null;
    if (name === "rate") return text;
    if (!/^\d+$/.test(text)) throw new Error(`'${text}' is not a whole number`);
    return Number(text);
  };
  const submit = async () => {
    try {
      const body = Object.fromEntries(changed.map(([name]) => [name, valueOf(name)]));
      const saved = changed.length ? await api.send("PATCH", `/queues/${encodeURIComponent(queue.name)}`, body) : null;
      closeDialog();
      if (saved) toast(`Limits of queue ${queue.name} saved`, { undo: saved.event });
    } catch (error) {
      setProblem(error);
    }
  };
  const option = ([name]) => ` --${name.replace("_", "-")} ${String(form[name]).trim() || "none"}`;
  const footer = html`<button type="button" onClick=${closeDialog}>Close</button><button type="submit" class="primary">Save</button>`;
  return html`<${Dialog} title=${`Limits of queue ${queue.name}`} close=${closeDialog} footer=${footer} onSubmit=${submit}>
    <div class="fields">${FIELDS.map(([name, label, example]) => html`<label key=${name}>${label}<input value=${form[name]} placeholder=${`none, or ${example}`} onInput=${(event) => setForm({ ...form, [name]: event.target.value })} /></label>`)}</div>
    ${changed.length > 0 && html`<${Command} text=${`jobq queue set ${shellWord(queue.name)}${changed.map(option).join("")}`} />`}
    <${Trouble} problem=${problem} />
  <//>`;
}
