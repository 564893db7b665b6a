// Failures grouped by their message.

import { html, useEffect, useState } from "../parts/html.js";
import * as api from "../parts/api.js";
import { clockTime, count, plural } from "../parts/format.js";
import { href, set, useRoute } from "../parts/router.js";
import { Ago, Choice, Empty, Loading, Scroll, Trouble } from "../parts/ui.js";
import { bulkMatching } from "../parts/actions.js";
import { canWrite } from "../parts/features.js";
import { useKeys } from "../parts/keys.js";

const RANGES = [["1h", "1 h"], ["24h", "24 h"], ["7d", "7 days"], ["", "All"]];

/** Groups of several pages as one list. */
export function merge(groups, more) {
  const byId = new Map(groups.map((group) => [group.id, group]));
  for (const group of more) {
    const old = byId.get(group.id);
    byId.set(group.id, old ? {
      ...old, jobs: old.jobs + group.jobs, kinds: [...new Set([...old.kinds, ...group.kinds])],
      first_at: old.first_at < group.first_at ? old.first_at : group.first_at,
      last_at: old.last_at > group.last_at ? old.last_at : group.last_at,
    } : group);
  }
  return [...byId.values()].sort((a, b) => b.jobs - a.jobs || (a.last_at < b.last_at ? 1 : -1));
}

export function Errors({ failed }) {
  const { params } = useRoute();
  const since = params.since || "";
  const [state, setState] = useState({ groups: null });
  const [cursor, setCursor] = useState(0);
  const read = async (after, groups) => {
    try {
      const page = await api.get("/errors", { since, after });
      setState({ groups: merge(groups, page.groups), complete: page.complete, searched: page.searched_to, at: page.searched_at });
    } catch (problem) {
      setState({ groups, problem });
    }
  };
  useEffect(() => {
    read(null, []);
  }, [since, failed]);
  const groups = state.groups || [];
  const here = groups[Math.min(cursor, groups.length - 1)];
  const move = (step) => () => setCursor(Math.max(0, Math.min(groups.length - 1, cursor + step)));
  const searchOf = (group) => `state:failed group:${group.id}${since ? ` since:${since}` : ""}`;
  useKeys("Errors", {
    "j ArrowDown": ["next group", move(1)],
    "k ArrowUp": ["group before", move(-1)],
    "Enter o": ["its jobs", () => here && (location.hash = href(["jobs"], { search: searchOf(here) }))],
    r: ["retry its jobs", () => here && canWrite() && bulkMatching("retry", searchOf(here))],
  });
  return html`<div class="view">
    <h1 class="hidden">Errors</h1>
    <div class="bar"><${Choice} label="Since" value=${since} choose=${(value) => set({ since: value })} options=${RANGES} /></div>
    <${Trouble} problem=${state.problem} />
    ${!state.groups && !state.problem && html`<${Loading} />`}
    ${state.groups && !groups.length && state.complete !== false && !state.problem && html`<${Empty} title=${since ? "No job failed in this time" : "No job has failed"} />`}
    ${groups.length > 0 && html`<${Scroll} label="Errors"><table>
      <caption class="hidden">Failed jobs by error</caption>
      <thead><tr><th scope="col" class="num">Jobs</th><th scope="col" class="grow">Error</th><th scope="col">Kinds</th><th scope="col">First</th><th scope="col">Last</th><th scope="col"><span class="hidden">Actions</span></th></tr></thead>
      <tbody>${groups.map((group) => html`<tr key=${group.id} class=${group === here ? "here" : ""}>
        <td class="num"><a href=${href(["jobs"], { search: searchOf(group) })} aria-label=${`Show ${plural(group.jobs, "job")}`}>${count(group.jobs)}</a></td>
        <th scope="row" class="grow wrap"><span class="bad">${group.message}</span>
          <div class="dim cut">for instance <a class="under" href=${href(["jobs", group.example])}>${group.example}</a>: ${group.error}</div></th>
        <td class="wrap">${group.kinds.slice(0, 4).join(", ")}${group.kinds.length > 4 ? ` and ${group.kinds.length - 4} more` : ""}</td>
        <td><${Ago} at=${group.first_at} /></td><td><${Ago} at=${group.last_at} /></td>
        <td>${canWrite() && html`<button type="button" class="small" onClick=${() => bulkMatching("retry", searchOf(group))} aria-label=${`Retry these ${plural(group.jobs, "job")}: ${group.message}`}>Retry these</button>`}</td>
      </tr>`)}</tbody>
    </table><//>`}
    ${state.complete === false && html`<nav class="more" aria-label="Further back"><span>Looked back to job ${count(state.searched)}${state.at ? ` (${clockTime(state.at)})` : ""}.</span>
      <button type="button" onClick=${() => read(state.searched, groups)}>Go on</button></nav>`}
  </div>`;
}
