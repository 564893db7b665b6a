// One job: what it is, why it does not run, where its time went, its attempts, log, history and graph.

import { html, useEffect, useState } from "../parts/html.js";
import * as api from "../parts/api.js";
import { useGet, useLive } from "../parts/live.js";
import { bytes, count, duration, millis } from "../parts/format.js";
import { go, href } from "../parts/router.js";
import { searchWord, shellWord } from "../parts/text.js";
import { Ago, Clock, Copy, Empty, isFinal, Loading, Marked, Progress, Scroll, Since, State, Tabs, Tags, Trouble } from "../parts/ui.js";
import { cancelJob, Remedy, removeJob, retryJob } from "../parts/actions.js";
import { canWrite } from "../parts/features.js";
import { cloneJob, copyJobCommand, editJob } from "../parts/enqueue.js";
import { Log } from "../parts/log.js";
import { Graph } from "../parts/graph.js";
import { useKeys } from "../parts/keys.js";
import { isAbout } from "../parts/why.js";
import { TimeBar } from "../parts/timebar.js";

const TABS = [["", "Job"], ["log", "Log"], ["history", "History"], ["graph", "Graph"]];

export function Job({ id, tab = "" }) {
  const { data: job, error } = useLive("job", { id });
  const back = () => (history.length > 1 ? history.back() : go(["jobs"]));
  const to = (name) => () => go(name ? ["jobs", id, name] : ["jobs", id]);
  const write = (act) => () => job && canWrite() && act();
  useKeys("Job", {
    Escape: ["back", back],
    w: ["why", to("")],
    L: ["log", to("log")],
    v: ["graph", to("graph")],
    h: ["history", to("history")],
    y: ["copy the command", () => job && copyJobCommand(job)],
    r: ["retry", write(() => retryJob(id))],
    c: ["clone", write(() => cloneJob(job))],
    e: ["edit", write(() => isEditable(job) && editJob(job))],
    C: ["cancel", write(() => cancelJob(id))],
    D: ["remove", write(() => removeJob(id, () => go(["jobs"])))],
  });
  if (error && !job) {
    return html`<div class="view"><${Trouble} problem=${error} />${error.status === 404 && html`<p><a href=${href(["jobs"])}>All jobs</a></p>`}</div>`;
  }
  if (!job) return html`<div class="view"><${Loading} /></div>`;
  const tabs = TABS.map(([name, title]) => ({ name, title, to: href(name ? ["jobs", id, name] : ["jobs", id]) }));
  return html`<div class=${`view job${tab === "log" ? " fills" : ""}`}>
    <${Trouble} problem=${error} />
    <${Head} job=${job} />
    <${Tabs} label="Parts of the job" tabs=${tabs} open=${tab} />
    ${tab === "" && html`<${Summary} job=${job} />`}
    ${tab === "log" && html`<${Log} job=${job} />`}
    ${tab === "history" && html`<${History} job=${job} />`}
    ${tab === "graph" && html`<${Graph} id=${id} change=${job.at} />`}
  </div>`;
}

const isEditable = (job) => ["scheduled", "blocked", "pending"].includes(job.state);

function Head({ job }) {
  const final = isFinal(job.state);
  const editable = isEditable(job);
  return html`<header class="head">
    <h1><span class="num">${job.id}</span> <span class="kind">${job.kind}</span></h1>
    <${State} state=${job.state} />
    ${job.state === "running" && html`<${Progress} progress=${job.progress} />`}
    <div class="acts">
      ${canWrite() && !final && html`<button type="button" class="danger" onClick=${() => cancelJob(job.id)}>Cancel</button>`}
      ${canWrite() && final && html`<button type="button" class="primary" onClick=${() => retryJob(job.id)}>Retry</button>`}
      ${canWrite() && editable && html`<button type="button" onClick=${() => editJob(job)}>Edit</button>`}
      ${canWrite() && html`<button type="button" onClick=${() => cloneJob(job)}>Clone</button>`}
      <button type="button" class="quiet" onClick=${() => copyJobCommand(job)}>Copy command</button>
      ${canWrite() && final && html`<button type="button" class="quiet" onClick=${() => removeJob(job.id, () => go(["jobs"]))}>Remove</button>`}
    </div>
  </header>`;
}

function Summary({ job }) {
  const final = isFinal(job.state);
  const waits = !final && job.state !== "running";
  // The verdict in the job's own JSON has no remedy; that comes with the question.
  const { data: why } = useGet(waits ? `/jobs/${job.id}/why` : null, {}, `${job.state} ${job.at}`);
  const told = (waits && why && isAbout(why, job.state) && why) || job.why;
  return html`
    ${told && !["completed"].includes(job.state) && html`<section class=${`why${waits || job.state === "failed" ? " stands" : ""}`} aria-label="Why">
      <p><${Marked} text=${told.message} /></p>
      ${told.hint && html`<p class="dim"><${Marked} text=${told.hint} /></p>`}
      <${Remedy} action=${told.action} />
    </section>`}
    <${TimeBar} job=${job} />
    <${Attempts} job=${job} />
    <div class="columns">
      <${Facts} job=${job} />
      <div>
        <${Text} job=${job} name="payload" title=${job.kind === "exec" ? "Command" : "Payload"} />
        ${job.result !== null && html`<${Text} job=${job} name="result" title="Result" />`}
        ${job.error && html`<section><h2>Error</h2><pre class="box bad">${job.error}</pre><p><a href=${href(["jobs"], { search: `state:failed error:${searchWord(firstLine(job.error))}` })}>Failed jobs with this error</a></p></section>`}
      </div>
    </div>`;
}

const firstLine = (text) => text.split("\n", 1)[0].slice(0, 120);

function Attempts({ job }) {
  const list = job.attempts || [];
  if (!list.length) return null;
  const shown = list.slice(-100).reverse();
  return html`<section><h2>Attempts <span class="num dim">${list.length}</span></h2><${Scroll} label="Attempts"><table>
    <thead><tr><th scope="col" class="num">Try</th><th scope="col">Outcome</th><th scope="col">Started</th><th scope="col" class="num">Took</th><th scope="col" class="num">CPU</th><th scope="col" class="num">Memory</th><th scope="col">Worker</th><th scope="col" class="grow">Error</th></tr></thead>
    <tbody>${shown.map((one) => html`<tr key=${one.attempt}>
      <td class="num">${one.attempt}</td>
      <td>${one.outcome ?? html`<${State} state="running" />`}</td>
      <td><${Clock} at=${one.started_at} /></td>
      <td class="num">${one.finished_at ? duration(one.duration_ms) : html`<${Since} at=${one.started_at} />`}</td>
      <td class="num">${one.cpu_ms == null ? "" : duration(one.cpu_ms)}</td>
      <td class="num">${bytes(one.max_rss_bytes)}</td>
      <td>${one.runner == null ? "" : html`<a class="under" href=${href(["runners", one.runner])}>${one.runner}</a>${one.worker == null ? "" : `/${one.worker}`}`}</td>
      <td class="grow bad cut" title=${one.error || ""}>${one.error || (one.exit_code ? `exit code ${one.exit_code}` : "")}</td>
    </tr>`)}</tbody>
  </table><//></section>`;
}

function Facts({ job }) {
  const link = (word, value) => html`<a href=${href(["jobs"], { search: `${word}:${searchWord(value)}` })}>${value}</a>`;
  const others = (ids) => ids.map((one, index) => html`${index ? ", " : ""}<a key=${one} href=${href(["jobs", one])}>${one}</a>`);
  const facts = [
    ["Queue", link("queue", job.queue)],
    ["Priority", job.priority],
    ["Retries", `${count(job.retries_left)} of ${count(job.max_retries)} left${job.backoff ? `, ${job.backoff}` : ""}`],
    ["Timeout", job.timeout_ms && duration(job.timeout_ms)],
    ["Created", html`<${Clock} at=${job.created_at} /> <span class="dim">(<${Ago} at=${job.created_at} />)</span>`],
    ["Due", job.run_at && html`<${Clock} at=${job.run_at} /> <span class="dim">(<${Ago} at=${job.run_at} />)</span>`],
    ["Deadline", job.deadline && html`<${Clock} at=${job.deadline} />`],
    ["Started", job.started_at && html`<${Clock} at=${job.started_at} />`],
    ["Finished", job.finished_at && html`<${Clock} at=${job.finished_at} />`],
    ["Worker", job.runner != null && html`${job.worker ?? "a worker"} of <a href=${href(["runners", job.runner])}>runner ${job.runner}</a>`],
    ["Tenant", job.tenant && link("tenant", job.tenant)],
    ["Tags", job.tags && html`<${Tags} tags=${job.tags} />`],
    ["Unique key", job.unique_key],
    ["Concurrency key", job.key],
    ["After", job.depends_on?.length && others(job.depends_on)],
    ["Parent", job.parent_id && html`<a href=${href(["jobs", job.parent_id])}>${job.parent_id}</a>`],
    ["Children", job.children && html`<a href=${href(["jobs"], { search: `parent:${job.id}` })}>${count(job.children.done)} of ${count(job.children.total)} done</a>${job.children.failed ? html`, <a href=${href(["jobs"], { search: `parent:${job.id} state:failed` })}>${count(job.children.failed)} failed</a>` : ""}`],
    ["Hooks", job.hook_jobs?.length && others(job.hook_jobs)],
    ["Hook of", job.hook_of && html`<a href=${href(["jobs", job.hook_of])}>${job.hook_of}</a>`],
    ["Schedule", job.schedule && html`<a href=${href(["schedules"])}>${job.schedule}</a>${job.slot && html`, slot of <${Clock} at=${job.slot} />`}`],
    ["Trace", job.traceparent && html`<span class="code">${job.traceparent}</span>`],
  ];
  return html`<section><h2>Facts</h2><dl class="facts">${facts.filter(([, value]) => value).map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></section>`;
}

/** A text of the job, asked for by itself and shown letter for letter; JSON is indented without reading its numbers. */
function Text({ job, name, title }) {
  const [state, setState] = useState({});
  const [raw, setRaw] = useState(false);
  useEffect(() => {
    let ended = false;
    api.text(`/jobs/${job.id}/${name}`).then((text) => ended || setState({ text }), (problem) => ended || setState({ problem }));
    return () => {
      ended = true;
    };
  }, [job.id, name === "result" ? job.finished_at : isEditable(job) && job.updated_at]);
  if (state.problem) return html`<section><h2>${title}</h2><${Trouble} problem=${state.problem} /></section>`;
  if (state.text === undefined) return html`<section><h2>${title}</h2></section>`;
  const { text } = state;
  const command = name === "payload" && !raw ? commandText(job) : null;
  const shown = text.length > 200000 ? `${text.slice(0, 200000)} …` : text;
  return html`<section><h2>${title} <span class="dim num">${bytes(new Blob([text]).size)}</span>
      <span class="acts"><button type="button" class="quiet small" aria-pressed=${String(raw)} onClick=${() => setRaw(!raw)}>As stored</button><${Copy} text=${text} /></span></h2>
    <pre class="box" tabindex="0">${command ?? (raw ? shown : indent(shown))}</pre>
    ${command && job.payload.cwd && html`<p class="dim">in <code>${job.payload.cwd}</code></p>`}</section>`;
}

/** The command of an exec job as one would type it. */
function commandText({ kind, payload }) {
  if (kind !== "exec" || !payload) return null;
  if (payload.shell) return payload.shell;
  return Array.isArray(payload.command) ? payload.command.map(shellWord).join(" ") : null;
}

/** Indents JSON by its brackets alone, so that a number stays as it was written. */
export function indent(json) {
  let depth = 0;
  let out = "";
  let quoted = false;
  const line = () => `\n${"  ".repeat(Math.max(0, depth))}`;
  for (let i = 0; i < json.length; i++) {
    const c = json[i];
    if (quoted) {
      out += c;
      if (c === "\\") out += json[++i] ?? "";
      else if (c === '"') quoted = false;
    } else if (c === '"') {
      quoted = true;
      out += c;
    } else if (c === "{" || c === "[") {
      const close = /^\s*([}\]])/.exec(json.slice(i + 1, i + 50));
      if (close) {
        out += c + close[1];
        i += close[0].length;
      } else {
        depth++;
        out += c + line();
      }
    } else if (c === "}" || c === "]") {
      depth--;
      out += line() + c;
    } else if (c === ",") out += c + line();
    else if (c === ":") out += ": ";
    else if (!/\s/.test(c)) out += c;
  }
  return out;
}

const OUTPUT = ["job_stdout", "job_stderr", "job_log"];

function History({ job }) {
  const { data, error } = useGet(`/jobs/${job.id}/events`, { limit: 200 }, job.at);
  if (error) return html`<${Trouble} problem=${error} />`;
  if (!data) return html`<${Loading} />`;
  const events = data.events.filter((event) => !OUTPUT.includes(event.kind));
  if (!events.length) return html`<${Empty} title="Its history was removed" />`;
  return html`<section><${Scroll} label="History"><table>
    <thead><tr><th scope="col" class="num">Event</th><th scope="col">Time</th><th scope="col" class="num">Later by</th><th scope="col" class="grow">What happened</th></tr></thead>
    <tbody>${events.map((event, index) => html`<tr key=${event.id}>
      <td class="num dim">${event.id}</td><td><${Clock} at=${event.at} /></td>
      <td class="num dim">${index ? duration(millis(event.at) - millis(events[index - 1].at)) : ""}</td>
      <td class="grow wrap">${event.text}</td>
    </tr>`)}</tbody>
  </table><//>
  ${!data.at_end && html`<p class="dim">These are the first. <code>jobq events --since ${data.next}</code> shows what followed.</p>`}</section>`;
}
