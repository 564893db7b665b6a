// A job's log. All lines are kept in memory, up to a bound; the document holds only those that are seen.

import { html, useEffect, useLayoutEffect, useMemo, useReducer, useRef, useState } from "./html.js";
import * as api from "./api.js";
import { subscribe } from "./live.js";
import { count, fullTime } from "./format.js";
import { look, parseLine } from "./ansi.js";
import { clean } from "./text.js";
import { Choice, Empty, Trouble } from "./ui.js";
import { useKeys } from "./keys.js";

const LINE_PX = 18;
const MARGIN_LINES = 20;
const MAX_LINES = 200000;
const PAGE = 1000;
/** A line longer than this is cut on the screen; the file has it whole. */
const MAX_CHARS = 4000;

/** The lines of a job, put together from pieces that may end within a line. */
class Lines {
  constructor() {
    this.all = [];
    this.dropped = 0;
    this.after = 0;
    this.open = new Map();
    this.styles = new Map();
  }

  add(pieces) {
    for (const piece of pieces) {
      if (piece.event <= this.after) continue;
      this.after = Math.max(this.after, piece.event);
      this.piece(piece);
    }
    if (this.all.length > MAX_LINES) {
      const spare = this.all.length - MAX_LINES;
      this.all.splice(0, spare);
      this.dropped += spare;
    }
  }

  piece(piece) {
    if (piece.stream === "log") {
      const fields = piece.fields && Object.keys(piece.fields).length ? ` ${JSON.stringify(piece.fields)}` : "";
      for (const [index, text] of `${piece.text}${fields}`.split("\n").entries()) this.line(piece, text, { continues: index > 0 });
      return;
    }
    const key = `${piece.attempt} ${piece.stream}`;
    const parts = piece.text.split("\n");
    const begun = this.open.get(key);
    if (begun) {
      begun.raw += parts.shift();
      this.parse(begun, key);
      if (!parts.length) return;
      this.styles.set(key, begun.after);
      this.open.delete(key);
    }
    const rest = parts.pop();
    for (const text of parts) this.line(piece, text, { key });
    if (rest) this.open.set(key, this.line(piece, rest, { key, isOpen: true }));
  }

  line({ event, at, attempt, stream, level }, raw, { key = null, continues = false, isOpen = false }) {
    const line = { event, at, attempt, stream, level: continues ? null : level, raw, before: this.styles.get(key) };
    this.parse(line, key);
    if (key && !isOpen) this.styles.set(key, line.after);
    this.all.push(line);
    return line;
  }

  parse(line) {
    const { spans, style } = parseLine(line.raw.length > MAX_CHARS ? `${line.raw.slice(0, MAX_CHARS)} …` : line.raw, line.before);
    line.spans = spans;
    line.after = style;
    line.text = clean(spans.map(({ text }) => text).join(""));
  }
}

export function Log({ job }) {
  const [, redraw] = useReducer((n) => n + 1, 0);
  const lines = useRef(null);
  lines.current ??= new Lines();
  const [stream, setStream] = useState("all");
  const [attempt, setAttempt] = useState("all");
  const [follow, setFollow] = useState(true);
  const [query, setQuery] = useState("");
  const [hit, setHit] = useState(0);
  const [problem, setProblem] = useState(null);
  const [whole, setWhole] = useState(false);
  const search = useRef(null);

  useEffect(() => {
    const kept = lines.current;
    let stop = null;
    let ended = false;
    let frame = 0;
    const soon = () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        redraw();
      });
    };
    const take = ({ lines: pieces }) => {
      kept.add(pieces);
      soon();
    };
    const read = async () => {
      for (;;) {
        const page = await api.get(`/jobs/${job.id}/logs`, { after: kept.after, limit: PAGE });
        if (ended) return;
        kept.add(page.lines);
        kept.after = Math.max(kept.after, page.next ?? 0);
        soon();
        if (page.at_end || !page.lines.length) break;
      }
      setWhole(true);
      stop = subscribe("logs", { id: job.id, after: kept.after }, {
        snapshot: take, patch: take, error: setProblem, resume: () => ({ after: kept.after }),
      });
    };
    read().catch(setProblem);
    return () => {
      ended = true;
      cancelAnimationFrame(frame);
      stop?.();
    };
  }, [job.id]);

  const all = lines.current.all;
  const attempts = [...new Set(all.map((line) => line.attempt).filter(Boolean))];
  const shown = useMemo(
    () => all.filter((line) => (stream === "all" || line.stream === stream) && (attempt === "all" || line.attempt === attempt)),
    [all.length, all[0], lines.current.after, stream, attempt],
  );
  const needle = query.toLowerCase();
  const hits = useMemo(
    () => (needle ? shown.flatMap((line, index) => (line.text.toLowerCase().includes(needle) ? [index] : [])) : []),
    [shown, needle],
  );
  const jump = (step) => {
    if (!hits.length) return;
    setFollow(false);
    setHit((hit + step + hits.length) % hits.length);
  };
  const target = hits.length ? hits[Math.min(hit, hits.length - 1)] : null;
  useKeys("Log", {
    "/": ["search in the log", () => search.current.focus()],
    n: ["next match", () => jump(1)],
    N: ["match before", () => jump(-1)],
    F: ["follow the end", () => setFollow(true)],
  });
  const save = async () => {
    const link = document.createElement("a");
    const text = await api.text(`/jobs/${job.id}/logs`, { format: "text" });
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = `job-${job.id}.log`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const onKeyDown = (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    jump(event.shiftKey ? -1 : 1);
  };
  return html`<section class="log" aria-label="Log">
    <div class="bar">
      <${Choice} label="Stream" value=${stream} choose=${setStream} options=${[["all", "All"], ["stdout", "stdout"], ["stderr", "stderr"], ["log", "log"]]} />
      ${attempts.length > 1 && html`<${Choice} label="Attempt" value=${attempt} choose=${setAttempt} options=${[["all", "All attempts"], ...attempts.map((one) => [one, String(one)])]} />`}
      <label class="find"><span class="hidden">Search in the log</span><input ref=${search} type="search" placeholder="Search" value=${query}
        onInput=${(event) => { setQuery(event.target.value); setHit(0); if (event.target.value) setFollow(false); }} onKeyDown=${onKeyDown} /></label>
      ${needle && html`<span class="dim" role="status">${hits.length ? `${count(Math.min(hit, hits.length - 1) + 1)} of ${count(hits.length)}` : "no match"}</span>`}
      <label class="switch"><input type="checkbox" checked=${follow} onChange=${(event) => setFollow(event.target.checked)} /> Follow</label>
      <button type="button" class="quiet" onClick=${save}>Download</button>
    </div>
    <${Trouble} problem=${problem} />
    ${lines.current.dropped > 0 && html`<p class="dim">The first ${count(lines.current.dropped)} lines are not kept here; the download has all.</p>`}
    ${!shown.length && !problem
      ? html`<${Empty} title=${whole ? emptyText(job, stream) : "Reading"} />`
      : html`<${Window} lines=${shown} follow=${follow} setFollow=${setFollow} target=${target} needle=${needle} severalAttempts=${attempts.length > 1} />`}
  </section>`;
}

const emptyText = (job, stream) =>
  stream !== "all" ? `Nothing on ${stream}` : job.started_at ? "It has printed nothing" : "It has not started yet";

/** The lines that are seen, and some above and below. */
function Window({ lines, follow, setFollow, target, needle, severalAttempts }) {
  const box = useRef(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(400);
  const own = useRef(0);
  useEffect(() => {
    const observer = new ResizeObserver(() => setHeight(box.current?.clientHeight || 400));
    observer.observe(box.current);
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (!follow) return;
    box.current.scrollTop = box.current.scrollHeight;
    own.current = box.current.scrollTop;
    setTop(box.current.scrollTop);
  }, [lines.length, follow, height]);
  useLayoutEffect(() => {
    if (target === null) return;
    box.current.scrollTop = Math.max(0, target * LINE_PX - height / 2);
    setTop(box.current.scrollTop);
  }, [target]);
  const onScroll = () => {
    const now = box.current.scrollTop;
    setTop(now);
    const atEnd = now + box.current.clientHeight >= box.current.scrollHeight - LINE_PX;
    if (follow && !atEnd && now < own.current) setFollow(false);
    else if (!follow && atEnd && target === null && now > own.current) setFollow(true);
    own.current = now;
  };
  const first = Math.max(0, Math.floor(top / LINE_PX) - MARGIN_LINES);
  const last = Math.min(lines.length, Math.ceil((top + height) / LINE_PX) + MARGIN_LINES);
  return html`<div class="lines" ref=${box} onScroll=${onScroll} tabindex="0" role="log" aria-live="off" aria-label=${`${count(lines.length)} lines`}>
    <div class="track" style=${{ height: `${lines.length * LINE_PX}px` }}>
      <ol class="shown" start=${first + 1} style=${{ transform: `translateY(${first * LINE_PX}px)` }}>
        ${lines.slice(first, last).map((line, index) => html`<${Line} key=${first + index} line=${line} text=${line.text} number=${first + index + 1} needle=${needle}
          isTarget=${first + index === target} begins=${severalAttempts && line.attempt !== lines[first + index - 1]?.attempt} />`)}
      </ol>
    </div>
  </div>`;
}

const time = (at) => new Date(at).toLocaleTimeString("en-GB");

function Line({ line, number, needle, isTarget, begins }) {
  const classes = ["line", `of-${line.stream}`, line.level && `level-${line.level}`, isTarget && "target", begins && "begins"].filter(Boolean).join(" ");
  return html`<li class=${classes} value=${number} title=${fullTime(line.at)}>
    <span class="gutter" aria-hidden="true">${time(line.at)}</span>
    ${line.level && html`<span class="level">${line.level}</span> `}
    <span class="said">${needle ? marked(line.text, needle) : line.spans.map(({ text, style }, index) => html`<span key=${index} ...${look(style)}>${text}</span>`)}</span>
    ${begins && html`<span class="attempt">attempt ${line.attempt}</span>`}
  </li>`;
}

/** The text with its matches marked. */
function marked(text, needle) {
  const parts = [];
  const lower = text.toLowerCase();
  let at = 0;
  for (let found = lower.indexOf(needle); found >= 0; found = lower.indexOf(needle, at)) {
    parts.push(text.slice(at, found), html`<mark key=${found}>${text.slice(found, found + needle.length)}</mark>`);
    at = found + needle.length;
  }
  return [...parts, text.slice(at)];
}
