// Preact and htm, with one difference: every text and every spoken or hovered text is cleaned on its way into the
// document, so no view can forget it. Values of inputs stay as they are.

import { h, render, Fragment, createContext, options } from "../vendor/preact.js";
import htm from "../vendor/htm.js";
import { clean } from "./text.js";

const SHOWN = ["title", "aria-label", "placeholder", "label", "aria-valuetext", "aria-description"];

// Each node passes here as it is made, also a text that a component returns.
options.vnode = (node) => {
  if (node.type === null) {
    if (typeof node.props === "string") node.props = clean(node.props);
  } else if (typeof node.type === "string") {
    for (const name of SHOWN) {
      if (typeof node.props[name] === "string") node.props[name] = clean(node.props[name]);
    }
  }
};

export const html = htm.bind(h);
export { render, Fragment, createContext };
export {
  useCallback, useContext, useEffect, useId, useLayoutEffect, useMemo, useReducer, useRef, useState,
} from "../vendor/hooks.js";

import { useEffect as effect, useState as state } from "../vendor/hooks.js";

/** A value that components and modules share. */
export function shared(value) {
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const listener of [...listeners]) listener(value);
    },
    listen(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

/** The value of a shared cell, and a new drawing whenever it changes. */
export function useShared(cell) {
  const [value, setValue] = state(cell.get);
  effect(() => {
    setValue(cell.get);
    return cell.listen((next) => setValue(() => next));
  }, [cell]);
  return value;
}
