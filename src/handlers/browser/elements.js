// Functions for elements by their selectors. Each returns {done: value}, or {why: text} when it has to be tried again.
({
  find(selector) {
    const element = document.querySelector(selector);
    return element ? { element } : { why: 'is not there' };
  },
  isVisible(element) {
    const box = element.getBoundingClientRect();
    return box.width > 0 && box.height > 0 && getComputedStyle(element).visibility === 'visible';
  },
  // Where it is clicked, in the viewport.
  point(selector) {
    const { element, why } = this.find(selector);
    if (why) return { why };
    element.scrollIntoView({ block: 'center', inline: 'center', behavior: 'instant' });
    if (!this.isVisible(element)) return { why: 'is not visible' };
    if (element.disabled) return { why: 'is disabled' };
    const box = element.getClientRects()[0] ?? element.getBoundingClientRect();
    const x = box.x + box.width / 2, y = box.y + box.height / 2;
    const hit = document.elementFromPoint(x, y);
    const isHit = hit && (element.contains(hit) || hit.contains(element) || hit.control === element);
    if (!isHit) return { why: hit ? `is covered by <${hit.localName}>` : 'is outside of the page' };
    return { done: { x, y } };
  },
  // Where it is in the document.
  box(selector) {
    const { element, why } = this.find(selector);
    if (why) return { why };
    if (!this.isVisible(element)) return { why: 'is not visible' };
    const box = element.getBoundingClientRect();
    return { done: { x: box.x + scrollX, y: box.y + scrollY, width: box.width, height: box.height } };
  },
  state(selector, state) {
    const { element } = this.find(selector);
    const isVisible = !!element && this.isVisible(element);
    const holds = state === 'attached' ? !!element : state === 'visible' ? isVisible : !isVisible;
    return holds ? { done: null } : { why: `is not ${state}` };
  },
  // A secret is written only on the host that it was read for.
  fill(selector, value, host) {
    if (host !== null && location.hostname !== host) return { why: `is now on ${location.hostname}` };
    const { element, why } = this.find(selector);
    if (why) return { why };
    if (!this.isVisible(element)) return { why: 'is not visible' };
    if (element.disabled || element.readOnly) return { why: 'cannot be edited' };
    element.focus();
    const type = { INPUT: HTMLInputElement, TEXTAREA: HTMLTextAreaElement }[element.tagName];
    if (type) {
      Object.getOwnPropertyDescriptor(type.prototype, 'value').set.call(element, value);
    } else if (element.isContentEditable) {
      element.textContent = value;
    } else {
      return { why: `is a <${element.localName}>, which cannot be filled` };
    }
    element.dispatchEvent(new Event('input', { bubbles: true, composed: true }));
    element.dispatchEvent(new Event('change', { bubbles: true }));
    return { done: null };
  },
  focus(selector) {
    const { element, why } = this.find(selector);
    if (why) return { why };
    element.focus();
    return { done: null };
  },
  select(selector, value) {
    const { element, why } = this.find(selector);
    if (why) return { why };
    if (element.tagName !== 'SELECT') return { why: `is a <${element.localName}>, not a <select>` };
    const options = [...element.options];
    const option = options.find((it) => it.value === value) ?? options.find((it) => it.text.trim() === value);
    if (!option) return { why: `has no option '${value}'` };
    option.selected = true;
    element.dispatchEvent(new Event('input', { bubbles: true, composed: true }));
    element.dispatchEvent(new Event('change', { bubbles: true }));
    return { done: null };
  },
  isChecked(selector) {
    const { element, why } = this.find(selector);
    if (why) return { why };
    return typeof element.checked === 'boolean' ? { done: element.checked } : { why: 'cannot be checked' };
  },
  scroll(selector, to) {
    if (selector === null) {
      scrollTo({ top: to === 'top' ? 0 : document.documentElement.scrollHeight, behavior: 'instant' });
      return { done: null };
    }
    const { element, why } = this.find(selector);
    if (why) return { why };
    element.scrollIntoView({ block: 'center', behavior: 'instant' });
    return { done: null };
  },
  all(selector, all, read) {
    const elements = [...document.querySelectorAll(selector)];
    if (elements.length === 0) return { why: 'is not there' };
    return { done: all ? elements.map(read) : read(elements[0]) };
  },
  text(selector, all) {
    return this.all(selector, all, (it) => it.innerText ?? it.textContent);
  },
  attribute(selector, all, name) {
    return this.all(selector, all, (it) => it.getAttribute(name));
  },
  html(selector) {
    if (selector === null) {
      const type = document.doctype ? `<!DOCTYPE ${document.doctype.name}>\n` : '';
      return { done: type + document.documentElement.outerHTML };
    }
    const { element, why } = this.find(selector);
    return why ? { why } : { done: element.outerHTML };
  },
})
