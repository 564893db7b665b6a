// The graph of a job's family and dependencies. The server computes where the boxes stand; here they are drawn, with a table
// that says the same.

import { html, useRef, useState } from "./html.js";
import { useGet } from "./live.js";
import { count } from "./format.js";
import { go, href } from "./router.js";
import { Empty, Loading, Scroll, State, Trouble } from "./ui.js";

export function Graph({ id, change }) {
  const { data, error, old } = useGet(`/jobs/${id}/graph`, {}, change);
  const graph = data || old;
  if (error) return html`<${Trouble} problem=${error} />`;
  if (!graph) return html`<${Loading} />`;
  if (graph.nodes.length < 2) return html`<${Empty} title="This job stands alone"><p>It waits for no other job, and none waits for it. <code>--after</code> and <code>--parent</code> tie jobs together.</p></${Empty}>`;
  return html`<${Drawing} graph=${graph} id=${Number(id)} /><${Twin} graph=${graph} />`;
}

function Drawing({ graph, id }) {
  const [zoom, setZoom] = useState(1);
  const box = useRef(null);
  return html`<section><div class="bar"><button type="button" class="small" onClick=${() => setZoom(zoom * 1.25)}>Closer</button><button type="button" class="small" onClick=${() => setZoom(zoom / 1.25)}>Wider</button></div>
    <div class="scroll graph" ref=${box} tabindex="0" role="region" aria-label="Graph"><${Svg} graph=${graph} id=${id} zoom=${zoom} /></div>
    ${graph.cut && html`<p class="dim">${graph.cut}</p>`}</section>`;
}

function Svg({ graph, id, zoom }) {
  return html`<svg width=${graph.width * zoom} height=${graph.height * zoom} viewBox=${`0 0 ${graph.width} ${graph.height}`} role="img" aria-label=${`${count(graph.nodes.length)} boxes and ${count(graph.edges.length)} lines; the table below says the same`}></svg>`;
}

const Twin = ({ graph }) => html`<${Scroll} label="Graph as a table"><table><tbody>${graph.nodes.map((node) => html`<tr key=${node.id}><td><a href=${href(["jobs", node.id])} onClick=${() => go(["jobs", node.id])}>${node.id}</a></td><td><${State} state=${node.state} /></td></tr>`)}</tbody></table><//>`;
