// Single keys: they move between results and switch things, unless somebody is typing.

import { find, openDialog } from "./show.js";

const STORE = "webpairs keys off";

/** Wire the keys. `acts` maps a key to what it does, to the card in focus or to `detail`. */
export function openKeys({ acts, detail }) {
  const box = find("use-keys");
  box.checked = readOff() !== "1";
  box.addEventListener("change", () => {
    try {
      localStorage.setItem(STORE, box.checked ? "0" : "1");
    } catch {
      // It holds for as long as the page is open.
    }
  });
  const help = () => openDialog(find("help"));
  find("keys").addEventListener("click", help);

  addEventListener("keydown", (event) => {
    if (
      event.defaultPrevented ||
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      isTyping(event.target)
    )
      return;
    // A panel beside the results leaves keys to them, but for those that it needs itself.
    if (document.querySelector("dialog:modal:not(#detail)")) return;
    if (detail.isOpen()) {
      if (event.key === "Escape" && !detail.isModal()) detail.close();
      else if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
        event.preventDefault();
        detail.step(event.key === "ArrowLeft" ? -1 : 1);
      } else if (box.checked && ["x", "s"].includes(event.key)) acts[event.key](detail.sample());
      else if (!detail.isModal() && box.checked && ["/", "f", "?", "r"].includes(event.key)) {
        event.preventDefault();
        if (event.key === "?") help();
        else acts[event.key]();
      }
      return;
    }
    if (event.key.startsWith("Arrow") && moveFocus(event.key)) event.preventDefault();
    else if (!box.checked) return;
    else if (event.key === "?") help();
    else if (event.key in acts) {
      event.preventDefault();
      acts[event.key]();
    }
  });
}

function readOff() {
  try {
    return localStorage.getItem(STORE);
  } catch {
    return null;
  }
}

const isTyping = (target) =>
  target.closest?.(
    "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]",
  ) !== null;

/** Return the card that has the focus, or else the one under the pointer, or null. */
export function currentCard() {
  return (
    document.activeElement?.closest("#shown .card") ?? document.querySelector("#shown .card:hover")
  );
}

/** Return the card that lies in the direction of an arrow key; rows may be of different lengths. */
function cardBeside(cards, here, key) {
  const place = cards.indexOf(here);
  if (key === "ArrowLeft" || key === "ArrowRight")
    return cards[place + (key === "ArrowLeft" ? -1 : 1)];
  const rows =
    key === "ArrowUp"
      ? cards.filter((card) => card.offsetTop < here.offsetTop).reverse()
      : cards.filter((card) => card.offsetTop > here.offsetTop);
  const row = rows.filter((card) => card.offsetTop === rows[0].offsetTop);
  const distance = (card) => Math.abs(card.offsetLeft - here.offsetLeft);
  return row.sort((one, other) => distance(one) - distance(other))[0];
}

/** Move the focus from card to card as they lie on the screen; false where there is none. */
function moveFocus(key) {
  const cards = [...document.querySelectorAll("#shown .card")];
  const here = document.activeElement?.closest("#shown .card");
  if (
    !cards.length ||
    (!here && document.activeElement !== document.body && document.activeElement?.id !== "results")
  )
    return false;
  // With nothing in focus the arrows scroll, as anywhere else, but for those that go along a row.
  if (!here && !["ArrowRight", "ArrowLeft"].includes(key)) return false;
  const link = (here ? cardBeside(cards, here, key) : cards[0])?.querySelector(".veil, .picture");
  if (!link) return false;
  link.focus({ preventScroll: true });
  link.scrollIntoView({ block: "nearest" });
  return true;
}
