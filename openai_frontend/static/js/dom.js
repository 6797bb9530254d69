// Helpers to find and create elements.

/** The element with the id. */
export const at = (id) => document.getElementById(id);

/** A new element; `properties` are its attributes, functions are listeners (`onclick`), false and null omit one. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** An icon of the page's set, hidden from screen readers. */
export function icon(name) {
  const [svg, use] = ["svg", "use"].map((tag) => document.createElementNS("http://www.w3.org/2000/svg", tag));
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Fill a select with `entries` ([value, text] or [value, text, disabled]); keeps the selection if it still exists. */
export function fill(select, entries) {
  const chosen = select.value;
  const options = entries.map(([value, text, disabled]) =>
    Object.assign(new Option(text, value), { disabled: !!disabled }),
  );
  select.replaceChildren(...options);
  if (entries.some(([value, , disabled]) => value === chosen && !disabled)) select.value = chosen;
}
