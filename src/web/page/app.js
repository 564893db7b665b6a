// The page: what is around every view, and which view is open.

import { html, render, useEffect, useRef, useShared, useState } from "./parts/html.js";
import * as api from "./parts/api.js";
import * as live from "./parts/live.js";
import { compact } from "./parts/format.js";
import { go, href, useRoute } from "./parts/router.js";
import { dialog, Icon, Loading, Trouble } from "./parts/ui.js";
import { canWrite, features } from "./parts/features.js";
import { newJob } from "./parts/enqueue.js";
import { KeysHelp, showKeys, useKeys } from "./parts/keys.js";
import { Palette, showPalette } from "./parts/palette.js";
import { nextTheme, theme } from "./parts/theme.js";
import { Toasts, undoNewest } from "./parts/undo.js";
import { Jobs } from "./views/jobs.js";
import { Overview } from "./views/overview.js";

const VIEWS = [
  ["overview", "Overview"], ["jobs", "Jobs"], ["queues", "Queues"], ["runners", "Runners"],
  ["schedules", "Schedules"], ["errors", "Errors"], ["charts", "Charts"],
];
/** A tenant's token sees jobs and their errors. */
const OF_TENANT = ["jobs", "errors"];

/** Views that are fetched when they are first opened. */
const LATER = {
  job: () => import("./views/job.js"), queues: () => import("./views/queues.js"), runners: () => import("./views/runners.js"),
  schedules: () => import("./views/schedules.js"), errors: () => import("./views/errors.js"), charts: () => import("./views/charts.js"),
};
const NAMES = { job: "Job", queues: "Queues", runners: "Runners", schedules: "Schedules", errors: "Errors", charts: "Charts" };

function Later({ view, ...props }) {
  const [loaded, setLoaded] = useState({});
  const [problem, setProblem] = useState(null);
  useEffect(() => {
    LATER[view]().then((module) => setLoaded({ view, component: module[NAMES[view]] }), setProblem);
  }, [view]);
  if (problem) return html`<div class="view"><${Trouble} problem=${problem} retry=${() => location.reload()} /></div>`;
  return loaded.view === view ? html`<${loaded.component} ...${props} />` : html`<div class="view"><${Loading} /></div>`;
}

function App() {
  const can = useShared(features);
  const [problem, setProblem] = useState(null);
  const status = useShared(live.status);
  const begin = () => {
    setProblem(null);
    api.get("/features").then((answer) => {
      features.set(answer);
      live.start(answer);
    }, setProblem);
  };
  useEffect(begin, []);
  if (problem?.status === 401 || status === "unauthorized") return html`<${NeedsToken} />`;
  if (problem) return html`<main class="view"><${Trouble} problem=${problem} retry=${begin} /></main>`;
  return can ? html`<${Frame} can=${can} status=${status} />` : html`<main class="view"><${Loading} /></main>`;
}

function NeedsToken() {
  const [text, setText] = useState("");
  const submit = (event) => {
    event.preventDefault();
    // The whole printed address may be pasted.
    api.setToken(text.trim().replace(/^.*token=/, ""));
    location.reload();
  };
  return html`<main class="view gate"><h1>jobq</h1>
    <p>Open the address that <code>jobq serve</code> printed; it carries the token of this server. Or paste it here.</p>
    <form onSubmit=${submit}><label>Address or token<input type="password" autocomplete="off" value=${text} autofocus onInput=${(event) => setText(event.target.value)} /></label>
      <button type="submit" class="primary">Open</button></form></main>`;
}

function Frame({ can, status }) {
  const route = useRoute();
  const views = can.tenant ? VIEWS.filter(([name]) => OF_TENANT.includes(name)) : VIEWS;
  const overview = live.useLive(can.tenant ? null : "overview", {});
  const known = views.some(([name]) => name === route.view);
  const view = known ? route.view : views[0][0];
  const main = useRef(null);
  const title = route.parts[0] === "jobs" && route.parts[1] ? `job ${route.parts[1]}` : view;
  useEffect(() => {
    document.title = `${title} · jobq`;
  }, [title]);
  const place = `${view}/${route.parts[1] || ""}`;
  const before = useRef(place);
  useEffect(() => {
    if (before.current === place) return;
    before.current = place;
    scrollTo(0, 0);
    // A screen reader hears the new view; nothing is drawn around it.
    main.current?.focus({ preventScroll: true });
  }, [place]);
  useKeys("Everywhere", {
    ...Object.fromEntries(views.map(([name, label], index) => [String(index + 1), [label.toLowerCase(), () => go([name])]])),
    "/": ["search jobs", () => toSearch()],
    "Ctrl+k :": ["go to, or do", showPalette],
    c: ["new job", () => canWrite() && newJob()],
    u: ["undo the last change", undoNewest],
    t: ["light, dark, as the system", nextTheme],
    "?": ["keys", showKeys],
  });
  return html`<a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>To the content</a>
    <header class="top">
      <a class="name" href=${href(["overview"])}><b>jobq</b> <span class="dim cut">${can.db}</span></a>
      <nav aria-label="Views">${views.map(([name, label]) => html`<a key=${name} href=${href([name])} aria-current=${name === view ? "page" : null}>${label}${name === "errors" && overview.data?.counts.failed ? html` <span class="badge num">${compact(overview.data.counts.failed)}<span class="hidden"> failed jobs</span></span>` : ""}</a>`)}</nav>
      <div class="tools">
        ${can.read_only && html`<span class="tag">read only</span>`}
        ${can.tenant && html`<span class="tag">${can.tenant}</span>`}
        <${Connection} status=${status} />
        ${canWrite() && html`<button type="button" class="quiet" title="New job (c)" aria-label="New job" onClick=${newJob}><${Icon} name="plus" /></button>`}
        <button type="button" class="quiet" title="Go to, or do (Ctrl K)" aria-label="Go to, or do" onClick=${showPalette}><${Icon} name="search" /></button>
        <${Theme} />
        <button type="button" class="quiet" title="Keys (?)" aria-label="Keys" onClick=${showKeys}>?</button>
      </div>
    </header>
    ${overview.data?.all_paused_at && view !== "queues" && html`<p class="banner">All queues are paused. <a href=${href(["queues"])}>Queues</a></p>`}
    <main id="main" ref=${main} tabindex="-1"><${View} view=${view} route=${route} overview=${overview} /></main>
    <${Toasts} /><${KeysHelp} /><${Palette} views=${views} overview=${overview.data} /><${OpenDialog} />`;
}

function View({ view, route, overview }) {
  const id = route.parts[1];
  const { data } = overview;
  if (view === "overview") return html`<${Overview} overview=${overview} />`;
  if (view === "jobs" && id) return html`<${Later} key=${id} view="job" id=${id} tab=${route.parts[2] || ""} />`;
  if (view === "jobs") return html`<${Jobs} counts=${data?.counts} />`;
  // Errors are read anew when more have failed; the others follow the history.
  return html`<${Later} view=${view} id=${id} overview=${overview} change=${data?.at} failed=${data?.counts.failed} />`;
}

function toSearch() {
  const focus = () => document.getElementById("search")?.focus();
  if (document.getElementById("search")) return focus();
  go(["jobs"]);
  return setTimeout(focus, 50);
}

function OpenDialog() {
  const now = useShared(dialog);
  return now ? html`<${now.component} key=${now.key} ...${now.props} />` : null;
}

const STATUS = {
  live: "live", connecting: "connecting", polling: "asking every 2 s", offline: "no connection", asleep: "asleep",
};

const Connection = ({ status }) => html`<span class=${`connection c-${status}`} role="status" title=${`Updates: ${STATUS[status]}`}><i></i><span class=${status === "live" ? "hidden" : ""}>${STATUS[status]}</span></span>`;

const THEMES = { auto: ["auto", "as the system"], light: ["sun", "light"], dark: ["moon", "dark"] };

function Theme() {
  const [icon, word] = THEMES[useShared(theme)];
  return html`<button type="button" class="quiet" title=${`Colours: ${word} (t)`} aria-label=${`Colours: ${word}`} onClick=${nextTheme}><${Icon} name=${icon} /></button>`;
}

api.takeToken();
addEventListener("hashchange", () => api.takeToken() && location.reload());
render(html`<${App} />`, document.getElementById("app"));
