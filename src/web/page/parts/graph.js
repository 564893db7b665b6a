// The graph of a job's family and dependencies. The server computes where the boxes stand, in characters and lines; here
// they are drawn, with a table that says the same.

import { html, useLayoutEffect, useRef, useState } from "./html.js";
import { useGet } from "./live.js";
import { count, plural } from "./format.js";
import { go, href } from "./router.js";
import { searchWord } from "./text.js";
import { Choice, Empty, Loading, Scroll, State, STATES, Trouble } from "./ui.js";

const CHARACTER_PX = 7.5;
const LINE_PX = 17;
const MARGIN_PX = 8;
const ZOOMS = [["0.6", "60 %"], ["1", "100 %"], ["1.5", "150 %"]];

const NAMES = {
  child: "child of", needs_completed: "runs once it has completed:", needs_final: "runs once it is final:",
  spawned: "was enqueued by", hook: "is a hook of",
};

export function Graph({ id, change }) {
  const { data, error, old } = useGet(`/jobs/${id}/graph`, {}, change);
  const graph = data || old;
  if (error) return html`<${Trouble} problem=${error} />`;
  if (!graph) return html`<${Loading} />`;
  if (graph.nodes.length < 2) return html`<${Empty} title="This job stands alone"><p>It waits for no other job, and none waits for it. <code>--after</code> and <code>--parent</code> tie jobs together.</p></${Empty}>`;
  return html`<${Drawing} graph=${graph} />
    ${!graph.complete && html`<p class="dim">There are more jobs around than are drawn; a box with … has relations that are not shown.</p>`}
    <${Twin} graph=${graph} />`;
}

function Drawing({ graph }) {
  const [zoom, setZoom] = useState("1");
  const box = useRef(null);
  const width = graph.width * CHARACTER_PX + 2 * MARGIN_PX;
  const height = graph.height * LINE_PX + 2 * MARGIN_PX;
  // The job that was asked for is in the middle at first.
  useLayoutEffect(() => {
    const self = graph.nodes.find((node) => node.id === graph.job);
    if (!self || !box.current) return;
    box.current.scrollLeft = (self.x + self.width / 2) * CHARACTER_PX * Number(zoom) - box.current.clientWidth / 2;
    box.current.scrollTop = (self.y + self.height / 2) * LINE_PX * Number(zoom) - box.current.clientHeight / 2;
  }, [graph.job, zoom]);
  return html`<section class="graph"><div class="bar"><${Choice} label="Size" value=${zoom} choose=${setZoom} options=${ZOOMS} />
      <span class="dim"><svg class="sample" viewBox="0 0 24 8" aria-hidden="true"><path class="edge e-child" d="M0 4h24" /></svg> child
      <svg class="sample" viewBox="0 0 24 8" aria-hidden="true"><path class="edge e-needs_completed" d="M0 4h24" /></svg> after
      <svg class="sample" viewBox="0 0 24 8" aria-hidden="true"><path class="edge e-hook" d="M0 4h24" /></svg> hook</span></div>
    <div class="scroll canvas" ref=${box} tabindex="0" role="region" aria-label="Graph">
      <svg width=${width * zoom} height=${height * zoom} viewBox=${`${-MARGIN_PX} ${-MARGIN_PX} ${width} ${height}`} role="img"
        aria-label=${`${plural(graph.nodes.length, "box", "boxes")} and ${plural(graph.edges.length, "relation")}; the table below says the same`}>
        ${graph.edges.map((edge, index) => html`<${Edge} key=${index} edge=${edge} nodes=${graph.nodes} />`)}
        ${graph.nodes.map((node, index) => html`<${Box} key=${node.id ?? `n${index}`} node=${node} isSelf=${node.id === graph.job} />`)}
      </svg>
    </div></section>`;
}

/** From the right edge of the first box, by way of the points, to the left edge of the last. */
function Edge({ edge, nodes }) {
  const [a, b] = [nodes[edge.from], nodes[edge.to]];
  const points = [
    [(a.x + a.width) * CHARACTER_PX, (a.y + a.height / 2) * LINE_PX],
    ...edge.points.map(([x, y]) => [x * CHARACTER_PX, (y + 0.5) * LINE_PX]),
    [b.x * CHARACTER_PX - 5, (b.y + b.height / 2) * LINE_PX],
  ];
  let d = `M${points[0]}`;
  for (let i = 1; i < points.length; i++) {
    const [[x0, y0], [x1, y1]] = [points[i - 1], points[i]];
    const middle = (x0 + x1) / 2;
    d += ` C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`;
  }
  const [x, y] = points[points.length - 1];
  return html`<g class=${`edge e-${edge.kind}`}><path d=${d} /><path class="head" d=${`M${x} ${y - 3.5}l5 3.5l-5 3.5z`} /></g>`;
}

/** What a box stands for in the list of jobs, where it is more than one. */
function linkOf(node) {
  if (node.jobs === 1 && node.id !== null) return href(["jobs", node.id]);
  if (node.first_failed !== null) return href(["jobs", node.first_failed]);
  return node.id !== null ? href(["jobs", node.id]) : null;
}

function Box({ node, isSelf }) {
  const state = node.state || (node.counts.failed ? "failed" : STATES.slice(0, 5).find((one) => node.counts[one]) || "completed");
  const [x, y, width, height] = [node.x * CHARACTER_PX, node.y * LINE_PX, node.width * CHARACTER_PX, node.height * LINE_PX];
  const to = linkOf(node);
  const many = node.jobs > 1;
  const room = Math.floor(node.width) - 2;
  const cut = (text) => (text.length > room ? `${text.slice(0, room - 1)}…` : text);
  return html`<g class=${`node${isSelf ? " self" : ""}${to ? " links" : ""}`} onClick=${() => to && (isSelf || go(to.slice(2).split("/")))}>
    <title>${`${node.title}\n${node.summary}${node.more ? "\nmore relations are not shown" : ""}`}</title>
    ${many && html`<rect x=${x + 3} y=${y + 3} width=${width} height=${height} rx="4" />`}
    <rect x=${x} y=${y} width=${width} height=${height} rx="4" />
    <rect class=${`bar-${state}`} x=${x} y=${y} width="4" height=${height} rx="2" />
    <text x=${x + 11} y=${y + height / 2 - 3}>${cut(node.title)}${node.more ? " …" : ""}</text>
    <text class=${`s-${state}`} x=${x + 11} y=${y + height / 2 + 12}>${cut(node.summary)}</text>
  </g>`;
}

const countsText = (node) => STATES.filter((state) => node.counts[state]).map((state) => `${count(node.counts[state])} ${state}`).join(", ");

function Twin({ graph }) {
  const relations = (index) => graph.edges.filter((edge) => edge.to === index).map((edge) => `${NAMES[edge.kind] || edge.kind} ${graph.nodes[edge.from].title}`);
  return html`<details class="twin" open><summary>As a table</summary><${Scroll} label="Graph as a table"><table>
    <thead><tr><th scope="col">Job</th><th scope="col">State</th><th scope="col" class="grow">Comes after</th></tr></thead>
    <tbody>${graph.nodes.map((node, index) => html`<tr key=${node.id ?? `n${index}`} class=${node.id === graph.job ? "here" : ""}>
      <th scope="row">${linkOf(node) ? html`<a href=${linkOf(node)}>${node.title}</a>` : node.title}${node.jobs > 1 && node.kind && html` <a class="under dim" href=${href(["jobs"], { search: `kind:${searchWord(node.kind)}` })}>all of this kind</a>`}</th>
      <td>${node.state ? html`<${State} state=${node.state} />` : countsText(node) || node.summary}</td>
      <td class="grow wrap">${relations(index).join("; ")}</td>
    </tr>`)}</tbody>
  </table><//></details>`;
}
