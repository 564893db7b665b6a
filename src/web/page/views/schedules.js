// Schedules: when they fire next, what came of their last slots, run now, pause.

import { html, useState } from "../parts/html.js";
import * as api from "../parts/api.js";
import { useGet } from "../parts/live.js";
import { fullTime, millis } from "../parts/format.js";
import { href } from "../parts/router.js";
import { searchWord, shellWord, splitCommand } from "../parts/text.js";
import { Ago, closeDialog, Dialog, Empty, Loading, openDialog, Scroll, Trouble } from "../parts/ui.js";
import { attempt, Confirm } from "../parts/actions.js";
import { canWrite, features } from "../parts/features.js";
import { useKeys } from "../parts/keys.js";
import { toast } from "../parts/undo.js";

export function Schedules({ change }) {
  const [again, setAgain] = useState(0);
  const { data, error, old } = useGet("/schedules", {}, `${change} ${again}`);
  const [cursor, setCursor] = useState(0);
  const schedules = (data || old)?.schedules || [];
  const here = schedules[Math.min(cursor, schedules.length - 1)];
  const move = (step) => () => setCursor(Math.max(0, Math.min(schedules.length - 1, cursor + step)));
  const done = () => setAgain((n) => n + 1);
  const write = (act) => () => here && canWrite() && act(here, done);
  useKeys("Schedules", {
    "j ArrowDown": ["next schedule", move(1)],
    "k ArrowUp": ["schedule before", move(-1)],
    p: ["pause or resume it", write(pause)],
    R: ["run it now", write(runNow)],
    D: ["remove it", write(remove)],
  });
  if (error && !schedules.length) return html`<div class="view"><${Trouble} problem=${error} /></div>`;
  if (!data && !old) return html`<div class="view"><${Loading} /></div>`;
  return html`<div class="view">
    <h1 class="hidden">Schedules</h1>
    ${canWrite() && html`<div class="bar"><button type="button" onClick=${() => openDialog(NewSchedule, { done })}>New schedule</button></div>`}
    ${schedules.length === 0
      ? html`<${Empty} title="No schedules yet"><p>Type <code>jobq schedule add nightly '0 2 * * *' -- ./cleanup.sh</code></p></${Empty}>`
      : html`<${Scroll} label="Schedules"><table>
      <caption class="hidden">Schedules</caption>
      <thead><tr><th scope="col">Schedule</th><th scope="col">Rule</th><th scope="col">Next</th><th scope="col">Last slots</th><th scope="col">Kind</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead>
      <tbody>${schedules.map((schedule) => html`<tr key=${schedule.name} class=${schedule === here ? "here" : ""}>
        <th scope="row"><a href=${href(["jobs"], { search: `schedule:${searchWord(schedule.name)}` })}>${schedule.name}</a>${schedule.paused_at && html` <span class="state s-blocked">paused</span>`}</th>
        <td><code>${schedule.cron}</code> <span class="dim">${schedule.timezone}</span></td>
        <td><${Next} schedule=${schedule} /></td>
        <td><${Strip} slots=${schedule.last_slots || []} /></td>
        <td>${schedule.job?.kind}</td>
        <td class="acts">${canWrite() && html`<button type="button" class="small" onClick=${() => runNow(schedule, done)} aria-label=${`Run now: ${schedule.name}`}>Run now</button>
          <button type="button" class="small quiet" onClick=${() => pause(schedule, done)} aria-label=${`${schedule.paused_at ? "Resume" : "Pause"} ${schedule.name}`}>${schedule.paused_at ? "Resume" : "Pause"}</button>
          <button type="button" class="small quiet" onClick=${() => remove(schedule, done)} aria-label=${`Remove ${schedule.name}`}>Remove</button>`}</td>
      </tr>`)}</tbody>
    </table><//>`}
  </div>`;
}

const path = (schedule) => `/schedules/${encodeURIComponent(schedule.name)}`;

const runNow = (schedule, done) =>
  attempt(async () => {
    const { id } = await api.send("POST", `${path(schedule)}/run`);
    toast(`Schedule ${schedule.name}: job ${id} enqueued`, { link: { title: "Open", to: href(["jobs", id]) } });
    done();
  });

const pause = (schedule, done) =>
  attempt(async () => {
    const word = schedule.paused_at ? "resume" : "pause";
    const answer = await api.send("POST", `${path(schedule)}/${word}`);
    toast(`Schedule ${schedule.name} ${word}d`, { undo: answer?.event ?? null });
    done();
  });

const remove = (schedule, done) =>
  openDialog(Confirm, {
    title: `Remove schedule ${schedule.name}?`,
    text: "Its jobs stay. This cannot be undone.",
    command: `jobq schedule remove ${shellWord(schedule.name)}`,
    verb: "Remove",
    run: async () => {
      await api.send("DELETE", path(schedule));
      toast(`Schedule ${schedule.name} removed`);
      done();
    },
  });

/** The wall-clock time in a zone, and its distance from UTC in minutes. */
function inZone(at, zone) {
  const parts = new Intl.DateTimeFormat("en-GB", {
    timeZone: zone, day: "2-digit", month: "short", hour: "2-digit", minute: "2-digit", timeZoneName: "longOffset",
  }).formatToParts(new Date(at));
  const part = (type) => parts.find((one) => one.type === type)?.value || "";
  return { text: `${part("day")} ${part("month")} ${part("hour")}:${part("minute")}`, offset: part("timeZoneName") };
}

function Next({ schedule }) {
  if (schedule.paused_at) return html`<span class="dim">none while paused</span>`;
  const slots = schedule.next_slots || (schedule.next_at ? [schedule.next_at] : []);
  if (!slots.length) return html`<span class="bad">never</span>`;
  let shown;
  try {
    shown = slots.map((slot) => ({ slot, ...inZone(slot, schedule.timezone) }));
  } catch {
    // The browser does not know the zone.
    shown = slots.map((slot) => ({ slot, text: slot, offset: "" }));
  }
  const changes = shown.findIndex(({ offset }) => offset !== shown[0].offset);
  return html`<details class="next"><summary><${Ago} at=${slots[0]} /> <span class="dim">${shown[0].text}</span>${changes > 0 && html` <span class="tag" title=${`the clock changes from ${shown[0].offset} to ${shown[changes].offset}`}>DST</span>`}</summary>
    <ol class="plain">${shown.map(({ slot, text, offset }, index) => html`<li key=${slot}><time datetime=${slot} title=${fullTime(slot)}>${text}</time> <span class="dim">${offset}</span>${index === changes && index > 0 ? html` <span class="tag">clock changed</span>` : ""}</li>`)}</ol>
  </details>`;
}

const WORDS = { completed: "ran", failed: "failed", cancelled: "cancelled", skipped: "skipped" };

/** The last slots, oldest first: height and colour say what came of each. */
function Strip({ slots }) {
  if (!slots.length) return html`<span class="dim">none yet</span>`;
  const shown = [...slots].sort((a, b) => millis(a.slot) - millis(b.slot)).slice(-60);
  const failed = shown.filter(({ state }) => state === "failed").length;
  const skipped = shown.filter(({ state }) => state === "skipped").length;
  const text = `the last ${shown.length} slots: ${failed} failed, ${skipped} skipped`;
  return html`<svg class="strip" viewBox=${`0 0 ${shown.length * 5} 16`} width=${shown.length * 5} height="16" role="img" aria-label=${text}>
    ${shown.map(({ slot, job, state }, index) => {
      const height = state === "skipped" ? 4 : state === "failed" ? 16 : 11;
      return html`<rect key=${slot} class=${`g-${state || "skipped"}`} x=${index * 5} y=${16 - height} width="4" height=${height}
        onClick=${() => job && (location.hash = href(["jobs", job]))}><title>${new Date(slot).toLocaleString("en-GB")}: ${WORDS[state] || state || "skipped"}${job ? `, job ${job}` : ""}</title></rect>`;
    })}
  </svg>`;
}

function NewSchedule({ done }) {
  const { exec } = features.get() || {};
  const [form, setForm] = useState({ name: "", cron: "0 2 * * *", timezone: Intl.DateTimeFormat().resolvedOptions().timeZone, missed: "once", overlap: "allow", kind: "", payload: "{}", command: "" });
  const [problem, setProblem] = useState(null);
  const change = (name) => (event) => setForm({ ...form, [name]: event.target.value });
  const submit = async () => {
    try {
      const { name, cron, timezone, missed, overlap } = form;
      let job;
      if (form.command.trim()) job = JSON.stringify({ command: splitCommand(form.command) });
      else {
        JSON.parse(form.payload);
        job = `{"kind":${JSON.stringify(form.kind)},"payload":${form.payload}}`;
      }
      const head = JSON.stringify({ name, cron, timezone, missed, overlap });
      await api.send("POST", "/schedules", `${head.slice(0, -1)},"job":${job}}`);
      closeDialog();
      toast(`Schedule ${name} added`);
      done();
    } catch (error) {
      setProblem(error);
    }
  };
  const choose = (name, values) => html`<select value=${form[name]} onChange=${change(name)}>${values.map((value) => html`<option key=${value} value=${value} selected=${value === form[name]}>${value}</option>`)}</select>`;
  const footer = html`<button type="button" onClick=${closeDialog}>Close</button><button type="submit" class="primary">Add</button>`;
  return html`<${Dialog} wide title="New schedule" close=${closeDialog} footer=${footer} onSubmit=${submit}>
    <div class="fields">
      <label>Name<input value=${form.name} onInput=${change("name")} autofocus /></label>
      <label>Rule<input class="code" value=${form.cron} placeholder="0 2 * * * or @every 90s" onInput=${change("cron")} /></label>
      <label>Time zone<input value=${form.timezone} onInput=${change("timezone")} /></label>
      <label>Missed slots${choose("missed", ["skip", "once", "all"])}</label>
      <label>Overlap${choose("overlap", ["allow", "skip"])}</label>
      <label>Kind<input value=${form.kind} disabled=${Boolean(form.command)} onInput=${change("kind")} /></label>
    </div>
    <label>Payload (JSON)<textarea class="code" rows="3" value=${form.payload} disabled=${Boolean(form.command)} onInput=${change("payload")}></textarea></label>
    ${exec && html`<label>Or a command<input class="code" value=${form.command} onInput=${change("command")} /></label>`}
    <${Trouble} problem=${problem} />
  <//>`;
}
