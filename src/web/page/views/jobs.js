// The list of jobs: search, states, selection, and acting on what matches.

import { html, useEffect, useMemo, useRef, useState } from "../parts/html.js";
import * as api from "../parts/api.js";
import { useLive } from "../parts/live.js";
import { clockTime, compact, count, jobs as jobsText, plural } from "../parts/format.js";
import { go, href, set, useRoute } from "../parts/router.js";
import { tokens, Search, withWord, wordOf } from "../parts/search.js";
import { shellWord } from "../parts/text.js";
import { Ago, Empty, Icon, isFinal, Loading, Progress, State, STATES, Tags, Trouble } from "../parts/ui.js";
import { attempt, BULK, bulkIds, bulkMatching, cancelJob, removeJob, retryJob } from "../parts/actions.js";
import { canWrite } from "../parts/features.js";
import { copyJobCommand } from "../parts/enqueue.js";
import { useKeys } from "../parts/keys.js";
import { WhyChip } from "../parts/why.js";

const LIMIT = 50;

export function Jobs({ counts }) {
  const { params } = useRoute();
  const search = params.search || "";
  const query = { search, sort: params.sort, after: params.after, limit: LIMIT };
  const { data, error, old } = useLive("jobs", query);
  const [typing, setTyping] = useState(false);
  const change = (text) => go(["jobs"], { search: text, sort: params.sort });
  const page = data || old;
  const isSearchWrong = error && [400, 422].includes(error.status);
  return html`<div class="view">
    <h1 class="hidden">Jobs</h1>
    <${States} counts=${counts} search=${search} change=${change} />
    <div class="bar">
      <${Search} text=${search} change=${change} setTyping=${setTyping} problem=${isSearchWrong} />
      <${Sort} sort=${params.sort || ""} search=${search} />
      <${Export} search=${search} />
    </div>
    <${Trouble} problem=${error} />
    ${!page && !error && html`<${Loading} />`}
    ${page && !isSearchWrong && html`<${List} key=${JSON.stringify(query)} page=${page} stale=${!data} search=${search} params=${params} typing=${typing} />`}
  </div>`;
}

/** The states with their counts; choosing one changes the search. */
function States({ counts, search, change }) {
  const chosen = (wordOf(search, "state") || "").split(",").filter(Boolean);
  const total = counts && STATES.reduce((sum, state) => sum + (counts[state] || 0), 0);
  const toggle = (state) => (event) => {
    // With Ctrl several are chosen.
    const several = event.ctrlKey || event.metaKey || event.shiftKey;
    const rest = several ? chosen.filter((one) => one !== state) : [];
    const next = chosen.includes(state) && (several || chosen.length === 1) ? rest : [...rest, state];
    change(withWord(search, "state", next.join(",")));
  };
  return html`<div class="states" role="group" aria-label="States">
    <button type="button" aria-pressed=${String(!chosen.length)} onClick=${() => change(withWord(search, "state", ""))}>All${counts && html` <span class="num">${compact(total)}</span>`}</button>
    ${STATES.map((state) => html`<button type="button" key=${state} aria-pressed=${String(chosen.includes(state))} onClick=${toggle(state)}
      title=${counts ? `${count(counts[state] || 0)} ${state}` : state}>
      <${State} state=${state} />${counts && html`<span class="num">${compact(counts[state] || 0)}</span>`}
    </button>`)}
  </div>`;
}

const SORTS = [["", "newest first"], ["oldest", "oldest first"], ["updated", "last changed first"], ["finished", "last finished first"]];

const Sort = ({ sort, search }) => html`<label class="sort"><span class="hidden">Order</span>
  <select value=${sort} onChange=${(event) => go(["jobs"], { search, sort: event.target.value })}>
    ${SORTS.map(([value, title]) => html`<option key=${value} value=${value} selected=${value === sort}>${title}</option>`)}
  </select></label>`;

function Export({ search }) {
  const box = useRef(null);
  const save = (format) => () =>
    attempt(async () => {
      box.current.open = false;
      const link = document.createElement("a");
      link.href = URL.createObjectURL(await api.blob("/export", { format, search }));
      link.download = `jobs.${format}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
  return html`<details class="menu" ref=${box}><summary>Export</summary>
    <div class="list"><button type="button" onClick=${save("jsonl")}>JSON Lines</button><button type="button" onClick=${save("csv")}>CSV</button></div>
  </details>`;
}

/**
 * The rows. While somebody points at them, has chosen some or types, none comes, goes or moves: what is shown keeps its
 * place, changes where it stands, and a pill says what is new.
 */
function List({ page, stale, search, params, typing }) {
  const [held, setHeld] = useState(null);
  const [hover, setHover] = useState(false);
  const [focus, setFocus] = useState(false);
  const [selected, setSelected] = useState(new Set());
  const [cursor, setCursor] = useState(null);
  const known = useRef(new Map());
  const anchor = useRef(null);
  const table = useRef(null);
  for (const job of page.jobs) known.current.set(job.id, job);
  const live = page.jobs.map((job) => job.id);
  const busy = hover || focus || typing || selected.size > 0;
  useEffect(() => {
    setHeld(busy ? (now) => now || live : null);
  }, [busy]);
  const order = held || live;
  if (known.current.size > 4 * LIMIT) {
    const wanted = new Set([...order, ...live, ...selected]);
    for (const id of known.current.keys()) if (!wanted.has(id)) known.current.delete(id);
  }
  const present = useMemo(() => new Set(live), [page]);
  const waiting = held ? live.filter((id) => !held.includes(id)).length : 0;
  const left = held ? held.filter((id) => !present.has(id)).length : 0;
  const release = () => setHeld(busy ? live : null);

  const toggle = (id, event) => {
    const next = new Set(selected);
    const on = !next.has(id);
    const range = event?.shiftKey && anchor.current !== null ? between(order, anchor.current, id) : [id];
    for (const one of range) on ? next.add(one) : next.delete(one);
    anchor.current = id;
    setSelected(next);
  };
  const all = () => setSelected(selected.size === order.length ? new Set() : new Set(order));
  const at = cursor !== null && order.includes(cursor) ? cursor : null;
  const move = (step) => {
    const index = at === null ? (step > 0 ? 0 : order.length - 1) : order.indexOf(at) + step;
    const id = order[Math.max(0, Math.min(order.length - 1, index))];
    if (id === undefined) return;
    setCursor(id);
    table.current?.querySelector(`[data-job="${id}"]`)?.scrollIntoView({ block: "nearest" });
  };
  const here = at === null ? null : known.current.get(at);
  const chosen = [...selected];
  const act = (one, action) => () => {
    if (!canWrite()) return;
    if (chosen.length) bulkIds(action, chosen, () => setSelected(new Set()));
    else if (here) one(here.id);
  };
  useKeys("Jobs", {
    "j ArrowDown": ["next job", () => move(1)],
    "k ArrowUp": ["job before", () => move(-1)],
    g: ["first job", () => { setCursor(order[0] ?? null); scrollTo(0, 0); }],
    G: ["last job", () => { setCursor(order[order.length - 1] ?? null); scrollTo(0, document.body.scrollHeight); }],
    "Enter o": ["open the job", () => here && go(["jobs", here.id])],
    w: ["why it waits", () => here && go(["jobs", here.id])],
    L: ["its log", () => here && go(["jobs", here.id, "log"])],
    v: ["its graph", () => here && go(["jobs", here.id, "graph"])],
    "x": ["select", () => here && toggle(here.id)],
    "X": ["select up to here", () => here && toggle(here.id, { shiftKey: true })],
    "a": ["select the page", all],
    "A": ["act on everything that matches", () => canWrite() && bulkMatching(suited(search), search)],
    "r": ["retry", act(retryJob, "retry")],
    "C": ["cancel", act(cancelJob, "cancel")],
    "D": ["remove", act((id) => removeJob(id), "remove")],
    "y": ["copy the command", () => here && copyJobCommand(here)],
    "n": ["next page", () => page.next && set({ after: page.next })],
    "N": ["page before", () => params.after && history.back()],
    "Escape": ["give up the selection", () => (selected.size ? setSelected(new Set()) : setCursor(null))],
  });
  if (!order.length) return html`<${Nothing} search=${search} page=${page} params=${params} />`;
  const rows = order.map((id) => known.current.get(id)).filter(Boolean);
  return html`
    ${selected.size > 0
      ? html`<${Selection} chosen=${chosen.map((id) => known.current.get(id))} all=${selected.size === order.length} search=${search} clear=${() => setSelected(new Set())} />`
      : html`<${Everything} search=${search} />`}
    <div class="rows"><div class="pill" role="status">${waiting + left > 0 && html`<button type="button" onClick=${release}>${[waiting && `${waiting} new`, left && `${left} gone`].filter(Boolean).join(", ")}<span class="hidden">: show them</span></button>`}</div>
    <div class=${`scroll${stale ? " stale" : ""}`}>
    <table class="jobs" ref=${table} aria-rowcount=${page.complete && !page.next && !params.after ? rows.length : -1}
      onMouseEnter=${() => setHover(true)} onMouseLeave=${() => setHover(false)}
      onFocusIn=${() => setFocus(true)} onFocusOut=${(event) => !event.currentTarget.contains(event.relatedTarget) && setFocus(false)}>
      <caption class="hidden">Jobs</caption>
      <thead><tr>
        <th scope="col" class="check"><input type="checkbox" aria-label="Select the page" checked=${selected.size === order.length} indeterminate=${selected.size > 0 && selected.size < order.length} onChange=${all} /></th>
        <th scope="col" class="num">Job</th><th scope="col">State</th><th scope="col">Kind</th><th scope="col" class="grow">What</th>
        <th scope="col" class="when">When</th><th scope="col" class="num tries">Try</th><th scope="col" class="queue">Queue</th>
      </tr></thead>
      <tbody>${rows.map((job) => html`<${Row} key=${job.id} job=${job} page=${page} here=${job.id === at} selected=${selected.has(job.id)} gone=${held && !present.has(job.id)}
        toggle=${(event) => toggle(job.id, event)} enter=${() => setCursor(job.id)} />`)}</tbody>
    </table></div></div>
    <${More} page=${page} params=${params} />`;
}

const between = (order, from, to) => {
  const [a, b] = [order.indexOf(from), order.indexOf(to)].sort((x, y) => x - y);
  return order.slice(Math.max(a, 0), b + 1);
};

function Row({ job, page, here, selected, gone, toggle, enter }) {
  const to = href(["jobs", job.id]);
  const classes = [here && "here", selected && "selected", gone && "gone"].filter(Boolean).join(" ");
  const open = (event) => {
    if (event.target.closest("a, button, input") || String(getSelection())) return;
    if (event.ctrlKey || event.metaKey) window.open(to);
    else go(["jobs", job.id]);
  };
  return html`<tr class=${classes} data-job=${job.id} aria-selected=${String(selected)} onClick=${open}>
    <td class="check"><input type="checkbox" aria-label=${`Select job ${job.id}`} checked=${selected} onClick=${toggle} onFocus=${enter} /></td>
    <td class="num"><a href=${to} onFocus=${enter}>${job.id}</a></td>
    <td><${State} state=${job.state} /></td>
    <td class="kind cut">${job.kind}</td>
    <td class="grow"><div class="what"><span class="code cut">${job.task}</span><${Note} job=${job} at=${page.at} /></div></td>
    <td class="when"><${When} job=${job} /></td>
    <td class="num tries">${job.attempt > 1 || job.state === "failed" ? `${job.attempt}/${job.max_retries + 1}` : ""}</td>
    <td class="queue cut">${job.queue === "default" ? html`<span class="dim">default</span>` : job.queue}</td>
  </tr>`;
}

/** What one wants to know of it besides, by its state. */
function Note({ job, at }) {
  const notes = [];
  if (job.state === "running" && job.progress) notes.push(html`<${Progress} key="p" progress=${job.progress} label=${`progress of job ${job.id}`} />`);
  if (job.error && job.state !== "completed") notes.push(html`<span key="e" class="bad cut">${job.error}</span>`);
  if (job.children) {
    const { total, done, failed } = job.children;
    notes.push(html`<span key="c" class="dim">${count(done)} of ${plural(total, "child", "children")}${failed ? `, ${count(failed)} failed` : ""}</span>`);
  }
  if (["pending", "blocked", "waiting"].includes(job.state)) notes.push(html`<${WhyChip} key="w" id=${job.id} state=${job.state} at=${at} />`);
  if (job.tenant) notes.push(html`<span key="t" class="tag">${job.tenant}</span>`);
  if (job.tags) notes.push(html`<${Tags} key="g" tags=${job.tags} />`);
  return notes;
}

function When({ job }) {
  if (job.finished_at) return html`<${Ago} at=${job.finished_at} />`;
  if (job.state === "running") return html`<${Ago} at=${job.started_at} />`;
  if (job.state === "scheduled" && job.run_at) return html`<${Ago} at=${job.run_at} />`;
  return html`<${Ago} at=${job.created_at} />`;
}

/** Which action the search calls for. */
function suited(search) {
  const states = (wordOf(search, "state") || "").split(",");
  return states.some(isFinal) ? "retry" : "cancel";
}

function Everything({ search }) {
  if (!canWrite() || !search) return null;
  const states = (wordOf(search, "state") || "").split(",").filter(Boolean);
  const has = (final) => !states.length || states.some((state) => isFinal(state) === final);
  const names = [has(false) && "cancel", has(true) && "retry", has(true) && "remove"].filter(Boolean);
  return html`<div class="bar selection" role="group" aria-label="Everything that matches"><span class="dim">Everything that matches</span>
    ${names.map((name) => html`<button type="button" key=${name} class="small" onClick=${() => bulkMatching(name, search)}>${BULK[name].verb} all</button>`)}
  </div>`;
}

function Selection({ chosen, all, search, clear }) {
  const ids = chosen.map((job) => job.id);
  return html`<div class="bar selection" role="group" aria-label="Selection"><strong aria-live="polite">${jobsText(ids.length)} selected</strong>
    ${canWrite() && Object.entries(BULK).map(([name, { verb, applies }]) => {
      const suitable = chosen.filter(applies).map((job) => job.id);
      return html`<button type="button" key=${name} class="small" disabled=${!suitable.length} onClick=${() => bulkIds(name, suitable, clear)}>${verb}${suitable.length && suitable.length < ids.length ? ` ${suitable.length}` : ""}</button>`;
    })}
    ${all && search && canWrite() && html`<button type="button" class="quiet small" onClick=${() => bulkMatching(suited(search), search)}>All that match, not this page alone</button>`}
    <button type="button" class="quiet small" onClick=${clear}>Give up <kbd>Esc</kbd></button>
  </div>`;
}

function More({ page, params }) {
  const older = page.next ?? (page.complete ? null : page.searched_to);
  return html`<nav class="more" aria-label="Pages">
    ${params.after && html`<a href=${href(["jobs"], { ...params, after: null })}>First page</a>`}
    ${!page.complete && html`<span>Searched back to job ${count(page.searched_to)}${page.searched_at ? ` (${clockTime(page.searched_at)})` : ""}.</span>`}
    ${older && html`<a class="button" href=${href(["jobs"], { ...params, after: older })}>${page.complete || page.next ? "Next page" : "Go on"}${(page.complete || page.next) && html` <kbd>n</kbd>`}</a>`}
  </nav>`;
}

function Nothing({ search, page, params }) {
  if (!page.complete) {
    return html`<${Empty} title="No match so far"><${More} page=${page} params=${params} /></${Empty}>`;
  }
  if (params.after) return html`<${Empty} title="No more jobs"><p><a href=${href(["jobs"], { ...params, after: null })}>First page</a></p></${Empty}>`;
  if (!search) {
    return html`<${Empty} title="No jobs yet"><p>Type <code>jobq enqueue -- echo hello</code> and, in another terminal, <code>jobq run</code>.</p></${Empty}>`;
  }
  return html`<${Empty} title="No job matches">
    <p>${tokens(search).length > 1 && html`<a href=${href(["jobs"], { search: tokens(search).slice(0, -1).join(" ") })}>Without <code>${tokens(search).pop()}</code></a> or `}<a href=${href(["jobs"])}>show all jobs</a>.</p>
    <p class="dim">The same on the command line: <code>jobq list --search ${shellWord(search)}</code></p>
  </${Empty}>`;
}
