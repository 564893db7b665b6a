// The URL is the view: `#/jobs?search=state:failed`, `#/jobs/42/log`. The part behind # never reaches a server or its
// log, and needs no rule for rewriting addresses behind a proxy.

import { shared, useShared } from "./html.js";

function parse() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const parts = path.split("/").filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { view: parts[0] || "overview", parts, params: Object.fromEntries(new URLSearchParams(query)) };
}

const route = shared(parse());
addEventListener("hashchange", () => route.set(parse()));

export const useRoute = () => useShared(route);
export const current = () => route.get();

/** `href(["jobs", 42], {search})`. Empty parameters are left out. */
export function href(parts, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const path = [].concat(parts).map(encodeURIComponent).join("/");
  const text = query.toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

export function go(parts, params, { replace = false } = {}) {
  const target = href(parts, params);
  if (target === location.hash) return;
  if (replace) history.replaceState(null, "", target);
  else history.pushState(null, "", target);
  route.set(parse());
}

/** Changes parameters of the view that is open. */
export function set(params, options) {
  const now = route.get();
  go(now.parts.length ? now.parts : [now.view], { ...now.params, ...params }, options);
}
