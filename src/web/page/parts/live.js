// What changes comes over one WebSocket (`jobq.v1`). A hidden tab closes it; a cut is mended with growing pauses, and
// every subscription goes on where it was. Where no socket can be had, the same data is asked for every two seconds.

import { shared, useEffect, useRef, useState } from "./html.js";
import * as api from "./api.js";

const POLL_MS = 2000;
const MAX_PAUSE_MS = 8000;
/** Sockets in a row that never said hello before the page asks instead. */
const MAX_FAILURES = 3;
const UNAUTHORIZED = 4401;

/** connecting · live · polling · offline · unauthorized · asleep */
export const status = shared("connecting");

const subscriptions = new Map();
let next = 1;
let socket = null;
let greeted = false;
let failures = 0;
let pause = 250;
let retry = 0;
let newest = null;
let allowed = true;

/** Whether the server has a socket at all. */
export function start({ live }) {
  allowed = live;
  wake();
}

/** Hears of a topic: `on.snapshot(data)`, `on.patch(patch)`, `on.error(problem)`. Returns what ends it. */
export function subscribe(topic, params, on) {
  const subscription = { number: next++, topic, params, on, timer: 0, etag: null };
  subscriptions.set(subscription.number, subscription);
  if (greeted) open(subscription);
  else if (status.get() === "polling") poll(subscription);
  return () => {
    clearTimeout(subscription.timer);
    subscriptions.delete(subscription.number);
    if (greeted) tell({ unsub: subscription.number });
  };
}

const tell = (message) => socket.send(JSON.stringify(message));

const open = ({ number, topic, params, on }) =>
  tell({ sub: number, topic, ...trimmed(params), ...(on.resume ? on.resume() : {}) });

const trimmed = (params) =>
  Object.fromEntries(Object.entries(params || {}).filter(([, value]) => value !== null && value !== undefined && value !== ""));

function wake() {
  clearTimeout(retry);
  if (document.hidden || status.get() === "unauthorized" || socket) return;
  if (!allowed) return startPolling();
  connect();
}

function connect() {
  if (status.get() !== "offline") status.set("connecting");
  const opened = new WebSocket(api.liveUrl(), "jobq.v1");
  socket = opened;
  opened.onopen = () => tell({ token: api.token(), ...(newest ? { since: newest } : {}) });
  opened.onmessage = (event) => hear(JSON.parse(event.data));
  opened.onclose = (event) => {
    if (socket === opened) lost(event.code);
  };
}

function lost(code) {
  const before = greeted;
  socket = null;
  greeted = false;
  if (document.hidden) return;
  if (code === UNAUTHORIZED) return status.set("unauthorized");
  failures = before ? 0 : failures + 1;
  if (failures >= MAX_FAILURES) return startPolling();
  status.set(before ? "connecting" : "offline");
  retry = setTimeout(wake, pause * (0.75 + Math.random() / 2));
  pause = Math.min(pause * 2, MAX_PAUSE_MS);
}

function hear(frame) {
  if (frame.at) newest = frame.at;
  if (frame.hello) {
    greeted = true;
    failures = 0;
    pause = 250;
    newest = frame.hello.at ?? newest;
    status.set("live");
    for (const subscription of subscriptions.values()) open(subscription);
    return;
  }
  const subscription = subscriptions.get(frame.sub);
  if (!subscription) return;
  const { on } = subscription;
  if (frame.resync) open(subscription);
  else if (frame.error) on.error?.(new api.Problem(frame.error, frame.error.status));
  else if ("snapshot" in frame) on.snapshot?.(frame.snapshot, frame.at);
  else if ("patch" in frame) on.patch?.(frame.patch, frame.at);
}

// ---- without a socket

const PATHS = {
  overview: () => ["/overview"],
  jobs: (params) => ["/jobs", params],
  job: ({ id }) => [`/jobs/${id}`],
  bulk: ({ id }) => [`/bulk/${id}`],
};

function startPolling() {
  status.set("polling");
  for (const subscription of subscriptions.values()) poll(subscription);
  // A socket may be had again later, for instance after the server was started anew.
  if (allowed) {
    retry = setTimeout(() => {
      failures = MAX_FAILURES - 1;
      stopPolling();
      wake();
    }, 15000);
  }
}

function stopPolling() {
  for (const subscription of subscriptions.values()) clearTimeout(subscription.timer);
}

async function poll(subscription) {
  clearTimeout(subscription.timer);
  const { number, topic, params, on } = subscription;
  try {
    if (topic === "logs" || topic === "events") await pollLines(subscription);
    else {
      const [path, query] = PATHS[topic](params);
      const answer = await api.getIfChanged(path, query, subscription.etag);
      if (answer && subscriptions.has(number)) {
        subscription.etag = answer.etag;
        on.snapshot?.(answer.data, answer.data.at);
      }
    }
    if (status.get() === "offline") status.set("polling");
  } catch (problem) {
    if (problem.type === "unreachable") status.set("offline");
    else on.error?.(problem);
  }
  if (subscriptions.has(number) && !socket && !document.hidden) {
    subscription.timer = setTimeout(() => poll(subscription), POLL_MS);
  }
}

async function pollLines(subscription) {
  const { topic, params, on } = subscription;
  const { id, job, ...rest } = { ...params, ...(on.resume ? on.resume() : {}) };
  const path = topic === "logs" ? `/jobs/${id}/logs` : `/jobs/${job}/events`;
  const page = await api.get(path, topic === "logs" ? rest : { after: rest.since });
  const news = topic === "logs" ? page.lines : page.events;
  if (news.length) on.patch?.(topic === "logs" ? { lines: news } : { events: news });
}

addEventListener("visibilitychange", () => {
  if (!document.hidden) {
    pause = 250;
    return wake();
  }
  clearTimeout(retry);
  stopPolling();
  if (socket) {
    const closing = socket;
    socket = null;
    greeted = false;
    closing.close(1000);
  }
  if (status.get() !== "unauthorized") status.set("asleep");
});
addEventListener("online", wake);

// ---- for components

/** A page of jobs with a patch applied: what was removed goes, what is new or changed comes, in the order given. */
export function patchJobs(page, patch) {
  const byId = new Map(page.jobs.map((job) => [job.id, job]));
  for (const id of patch.remove || []) byId.delete(id);
  const added = [];
  for (const job of patch.upsert || []) {
    if (!byId.has(job.id)) added.push(job);
    byId.set(job.id, job);
  }
  const order = patch.order || [...added.map((job) => job.id), ...page.jobs.map((job) => job.id)];
  const { upsert, remove, order: _, ...fields } = patch;
  return { ...page, ...fields, jobs: order.filter((id) => byId.has(id)).map((id) => byId.get(id)) };
}

const PATCHES = { jobs: patchJobs };
/** The event as of which the data is stands in the frame. */
const asOf = (data, at) => (at ? { ...data, at } : data);
const assign = (old, patch) => ({ ...old, ...patch });

/** `{data, error}` of a topic; nothing is asked for while `topic` is null. */
export function useLive(topic, params) {
  const key = topic && JSON.stringify([topic, params]);
  const [state, setState] = useState({ key: null, data: null, error: null });
  useEffect(() => {
    if (!topic) return undefined;
    const apply = PATCHES[topic] || assign;
    return subscribe(topic, params, {
      snapshot: (data, at) => setState({ key, data: asOf(data, at), error: null }),
      patch: (patch, at) =>
        setState((old) => (old.key === key && old.data ? { key, data: asOf(apply(old.data, patch), at), error: null } : old)),
      error: (error) => setState((old) => ({ key, data: old.key === key ? old.data : null, error })),
    });
  }, [key]);
  return state.key === key ? state : { data: null, error: null, old: state.data };
}

/** A value that follows another, at most so often. */
export function useSlow(value, ms) {
  const [slow, setSlow] = useState(value);
  const changed = useRef(0);
  useEffect(() => {
    if (Object.is(slow, value)) return undefined;
    const timer = setTimeout(() => {
      changed.current = Date.now();
      setSlow(() => value);
    }, Math.max(0, changed.current + ms - Date.now()));
    return () => clearTimeout(timer);
  }, [value, slow]);
  return slow;
}

/** The answer to a GET, asked anew when `change` differs, at most once a second. */
export function useGet(path, params, change) {
  const again = useSlow(change, 1000);
  const key = path && JSON.stringify([path, params]);
  const [state, setState] = useState({ key: null, data: null, error: null });
  useEffect(() => {
    if (!path) return undefined;
    const aborter = new AbortController();
    api.get(path, params, { signal: aborter.signal }).then(
      (data) => setState({ key, data, error: null }),
      (error) => error.name !== "AbortError" && setState((old) => ({ key, data: old.key === key ? old.data : null, error })),
    );
    return () => aborter.abort();
  }, [key, again]);
  return state.key === key ? state : { data: null, error: null, old: state.data };
}
