// Requests to the server. The token comes in the printed address, is kept for this tab, and leaves the address bar.

const TOKEN_KEY = "jobq_token";
const BASE = new URL("api/v1/", document.baseURI);

/** Takes the token out of the address; says whether there was one. */
export function takeToken() {
  const hash = location.hash.slice(1);
  const found = /(?:^|&)token=([^&]+)/.exec(hash);
  if (!found) return false;
  sessionStorage.setItem(TOKEN_KEY, decodeURIComponent(found[1]));
  const rest = hash.replace(found[0], "").replace(/^&/, "");
  history.replaceState(null, "", location.pathname + (rest ? `#${rest}` : "#/"));
  return true;
}

export const token = () => sessionStorage.getItem(TOKEN_KEY);
export const setToken = (text) => sessionStorage.setItem(TOKEN_KEY, text);

/** What the server refused, in its words (RFC 9457). */
export class Problem extends Error {
  constructor(body, status) {
    super(body.detail || body.title || `the server answered ${status}`);
    this.status = status;
    this.type = (body.type || "").replace(/^.*\//, "");
    this.title = body.title;
    this.hint = body.hint ?? null;
    this.body = body;
  }
}

const unreachable = () =>
  new Problem({
    type: "/problems/unreachable", title: "no answer",
    detail: "the server does not answer", hint: "is `jobq serve` still running?",
  }, 0);

export function url(path, params) {
  const target = new URL(path.replace(/^\/(api\/v1\/)?/, ""), BASE);
  for (const [name, value] of Object.entries(params || {})) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) target.searchParams.append(name, one);
  }
  return target;
}

export const liveUrl = () => {
  const target = new URL("live", BASE);
  target.protocol = target.protocol === "https:" ? "wss:" : "ws:";
  return target;
};

async function request(method, path, { params, body, headers = {}, signal } = {}) {
  const all = { ...headers };
  if (token()) all.Authorization = `Bearer ${token()}`;
  if (method !== "GET") all["Content-Type"] = "application/json";
  let response;
  try {
    const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
    response = await fetch(url(path, params), { method, headers: all, body: text, signal, cache: "no-store" });
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
  if (response.ok || response.status === 304) return response;
  const problem = await response.json().catch(() => ({}));
  throw new Problem(problem, response.status);
}

const parsed = async (response) => (response.status === 204 ? null : response.json());

export const get = async (path, params, options) => parsed(await request("GET", path, { params, ...options }));
export const text = async (path, params, options) => (await request("GET", path, { params, ...options })).text();
export const blob = async (path, params) => (await request("GET", path, { params })).blob();
export const send = async (method, path, body, headers) => parsed(await request(method, path, { body: body ?? {}, headers }));

/** The answer, or null when it is the one that `etag` names. */
export async function getIfChanged(path, params, etag) {
  const response = await request("GET", path, { params, headers: etag ? { "If-None-Match": etag } : {} });
  if (response.status === 304) return null;
  return { data: await response.json(), etag: response.headers.get("ETag") };
}
