// <jobq-status job="42" token="…" src="/jobq/"></jobq-status>: the state of one job in a page of your own.
//
//   job    the job's id
//   src    where `jobq serve` is, under the page's own origin; by default where this file came from
//   token  a token that may read the job, best one bound to a tenant and to reading (`--token-file`)
//   every  milliseconds between looks, 1000 by default
//
// It shows the state, a progress bar while the job runs, and its error. It fires `progress`, and once `done` or `failed`
// (cancelled too), each with the job as `detail`; then it is quiet. A hidden page asks for nothing.

const FINAL = ["completed", "failed", "cancelled"];
const MARKS = { scheduled: "◷", blocked: "⊟", pending: "○", running: "▶", waiting: "⧗", completed: "✓", failed: "✕", cancelled: "⊘" };
const MIN_MS = 250;
const MAX_PAUSE_MS = 30000;
const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

const STYLE = `
:host { display: inline-flex; align-items: center; gap: .5em; font: inherit; color: inherit; max-width: 100%; }
:host([hidden]) { display: none; }
.state { white-space: nowrap; }
progress { appearance: none; width: 9em; height: .5em; border: 0; border-radius: .25em; overflow: hidden; background: color-mix(in srgb, currentColor 18%, transparent); }
progress::-webkit-progress-bar { background: none; }
progress::-webkit-progress-value { background: var(--jobq-bar, #1f5fd0); }
progress::-moz-progress-bar { background: var(--jobq-bar, #1f5fd0); }
.said { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 0; opacity: .8; }
[hidden] { display: none; }`;

class JobqStatus extends HTMLElement {
  static observedAttributes = ["job", "src", "token"];

  #timer = 0;
  #aborter = null;
  #etag = null;
  #pause = 0;
  #isOver = false;
  #seen = () => this.#look();

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" });
    // A style sheet made by script needs no exception in a page's content security policy.
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    const part = (name, type) => {
      const element = document.createElement(type);
      element.className = name;
      element.setAttribute("part", name);
      element.hidden = true;
      root.append(element);
      return element;
    };
    this.parts = { state: part("state", "span"), bar: part("bar", "progress"), said: part("said", "span") };
    this.parts.state.setAttribute("role", "status");
    this.parts.bar.max = 100;
    this.parts.bar.setAttribute("aria-label", "progress");
  }

  connectedCallback() {
    document.addEventListener("visibilitychange", this.#seen);
    this.#begin();
  }

  disconnectedCallback() {
    document.removeEventListener("visibilitychange", this.#seen);
    this.#stop();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#begin();
  }

  #begin() {
    this.#stop();
    this.#etag = null;
    this.#pause = 0;
    this.#isOver = false;
    this.#look();
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#aborter?.abort();
    this.#aborter = null;
  }

  async #look() {
    clearTimeout(this.#timer);
    if (document.hidden || this.#isOver || this.#aborter || !this.getAttribute("job")) return;
    const aborter = new AbortController();
    this.#aborter = aborter;
    try {
      const job = await this.#ask(aborter.signal);
      this.#pause = 0;
      if (job) this.#show(job);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.#trouble(error);
    } finally {
      if (this.#aborter === aborter) this.#aborter = null;
    }
    const every = Math.max(MIN_MS, Number(this.getAttribute("every")) || 1000);
    if (!this.#isOver && this.isConnected && !aborter.signal.aborted) this.#timer = setTimeout(this.#seen, Math.max(every, this.#pause));
  }

  async #ask(signal) {
    const base = new URL(this.getAttribute("src") || ".", this.hasAttribute("src") ? document.baseURI : import.meta.url);
    const path = new URL(`api/v1/jobs/${encodeURIComponent(this.getAttribute("job"))}`, base.href.replace(/\/?$/, "/"));
    const headers = {};
    if (this.getAttribute("token")) headers.Authorization = `Bearer ${this.getAttribute("token")}`;
    if (this.#etag) headers["If-None-Match"] = this.#etag;
    const response = await fetch(path, { headers, signal, cache: "no-store" });
    if (response.status === 304) return null;
    const body = await response.json().catch(() => ({}));
    if (!response.ok) throw Object.assign(new Error(body.detail || `the server answered ${response.status}`), { status: response.status });
    this.#etag = response.headers.get("ETag");
    return body;
  }

  #show(job) {
    const { percent = null, message = null } = job.progress || {};
    const isRunning = !FINAL.includes(job.state);
    this.setAttribute("state", job.state);
    this.#text("state", `${MARKS[job.state] || ""} ${job.state}${isRunning && percent !== null ? ` ${Math.floor(percent)} %` : ""}`);
    this.parts.bar.hidden = !(isRunning && percent !== null);
    if (percent !== null) this.parts.bar.value = percent;
    this.#text("said", job.state === "failed" ? job.error : isRunning ? message : null);
    this.#fire("progress", job);
    if (isRunning) return;
    this.#isOver = true;
    this.#fire(job.state === "completed" ? "done" : "failed", job);
  }

  #trouble(error) {
    // A job that is not there, or not to be seen, does not come by asking again.
    if (error.status >= 400 && error.status < 500 && error.status !== 429) this.#isOver = true;
    this.#pause = Math.min(MAX_PAUSE_MS, Math.max(1000, this.#pause * 2));
    this.#text("said", error.status ? error.message : "no answer");
  }

  #text(name, text) {
    this.parts[name].hidden = !text;
    this.parts[name].textContent = (text || "").replace(UNSAFE, "\ufffd");
  }

  #fire(name, job) {
    this.dispatchEvent(new CustomEvent(name, { detail: job, bubbles: true, composed: true }));
  }
}

customElements.define("jobq-status", JobqStatus);
