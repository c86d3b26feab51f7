// The search field: what is typed, the terms beside it, and pictures that are chosen, dropped or pasted.

import { readTyped } from "./address.js";
import { imageOf } from "./ask.js";
import { find, icon, make, say, visible } from "./show.js";

const MAX_PICTURE_BYTES = 11_000_000; // base64 makes 14.7 MB of it, and the server takes 16
const SENT_AS_THEY_ARE = ["image/jpeg", "image/png", "image/webp"];
const SENT_SIDE_PX = 1024;
const THUMB_PX = 64;
export const KEY_TYPE = "application/x-webpairs-key";

/** Wire the field. `change(terms)` searches, `fail(sentence)` shows what went wrong. */
export function openField({ change, fail, isBlurred }) {
  const text = find("text");
  let looked = null;
  let terms = []; // those beside the field

  function show(now) {
    looked = now;
    const first = now.terms.find((one) => one.text !== undefined && !one.away && !one.apart);
    text.value = first?.text ?? "";
    terms = now.terms.filter((one) => one !== first);
    showChips();
  }

  function showChips() {
    find("chips").replaceChildren(...terms.map(chip));
    find("field").classList.toggle("chipped", terms.length > 0);
    text.placeholder = terms.length ? "and…" : "Describe a picture";
  }

  const search = (more = [], typed = readTyped(text.value)) =>
    change([...typed, ...terms, ...more]);

  function chip(term) {
    const name = nameOf(term);
    const turn = () => {
      term.away = !term.away;
      search();
    };
    const remove = () => {
      terms = terms.filter((one) => one !== term);
      text.focus();
      search();
    };
    const turned = term.away
      ? `Unlike ${name}: turn to like it`
      : `Like ${name}: turn to keep away from it`;
    return make(
      "li",
      { class: `chip ${term.away ? "minus" : "plus"}` },
      make(
        "button",
        {
          type: "button",
          class: "sign",
          title: term.away ? "Kept away from" : "Near to",
          "aria-label": turned,
          onclick: turn,
        },
        icon(term.away ? "minus" : "plus"),
      ),
      bodyOf(term, name),
      make(
        "button",
        { type: "button", class: "remove", "aria-label": `Remove ${name}`, onclick: remove },
        icon("close"),
      ),
    );
  }

  function bodyOf(term, name) {
    if (term.text !== undefined) {
      const edit = () => {
        terms = terms.filter((one) => one !== term);
        const sign = term.away ? "-" : text.value ? "+" : "";
        text.value = `${text.value} ${sign}${term.text}`.trim();
        showChips();
        text.focus();
      };
      return make(
        "button",
        { type: "button", class: "body", title: "Edit", onclick: edit },
        make("bdi", { dir: "auto" }, name),
      );
    }
    const source =
      term.key !== undefined ? `${imageOf(looked.index, term.key)}?size=128` : thumbOf(term);
    const blurred = term.key !== undefined && isBlurred(term.key);
    const picture =
      source &&
      make("img", {
        src: source,
        alt: "",
        class: blurred ? "blurred" : null,
        onerror: (event) => event.target.remove(),
      });
    return make(
      "span",
      { class: "body", title: name },
      picture,
      make("span", { class: picture ? "unseen" : null }, name),
    );
  }

  find("search").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
    text.blur();
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Backspace" && !text.value && terms.length) {
      event.preventDefault();
      terms = terms.slice(0, -1);
      search();
    } else if (event.key === "Escape") text.blur();
  });
  for (const [id, away] of [
    ["add-plus", false],
    ["add-minus", true],
  ]) {
    find(id).addEventListener("click", () => {
      const typed = readTyped(text.value).map((one) => ({
        ...one,
        away: one.away || away,
        apart: true,
      }));
      text.focus();
      if (typed.length) change([...terms, ...typed]);
      else say("Type a term first");
    });
  }

  async function addPicture(file) {
    try {
      const picture = await prepare(file);
      say("Searching with the picture");
      search([picture]);
    } catch (error) {
      fail(error.message);
    }
  }

  find("choose").addEventListener("click", () => find("file").click());
  find("file").addEventListener("change", () => {
    const [file] = find("file").files;
    find("file").value = "";
    if (file) addPicture(file);
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
    if (!file) return;
    event.preventDefault();
    addPicture(file);
  });
  takeDrops((data) => {
    const [file] = data.files;
    const key = data.getData(KEY_TYPE);
    const [url] = data
      .getData("text/uri-list")
      .split(/\r?\n/)
      .filter((one) => /^https?:/.test(one));
    if (key) search([{ key, away: false }]);
    else if (file) addPicture(file);
    else if (url) search([{ image_url: url, away: false }]);
    else if (data.getData("text/plain").trim()) change(readTyped(data.getData("text/plain")));
  });

  return { show, showChips };
}

function nameOf(term) {
  if (term.text !== undefined) return visible(term.text);
  if (term.key !== undefined) return `sample ${term.key}`;
  return "your picture";
}

/** Call `take` with what is dropped anywhere in the window; show where while it is dragged. */
function takeDrops(take) {
  const shade = find("drop");
  let depth = 0;
  const taken = (event) =>
    ["Files", "text/uri-list", KEY_TYPE].some((type) => event.dataTransfer.types.includes(type));
  const hide = () => {
    depth = 0;
    shade.hidden = true;
  };
  addEventListener("dragenter", (event) => {
    if (!taken(event)) return;
    event.preventDefault();
    depth += 1;
    shade.hidden = false;
  });
  addEventListener("dragover", (event) => taken(event) && event.preventDefault());
  addEventListener("dragleave", () => {
    depth -= 1;
    if (depth <= 0) hide();
  });
  addEventListener("dragend", hide);
  addEventListener("drop", (event) => {
    hide();
    if (!taken(event)) return;
    event.preventDefault();
    take(event.dataTransfer);
  });
}

/** Return a picture as a term; what the server cannot read, or is too large, is drawn anew here. */
async function prepare(file) {
  if (file.type && !file.type.startsWith("image/")) {
    throw new Error(`${visible(file.name)} is not a picture: use a JPEG, PNG or WebP file.`);
  }
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Error(
      `${visible(file.name)} cannot be read as a picture: use a JPEG, PNG or WebP file.`,
    );
  }
  const plain = SENT_AS_THEY_ARE.includes(file.type) && file.size <= MAX_PICTURE_BYTES;
  const image = plain ? await asDataUrl(file) : draw(bitmap, SENT_SIDE_PX);
  const thumb = draw(bitmap, THUMB_PX);
  bitmap.close();
  return { image, thumb, away: false };
}

function draw(bitmap, side) {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = make("canvas", {
    width: Math.max(1, Math.round(bitmap.width * scale)),
    height: Math.max(1, Math.round(bitmap.height * scale)),
  });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
}

const asDataUrl = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(new Error(`${visible(file.name)} cannot be read.`));
    reader.readAsDataURL(file);
  });

// A permalink holds a picture's embedding; its thumbnail stays in this tab.
const thumbKey = (embedding) => `webpairs thumb ${embedding.slice(0, 48)}`;

export function keepThumb(embedding, thumb) {
  try {
    if (thumb) sessionStorage.setItem(thumbKey(embedding), thumb);
  } catch {
    // Without storage there is no thumbnail after a reload.
  }
}

function thumbOf(term) {
  if (term.thumb) return term.thumb;
  try {
    return term.embedding ? sessionStorage.getItem(thumbKey(term.embedding)) : null;
  } catch {
    return null;
  }
}
