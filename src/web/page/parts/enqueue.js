// Adding a job, cloning one, and changing one that does not run.

import { html, useEffect, useId, useState } from "./html.js";
import * as api from "./api.js";
import { durationOption, plural } from "./format.js";
import { go, href } from "./router.js";
import { shellWord, splitCommand } from "./text.js";
import { Choice, closeDialog, copyText, Dialog, openDialog, Trouble } from "./ui.js";
import { attempt } from "./actions.js";
import { features } from "./features.js";
import { toast } from "./undo.js";

/** The fields besides what the job does: name, label, example. */
const FIELDS = [
  ["queue", "Queue", "default"], ["priority", "Priority", ""], ["in", "In", "10m"], ["retries", "Retries", "3"],
  ["timeout", "Timeout", "5m"], ["deadline", "Deadline", "2h"], ["tenant", "Tenant", ""], ["tags", "Tags", "env=prod, run=7"],
  ["key", "Concurrency key", ""], ["key_limit", "Key limit", "1"], ["unique", "Unique key", ""], ["after", "After jobs", "7, 8"],
];
const WHOLE_NUMBERS = ["retries", "key_limit"];
const EDITABLE = ["queue", "priority", "in", "retries", "timeout", "deadline", "tenant", "tags", "key", "key_limit"];
const PRIORITIES = ["low", "normal", "high", "urgent"];

export const newJob = () => openDialog(JobForm, { title: "New job", start: { kind: "", payload: "{}" } });

/** The form with what a job has; its payload letter for letter. */
export const cloneJob = (job) =>
  attempt(async () => openDialog(JobForm, { title: `Clone of job ${job.id}`, start: await asForm(job), after: job.id }));

export const editJob = (job, event) =>
  attempt(async () => openDialog(JobForm, { title: `Edit job ${job.id}`, start: await asForm(job), edits: job, event }));

async function asForm(job) {
  const form = {
    kind: job.kind, payload: await api.text(`/jobs/${job.id}/payload`),
    queue: job.queue, priority: job.priority, retries: String(job.max_retries),
    timeout: job.timeout_ms ? durationOption(job.timeout_ms) : "",
    tenant: job.tenant || "", tags: Object.entries(job.tags || {}).map(([name, value]) => `${name}=${value}`).join(", "),
    key: job.key || "", key_limit: job.key_limit ? String(job.key_limit) : "",
  };
  const command = job.kind === "exec" && job.payload?.command;
  return command ? { ...form, mode: "command", command: command.map(shellWord).join(" ") } : form;
}

/** The command that adds a job like this one. */
export function jobCommand(job, payload) {
  const words = ["jobq", "enqueue"];
  const option = (name, value) => value != null && value !== "" && words.push(`--${name}`, shellWord(String(value)));
  if (job.queue !== "default") option("queue", job.queue);
  if (job.priority !== "normal") option("priority", job.priority);
  option("tenant", job.tenant);
  for (const [name, value] of Object.entries(job.tags || {})) option("tag", `${name}=${value}`);
  const command = job.kind === "exec" && job.payload?.command;
  if (command) return [...words, "--", ...command.map(shellWord)].join(" ");
  if (job.kind === "exec" && job.payload?.shell) return [...words, "--shell", shellWord(job.payload.shell)].join(" ");
  option("kind", job.kind);
  if (payload !== "null") option("payload", payload);
  return words.join(" ");
}

export const copyJobCommand = (job) =>
  attempt(async () => {
    const [full, payload] = await Promise.all([api.get(`/jobs/${job.id}`), api.text(`/jobs/${job.id}/payload`)]);
    await copyText(jobCommand(full, payload));
    toast(`The command of job ${job.id} is copied`);
  });

/** The value that the API takes for the text of a field; null clears it. */
function valueOf(name, text) {
  if (text === "") return null;
  if (WHOLE_NUMBERS.includes(name)) {
    if (!/^\d+$/.test(text)) throw new Error(`${name.replace("_", " ")}: '${text}' is not a whole number`);
    return Number(text);
  }
  if (name === "tags") {
    return Object.fromEntries(text.split(",").map((tag) => tag.trim()).filter(Boolean).map((tag) => {
      const at = tag.indexOf("=");
      if (at < 1) throw new Error(`tags: '${tag}' is not NAME=VALUE`);
      return [tag.slice(0, at), tag.slice(at + 1)];
    }));
  }
  if (name === "after") {
    return text.split(/[\s,]+/).filter(Boolean).map((id) => {
      if (!/^\d+$/.test(id)) throw new Error(`after: '${id}' is no job`);
      return Number(id);
    });
  }
  return text;
}

/** The body as JSON text: the payload goes as it was typed, never through a float. */
function bodyOf(form, start, edits) {
  const parts = [];
  const add = (name, value) => parts.push(`${JSON.stringify(name)}:${value}`);
  const names = edits ? EDITABLE : FIELDS.map(([name]) => name);
  const checkPayload = () => {
    try {
      JSON.parse(form.payload);
    } catch (error) {
      throw new Error(`the payload is not JSON: ${error.message}`);
    }
    return form.payload;
  };
  if (form.mode === "command") {
    if (!edits || form.command !== start.command) {
      const argv = splitCommand(form.command || "");
      if (!argv.length) throw new Error("a command is wanted");
      add("command", JSON.stringify(argv));
    }
  } else {
    if (!form.kind) throw new Error("a kind is wanted");
    if (!edits) add("kind", JSON.stringify(form.kind));
    if (!edits || form.payload !== start.payload) add("payload", checkPayload());
  }
  for (const name of names) {
    const text = (form[name] || "").trim();
    if (edits ? text === (start[name] || "") : text === "") continue;
    const value = valueOf(name, text);
    // A tag that is gone is named, with null.
    const old = edits && name === "tags" ? Object.keys(edits.tags || {}).map((tag) => [tag, null]) : [];
    add(name, JSON.stringify(old.length ? { ...Object.fromEntries(old), ...value } : value));
  }
  return `{${parts.join(",")}}`;
}

function JobForm({ title, start, edits, event }) {
  const [form, setForm] = useState({ mode: "kind", priority: "normal", ...start });
  const [problem, setProblem] = useState(null);
  const [kinds, setKinds] = useState([]);
  const id = useId();
  const { kinds: builtIn = [], exec } = features.get() || {};
  useEffect(() => {
    api.get("/suggest", { field: "kind", prefix: "" }).then(({ values }) => setKinds(values), () => {});
  }, []);
  const change = (name) => (input) => setForm({ ...form, [name]: input.target.value });
  const submit = async () => {
    try {
      const body = bodyOf(form, start, edits);
      if (edits) await saveEdit(edits, body, event);
      else await add(body);
      closeDialog();
    } catch (error) {
      setProblem(error);
    }
  };
  const names = FIELDS.filter(([name]) => !edits || EDITABLE.includes(name));
  const footer = html`<button type="button" onClick=${closeDialog}>Close</button><button type="submit" class="primary">${edits ? "Save" : "Enqueue"}</button>`;
  return html`<${Dialog} wide title=${title} close=${closeDialog} footer=${footer} onSubmit=${submit}>
    ${exec && !edits && html`<${Choice} label="What it runs" value=${form.mode} choose=${(mode) => setForm({ ...form, mode })} options=${[["kind", "A kind"], ["command", "A command"]]} />`}
    ${form.mode === "command"
      ? html`<label>Command<input class="code" value=${form.command || ""} placeholder="convert in.png -resize 50% out.png" spellcheck=${false} onInput=${change("command")} autofocus /></label>
        <p class="dim">As typed: no shell, so no <code>|</code>, <code>${">"}</code> or <code>$</code>.</p>`
      : html`<label>Kind<input list=${`${id}-kinds`} value=${form.kind} disabled=${Boolean(edits)} spellcheck=${false} onInput=${change("kind")} autofocus=${!edits} /></label>
        <datalist id=${`${id}-kinds`}>${[...new Set([...kinds, ...builtIn])].filter((kind) => exec || kind !== "exec").map((kind) => html`<option key=${kind} value=${kind} />`)}</datalist>
        <label>Payload (JSON)<textarea class="code" rows=${Math.min(14, Math.max(4, form.payload.split("\n").length))} value=${form.payload} spellcheck=${false} onInput=${change("payload")}></textarea></label>`}
    <div class="fields">${names.map(([name, label, example]) => html`<label key=${name}>${label}
      ${name === "priority"
        ? html`<select value=${form.priority} onChange=${change("priority")}>${PRIORITIES.map((one) => html`<option key=${one} value=${one} selected=${one === form.priority}>${one}</option>`)}</select>`
        : html`<input value=${form[name] || ""} placeholder=${example} spellcheck=${false} onInput=${change(name)} />`}
    </label>`)}</div>
    <${Trouble} problem=${problem} />
  <//>`;
}

async function add(body) {
  const { id, state, duplicate } = await api.send("POST", "/jobs", body);
  const text = duplicate ? `Job ${id} has this unique key already` : `Job ${id} is ${state}`;
  toast(text, { link: { title: "Open", to: href(["jobs", id]) } });
  go(["jobs", id]);
}

async function saveEdit(job, body, event) {
  if (body === "{}") return;
  const headers = event ? { "If-Match": `"${event}"` } : {};
  const answer = await api.send("PATCH", `/jobs/${job.id}`, body, headers);
  const fields = Object.keys(JSON.parse(body)).length;
  toast(`Job ${job.id}: ${plural(fields, "change")} saved`, { undo: answer?.event ?? null });
}
