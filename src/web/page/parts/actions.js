// What can be done to jobs and queues, each with its words and its way back.

import { html, useEffect, useRef, useState } from "./html.js";
import * as api from "./api.js";
import { canWrite } from "./features.js";
import { subscribe } from "./live.js";
import { count, jobs, plural } from "./format.js";
import { href } from "./router.js";
import { closeDialog, Command, Dialog, isFinal, openDialog, State, Trouble } from "./ui.js";
import { failed, toast } from "./undo.js";

/** Runs a change and says what went wrong. */
export async function attempt(change) {
  try {
    return await change();
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    failed(problem);
    return null;
  }
}

const jobLink = (id) => ({ title: "Open", to: href(["jobs", id]) });

export const cancelJob = (id) =>
  attempt(async () => {
    const answer = await api.send("POST", `/jobs/${id}/cancel`);
    const asked = answer.result === "requested";
    toast(asked ? `Job ${id} was asked to stop` : `Job ${id} cancelled`, { undo: asked ? null : answer.event });
    return answer;
  });

export const retryJob = (id) =>
  attempt(async () => {
    const answer = await api.send("POST", `/jobs/${id}/retry`);
    toast(`Job ${id} is ${answer.state} again`, { link: jobLink(id) });
    return answer;
  });

export const removeJob = (id, done) =>
  openDialog(Confirm, {
    title: `Remove job ${id}?`,
    text: "The job, its history, its result and its log go. This cannot be undone.",
    command: `jobq remove ${id}`,
    verb: "Remove",
    run: async () => {
      await api.send("DELETE", `/jobs/${id}`);
      toast(`Job ${id} removed`);
      done?.();
    },
  });

export const pauseQueue = (name, pause) =>
  attempt(async () => {
    const word = pause ? "pause" : "resume";
    const answer = await api.send("POST", name === null ? `/${word}` : `/queues/${encodeURIComponent(name)}/${word}`);
    toast(`${name === null ? "All queues" : `Queue ${name}`} ${word}d`, { undo: answer.event });
    return answer;
  });

/** The remedy that comes with a verdict. */
export const runAction = (action) =>
  attempt(async () => {
    const answer = await api.send(action.method, action.path, action.body ?? undefined);
    toast(`Done: ${action.label}`, { undo: answer?.event ?? null });
    return answer;
  });

export const Remedy = ({ action }) =>
  action && canWrite()
    ? html`<button type="button" class="small" onClick=${() => runAction(action)}>${action.label}</button>`
    : null;

export function Confirm({ title, text, command, verb, run }) {
  const [problem, setProblem] = useState(null);
  const submit = async () => {
    try {
      await run();
      closeDialog();
    } catch (error) {
      setProblem(error);
    }
  };
  const footer = html`<button type="button" autofocus onClick=${closeDialog}>Keep</button><button type="submit" class="danger">${verb}</button>`;
  return html`<${Dialog} title=${title} close=${closeDialog} footer=${footer} onSubmit=${submit}>
    <p>${text}</p>
    ${command && html`<${Command} text=${command} />`}
    <${Trouble} problem=${problem} />
  <//>`;
}

// ---- many jobs

export const BULK = {
  cancel: { verb: "Cancel", done: "cancelled", applies: (job) => !isFinal(job.state), danger: true },
  retry: { verb: "Retry", done: "retried", applies: (job) => isFinal(job.state) },
  remove: { verb: "Remove", done: "removed", applies: (job) => isFinal(job.state), danger: true },
};

/** Acts on the jobs with these ids. Removing asks first. */
export async function bulkIds(action, ids, done) {
  if (action === "remove") {
    return openDialog(Confirm, {
      title: `Remove ${jobs(ids.length)}?`,
      text: "They go with their history, results and logs. This cannot be undone.",
      command: `jobq remove ${ids.join(" ")}`,
      verb: `Remove ${jobs(ids.length)}`,
      run: () => startIds(action, ids, done),
    });
  }
  return attempt(() => startIds(action, ids, done));
}

async function startIds(action, ids, done) {
  const { bulk } = await api.send("POST", "/jobs/bulk", { action, ids });
  done?.();
  const stop = subscribe("bulk", { id: bulk }, {
    snapshot: (state) => ended(state),
    patch: (state) => ended(state),
    error: (problem) => {
      failed(problem);
      stop();
    },
  });
  const ended = (state) => {
    if (!state.finished) return;
    stop();
    report(action, state);
  };
}

function report(action, { jobs: changed, refused, refusals, error }) {
  const text = `${jobs(changed)} ${BULK[action].done}`;
  if (error) toast(`${text}, then it stopped: ${error.detail}`, { bad: true, hint: error.hint });
  else if (refused) toast(`${text}, ${count(refused)} not`, { bad: true, hint: refusals?.[0] && `${refusals[0].id}: ${refusals[0].detail}` });
  else toast(text);
}

/** Acts on everything that matches, after showing what that is. */
export const bulkMatching = (action, search) => openDialog(Matching, { action, search });

function Matching({ action, search }) {
  const { verb, done, danger } = BULK[action];
  const [preview, setPreview] = useState(null);
  const [state, setState] = useState(null);
  const [problem, setProblem] = useState(null);
  const stop = useRef(null);
  const body = { action, filter: { search } };
  useEffect(() => {
    api.send("POST", "/jobs/bulk", { ...body, dry_run: true }).then(setPreview, setProblem);
    return () => stop.current?.();
  }, []);
  const begin = async () => {
    if (state || !preview?.jobs) return;
    try {
      const { bulk } = await api.send("POST", "/jobs/bulk", { ...body, as_of: preview.as_of, dry_run: false });
      setState({ bulk, jobs: 0, refused: 0, finished: false });
      stop.current = subscribe("bulk", { id: bulk }, {
        snapshot: setState,
        patch: (patch) => setState((old) => ({ ...old, ...patch })),
        error: setProblem,
      });
    } catch (error) {
      setProblem(error);
    }
  };
  const about = preview && `${preview.complete ? "" : "at least "}${jobs(preview.jobs)}`;
  const halt = () => attempt(() => api.send("DELETE", `/bulk/${state.bulk}`));
  let footer;
  if (state?.finished) footer = html`<button type="button" autofocus onClick=${closeDialog}>Close</button>`;
  else if (state) footer = html`<button type="button" onClick=${halt}>Stop</button>`;
  else {
    footer = html`<button type="button" autofocus onClick=${closeDialog}>Close</button>
      <button type="submit" class=${danger ? "danger" : "primary"} disabled=${!preview?.jobs}>${verb}${preview ? ` ${preview.complete ? jobs(preview.jobs) : "all that match"}` : ""}</button>`;
  }
  return html`<${Dialog} wide title=${`${verb} everything that matches`} close=${closeDialog} footer=${footer} onSubmit=${begin}>
    <p class="dim">${search ? html`<code>${search}</code>` : "All jobs, without a filter"}</p>
    ${!preview && !problem && html`<p aria-live="polite">Counting</p>`}
    ${preview && !state && html`<p class="lead">${about} can be ${done} now, as of event ${count(preview.as_of)}. Jobs enqueued later stay as they are.</p>`}
    ${state && html`<div class="lead" aria-live="polite">
      <p>${state.finished ? "" : "Working: "}${jobs(state.jobs)} ${done}${state.refused ? `, ${count(state.refused)} refused` : ""}${state.finished ? "." : ""}</p>
      <progress max=${Math.max(preview.jobs, state.jobs + (state.refused || 0), 1)} value=${state.finished ? Math.max(preview.jobs, 1) : state.jobs} aria-label="progress"></progress>
      ${state.refusals?.length > 0 && html`<ul class="plain">${state.refusals.map(({ id, detail }) => html`<li key=${id}>${id}: ${detail}</li>`)}</ul>`}
      ${state.error && html`<${Trouble} problem=${new api.Problem(state.error, state.error.status)} />`}
    </div>`}
    ${preview?.sample?.length > 0 && !state && html`<table>
      <caption>${preview.sample.length < preview.jobs ? `The first ${plural(preview.sample.length, "job")}` : "These"}</caption>
      <thead><tr><th scope="col" class="num">Job</th><th scope="col">State</th><th scope="col">Kind</th><th scope="col">What</th></tr></thead>
      <tbody>${preview.sample.map((job) => html`<tr key=${job.id}><td class="num">${job.id}</td><td><${State} state=${job.state} /></td><td>${job.kind}</td><td class="cut code">${job.task}</td></tr>`)}</tbody>
    </table>`}
    ${preview && html`<p class="dim">The same on the command line</p><${Command} text=${preview.command} />`}
    <${Trouble} problem=${problem} />
  <//>`;
}
