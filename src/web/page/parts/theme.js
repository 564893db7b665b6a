// Light, dark, or as the system says. The choice is kept in this browser.

import { shared } from "./html.js";

const KEY = "jobq_theme";
const NEXT = { auto: "light", light: "dark", dark: "auto" };
const read = () => {
  try {
    const kept = localStorage.getItem(KEY);
    return kept in NEXT ? kept : "auto";
  } catch {
    return "auto";
  }
};

export const theme = shared(read());

function show(name) {
  const root = document.documentElement;
  if (name === "auto") root.removeAttribute("data-theme");
  else root.setAttribute("data-theme", name);
}

show(theme.get());
theme.listen((name) => {
  show(name);
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // A browser that keeps nothing shows it until the page is closed.
  }
});

export const nextTheme = () => theme.set(NEXT[theme.get()]);
