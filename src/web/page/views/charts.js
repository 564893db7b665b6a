// Charts over time. Dragging over one filters: its jobs are one click away. uPlot is fetched only here.

import { html, useEffect, useRef, useState } from "../parts/html.js";
import { useGet } from "../parts/live.js";
import { clockTime, count, duration, millis } from "../parts/format.js";
import { href, set, useRoute } from "../parts/router.js";
import { clean } from "../parts/text.js";
import { Choice, Empty, Loading, Trouble } from "../parts/ui.js";
import { useKeys } from "../parts/keys.js";

const MINUTE_MS = 60000;
const HOUR_MS = 60 * MINUTE_MS;
const RANGES = [["1h", "1 h"], ["6h", "6 h"], ["24h", "24 h"], ["72h", "72 h"], ["30d", "30 d"], ["90d", "90 d"]];
const SPANS = { "1h": HOUR_MS, "6h": 6 * HOUR_MS, "24h": 24 * HOUR_MS, "72h": 72 * HOUR_MS, "30d": 720 * HOUR_MS, "90d": 2160 * HOUR_MS };
const STEPS = { "1h": "1m", "6h": "5m", "24h": "15m", "72h": "1h", "30d": "6h", "90d": "1d" };
const SPAN_STEPS_MS = [MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS];
const STEP_NAMES = ["1m", "5m", "15m", "1h", "6h", "1d"];
const TOP = 6;

export function Charts({ change }) {
  const { params } = useRoute();
  const range = params.range || "1h";
  const by = params.by || "none";
  const now = Math.ceil(Date.now() / MINUTE_MS) * MINUTE_MS;
  const to = params.to ? millis(params.to) : now;
  const from = params.from ? millis(params.from) : now - SPANS[range];
  const step = params.from ? stepOf(to - from) : STEPS[range];
  const query = { from: new Date(from).toISOString(), to: new Date(to).toISOString(), step, by };
  const { data, error, old } = useGet("/stats", query, Math.floor((change || 0) / 1000));
  const runners = useGet("/runners", { all: 1 }, null);
  const stats = data || old;
  useKeys("Charts", {
    "+": ["closer", () => zoom(-1, range)],
    "-": ["wider", () => zoom(1, range)],
  });
  const marks = (runners.data?.runners || []).flatMap((runner) => [
    { at: millis(runner.started_at), text: `runner ${runner.id} started` },
    ...(runner.state === "offline" ? [{ at: millis(runner.heartbeat_at), text: `runner ${runner.id} gone` }] : []),
  ]).filter((mark) => mark.at >= from && mark.at <= to);
  return html`<div class="view charts">
    <h1 class="hidden">Charts</h1>
    <div class="bar">
      <${Choice} label="Range" value=${params.from ? "" : range} choose=${(value) => set({ range: value, from: null, to: null })} options=${RANGES} />
      <${Choice} label="By" value=${by} choose=${(value) => set({ by: value === "none" ? null : value })} options=${[["none", "All"], ["kind", "By kind"], ["queue", "By queue"]]} />
      ${params.from && html`<span>${clockTime(from)} to ${clockTime(to)}</span>
        <a class="button" href=${href(["jobs"], { search: `since:${query.from} until:${query.to}` })}>Jobs enqueued then</a>
        <a class="button" href=${href(["jobs"], { search: `state:failed since:${query.from} until:${query.to}` })}>Failed ones</a>`}
    </div>
    <${Trouble} problem=${error} />
    ${!stats && !error && html`<${Loading} />`}
    ${stats && !stats.series.some((series) => series.points.length) && html`<${Empty} title="Nothing ended in this time" />`}
    ${stats && stats.series.some((series) => series.points.length) && html`<${Panels} stats=${stats} by=${by} from=${from} to=${to} marks=${marks} />`}
  </div>`;
}

const stepOf = (ms) => STEP_NAMES[Math.max(0, SPAN_STEPS_MS.findIndex((step) => ms / step <= 120))] || "1d";

function zoom(by, range) {
  const names = RANGES.map(([name]) => name);
  const next = names[names.indexOf(range) + by];
  if (next) set({ range: next, from: null, to: null });
}

function Panels({ stats, by, from, to, marks }) {
  const all = [...stats.series].sort((a, b) => sum(b) - sum(a));
  const series = all.slice(0, TOP);
  const perMinute = MINUTE_MS / stats.step_ms;
  const select = (a, b) => set({ from: new Date(a).toISOString(), to: new Date(b).toISOString(), range: null });
  const grid = times(from, to, stats.step_ms, series);
  const line = (one, field, scale = 1) => {
    const points = new Map(one.points.map((point) => [millis(point.at), point[field]]));
    return grid.map((at) => (points.has(at) && points.get(at) !== null ? points.get(at) * scale : scale === 1 ? null : 0));
  };
  // The legend is not drawn by Preact, so its texts are cleaned here.
  const name = (one) => clean(one.name ?? "all");
  const throughput = by === "none"
    ? [["completed", line(series[0], "completed", perMinute), "completed"], ["failed", line(series[0], "failed", perMinute), "failed"], ["retried", line(series[0], "retried", perMinute), "retry"]]
    : series.map((one, index) => [name(one), line(one, "completed", perMinute), index]);
  const failures = by === "none" ? null : series.map((one, index) => [name(one), line(one, "failed", perMinute), index]);
  const times3 = (what) => by === "none"
    ? ["p50", "p95", "p99"].map((p, index) => [p, line(series[0], `${what}_${p}_ms`), index])
    : series.map((one, index) => [name(one), line(one, `${what}_p95_ms`), index]);
  const common = { grid, select, marks };
  const per = by === "none" ? "" : ", p95";
  return html`<${Chart} title="Jobs a minute" lines=${throughput} format=${(n) => (n < 10 ? n.toFixed(1).replace(/\.0$/, "") : count(Math.round(n)))} ...${common} />
    ${failures && html`<${Chart} title="Failures a minute" lines=${failures} format=${(n) => n.toFixed(1).replace(/\.0$/, "")} ...${common} />`}
    <${Chart} title=${`Run time${per}`} lines=${times3("run")} format=${duration} ...${common} />
    <${Chart} title=${`Wait${per}`} lines=${times3("wait")} format=${duration} ...${common} />
    ${all.length > TOP && html`<p class="dim">The ${TOP} with the most jobs of ${all.length} are drawn.</p>`}
    <${Twin} series=${series} />
    <p class="dim">Drag over a chart to look closer.</p>`;
}

const sum = (series) => series.points.reduce((total, point) => total + point.completed + point.failed, 0);

/** Every step of the range, also those in which nothing ended. */
function times(from, to, step, series) {
  const first = series.flatMap((one) => one.points.map((point) => millis(point.at))).sort((a, b) => a - b)[0];
  const grid = [];
  const start = first === undefined ? from : first - Math.floor((first - from) / step) * step;
  for (let at = start; at < to && grid.length < 5000; at += step) grid.push(at);
  return grid;
}

/** A colour of the style sheet as a canvas takes it: custom properties are resolved only where they are used. */
function css(name) {
  const probe = document.createElement("i");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

const colour = (which) => css(typeof which === "number" ? `--line-${which}` : `--s-${which}`);

function Chart({ title, lines, format, grid, select, marks }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [problem, setProblem] = useState(null);
  const key = lines.map(([name]) => name).join("\n");
  const newest = useRef({});
  newest.current = { select, marks, format };
  const data = [grid.map((at) => at / 1000), ...lines.map(([, values]) => values)];
  useEffect(() => {
    let ended = false;
    let observer = null;
    const element = box.current;
    load().then(({ default: UPlot }) => {
      if (ended) return;
      plot.current = new UPlot(options({ lines, width: element.clientWidth, newest }), data, element);
      observer = new ResizeObserver(() => plot.current?.setSize({ width: element.clientWidth, height: HEIGHT }));
      observer.observe(element);
    }, () => setProblem(new Error("the chart library could not be fetched")));
    return () => {
      ended = true;
      observer?.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [key]);
  useEffect(() => {
    plot.current?.setData(data);
  }, [data[0][0], data[0].length, JSON.stringify(data.slice(1))]);
  return html`<section class="chart"><h2>${title}</h2><${Trouble} problem=${problem} /><div ref=${box} role="img" aria-label=${`${title}: ${lines.map(([name]) => name).join(", ")}; the table below has the figures`}></div></section>`;
}

const HEIGHT = 180;

let loading = null;
function load() {
  if (!loading) {
    const link = document.createElement("link");
    link.rel = "stylesheet";
    link.href = "vendor/uplot.css";
    document.head.append(link);
    loading = import("../vendor/uplot.js");
    loading.catch(() => {
      loading = null;
    });
  }
  return loading;
}

function options({ lines, width, newest }) {
  const grid = { stroke: css("--hair"), width: 1 };
  const axis = { stroke: css("--dim"), grid, ticks: grid, font: "11px system-ui, sans-serif" };
  const format = (value) => (value === null || value === undefined ? "" : newest.current.format(value));
  return {
    width, height: HEIGHT,
    cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 6 } },
    scales: { x: { time: true }, y: { range: (_, low, high) => [0, Math.max(high || 0, 1) * 1.05] } },
    axes: [{ ...axis, space: 70, values: (_, splits, __, ___, step) => splits.map((at) => axisTime(at * 1000, step)) }, { ...axis, size: 62, values: (_, values) => values.map(format) }],
    series: [{ value: (_, at) => (at ? clockTime(at * 1000) : "") }, ...lines.map(([name, , which]) => ({
      label: name, stroke: colour(which), width: 1.5, spanGaps: false, points: { show: false }, value: (_, value) => format(value) || "·",
    }))],
    hooks: {
      setSelect: [(plot) => {
        const { left, width: wide } = plot.select;
        if (wide < 5) return;
        newest.current.select(plot.posToVal(left, "x") * 1000, plot.posToVal(left + wide, "x") * 1000);
        plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      }],
      draw: [(plot) => drawMarks(plot, newest.current.marks)],
    },
  };
}

const axisTime = (at, step) => (step >= 86400 ? new Date(at).toLocaleDateString("en-GB", { day: "numeric", month: "short" }) : new Date(at).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" }));

/** Where runners came and went: a short line at the top. */
function drawMarks(plot, marks) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = css("--accent");
  ctx.lineWidth = 2 * devicePixelRatio;
  for (const mark of marks) {
    const x = Math.round(plot.valToPos(mark.at / 1000, "x", true));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + 8 * devicePixelRatio);
    ctx.stroke();
  }
  ctx.restore();
}

/** The same as figures, for those who do not see the charts. */
const Twin = ({ series }) => html`<details class="twin"><summary>As a table</summary>
  ${series.map((one) => html`<table key=${one.name ?? ""}>
    <caption>${one.name ?? "All jobs"}</caption>
    <thead><tr>${["Time", "Completed", "Failed", "Retried", "Cancelled", "Run p50", "Run p95", "Run p99", "Wait p50", "Wait p95", "Wait p99"].map((name, index) => html`<th scope="col" key=${name} class=${index ? "num" : ""}>${name}</th>`)}</tr></thead>
    <tbody>${one.points.slice(-200).map((point) => html`<tr key=${point.at}><th scope="row">${clockTime(point.at)}</th>
      ${["completed", "failed", "retried", "cancelled"].map((name) => html`<td class="num" key=${name}>${count(point[name])}</td>`)}
      ${["run_p50_ms", "run_p95_ms", "run_p99_ms", "wait_p50_ms", "wait_p95_ms", "wait_p99_ms"].map((name) => html`<td class="num" key=${name}>${point[name] == null ? "" : duration(point[name])}</td>`)}
    </tr>`)}</tbody>
  </table>`)}
</details>`;
