// Make elements, and make texts of the web fit to be shown: only ever as text, each kept to itself.

const SVG = "http://www.w3.org/2000/svg";

/** Return an element; `on…` are listeners, `data` a dataset, null and false leave an attribute out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** Return a button that does something. */
export const button = (title, onclick, attributes = {}) =>
  make("button", { type: "button", class: "plain", onclick, ...attributes }, title);

export const find = (id) => document.getElementById(id);

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** Return a thin bar that fills a share (0 to 1) of its width; a policy without styles allows it. */
export function share(part) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "share");
  svg.setAttribute("aria-hidden", "true");
  const bar = document.createElementNS(SVG, "rect");
  bar.setAttribute("width", `${(100 * part).toFixed(1)}%`);
  bar.setAttribute("height", "100%");
  bar.setAttribute("rx", "1.5");
  svg.append(bar);
  return svg;
}

/** Return a text of the web as it is shown: controls and marks that turn its direction are named. */
export function visible(text) {
  return (
    String(text ?? "")
      .replace(/[\t\n\r\v\f\u0085]/g, " ")
      .replace(/(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu, (char) => {
        return `[U+${char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}]`;
      })
      // No script needs more than four marks on a letter; stacks of a hundred cover the lines above.
      .replace(/([\p{Mn}\p{Me}]{4})[\p{Mn}\p{Me}]+/gu, "$1")
  );
}

/** Return a text of the web in an element of its own direction. */
export const quote = (text, attributes = {}) =>
  make("bdi", { dir: "auto", ...attributes }, visible(text));

/** Return a link out of the page, or null for what is not an address of the web. */
export function linkOut(title, url) {
  let address;
  try {
    address = new URL(url);
  } catch {
    return null;
  }
  if (!["http:", "https:"].includes(address.protocol)) return null;
  const attributes = {
    href: address.href,
    rel: "noopener noreferrer nofollow",
    target: "_blank",
    title: visible(url),
  };
  return make("a", attributes, title);
}

export const count = (number) => number.toLocaleString("en");

export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

/** Say something to those who listen to the page rather than see it. */
export function say(text) {
  find("said").textContent = text;
}

/** Open a dialog; it closes by its buttons, by Escape, and by a click beside it. */
export function openDialog(dialog) {
  if (!dialog.open) dialog.showModal();
}

/** Return whether a click lies beside a dialog: its shade is a part of it. */
function isBeside(dialog, event) {
  const { left, right, top, bottom } = dialog.getBoundingClientRect();
  const { clientX: x, clientY: y } = event;
  return event.target === dialog && (x < left || x > right || y < top || y > bottom);
}

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => {
    if (isBeside(dialog, event) || event.target.closest("[data-close]")) dialog.close();
  });
}
