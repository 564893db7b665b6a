// Numbers, times and sizes as a person reads them.

const WHOLE = new Intl.NumberFormat("en");
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (n) => WHOLE.format(n);
export const compact = (n) => (n < 10000 ? WHOLE.format(n) : COMPACT.format(n).replace(/([KMBT])$/, "\u202f$1"));

/** `1 job`, `1,204 jobs`. */
export const jobs = (n) => plural(n, "job");
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export function rate(perSecond) {
  if (!perSecond) return "0/s";
  if (perSecond >= 10) return `${count(Math.round(perSecond))}/s`;
  if (perSecond >= 0.1) return `${perSecond.toFixed(1)}/s`;
  return `${(perSecond * 60).toFixed(1)}/min`;
}

export function duration(ms) {
  if (ms == null) return "";
  if (ms < 0) ms = 0;
  if (ms < 1) return ms === 0 ? "0 ms" : "<1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${s.toFixed(1).replace(/\.0$/, "")} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  const parts = (big, small, unit, under) => (small ? `${big} ${unit} ${small} ${under}` : `${big} ${unit}`);
  const m = Math.floor(s / 60);
  if (m < 60) return parts(m, Math.floor(s % 60), "min", "s");
  const hours = Math.floor(m / 60);
  if (hours < 48) return parts(hours, m % 60, "h", "min");
  return parts(Math.floor(hours / 24), hours % 24, "d", "h");
}

/** A duration as options take it: `90s`, `1500ms`. */
export const durationOption = (ms) => (ms % 1000 ? `${ms}ms` : `${ms / 1000}s`);

export function bytes(n) {
  if (n == null) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024;
    unit++;
  }
  return `${unit === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

const TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const FULL = new Intl.DateTimeFormat("en-GB", {
  weekday: "short", day: "numeric", month: "short", year: "numeric",
  hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
});

export const millis = (at) => (typeof at === "number" ? at : Date.parse(at));
export const fullTime = (at) => `${FULL.format(millis(at))}\n${new Date(millis(at)).toISOString()}`;

/** `09:12:40` today, `28 Nov 09:12:40` on another day. */
export function clockTime(at, now = Date.now()) {
  const date = new Date(millis(at));
  const time = TIME.format(date);
  return date.toDateString() === new Date(now).toDateString() ? time : `${DAY.format(date)} ${time}`;
}

/** `12 s ago`, `in 3 min`. */
export function relative(at, now = Date.now()) {
  const ms = millis(at) - now;
  const size = Math.abs(ms);
  if (size < 1000) return "now";
  const s = size / 1000;
  let text;
  if (s < 60) text = `${Math.floor(s)} s`;
  else if (s < 3600) text = `${Math.floor(s / 60)} min`;
  else if (s < 48 * 3600) text = `${Math.floor(s / 3600)} h`;
  else text = `${Math.floor(s / 86400)} d`;
  return ms < 0 ? `${text} ago` : `in ${text}`;
}
