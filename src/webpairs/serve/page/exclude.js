// Keep a list of samples that somebody wants out of a dataset, in this browser, and save it as a file.

import { imageOf } from "./ask.js";
import { count, find, icon, make, openDialog, plural, quote, say } from "./show.js";

const TYPES = { csv: "text/csv", json: "application/json", txt: "text/plain" };

/** Wire the exclude list. `changed(key)` is called when a sample comes or goes. */
export function openExclude({ looked, isBlurred, openKey }) {
  const watchers = [];
  let index = null;
  let listed = new Map(); // key -> {key, uid, url, caption}

  const storeKey = () => `webpairs exclude ${index}`;

  function load(name) {
    if (name === index) return;
    index = name;
    listed = stored() ?? new Map();
    showNumber();
  }

  /** Return the list as it was stored, or null where there is no storage, or none of ours in it. */
  function stored() {
    try {
      const samples = JSON.parse(localStorage.getItem(storeKey()) ?? "[]");
      return new Map(samples.map((one) => [one.key, one]));
    } catch {
      return null;
    }
  }

  // Another tab has changed the list.
  addEventListener("storage", (event) => {
    if (event.key !== storeKey()) return;
    const before = [...listed.keys()];
    listed = stored() ?? listed;
    showNumber();
    for (const key of new Set([...before, ...listed.keys()])) {
      for (const watch of watchers) watch(key);
    }
  });

  function save() {
    try {
      localStorage.setItem(storeKey(), JSON.stringify([...listed.values()]));
    } catch {
      say("This browser keeps nothing: the list is lost when the page is closed");
    }
    showNumber();
  }

  function showNumber() {
    find("num-excluded").textContent = count(listed.size);
    find("excluded").classList.toggle("some", listed.size > 0);
  }

  /** Put a sample on the list, or take it off. */
  function toggle(sample) {
    if (listed.has(sample.key)) listed.delete(sample.key);
    else
      listed.set(sample.key, {
        key: sample.key,
        uid: sample.uid ?? null,
        url: sample.url ?? null,
        caption: sample.caption ?? "",
      });
    save();
    say(
      listed.has(sample.key)
        ? `On the exclude list, which has ${plural(listed.size, "sample")}`
        : "Off the exclude list",
    );
    for (const watch of watchers) watch(sample.key);
  }

  function showList() {
    const items = [...listed.values()].map((one) => {
      const picture = looked().dataset.has_images
        ? make("img", {
            src: `${imageOf(index, one.key)}?size=128`,
            alt: "",
            loading: "lazy",
            width: 48,
            height: 48,
            class: isBlurred(one.key) ? "blurred" : null,
          })
        : null;
      const remove = () => {
        toggle(one);
        showList();
        (
          find("listed").querySelector("button") ?? find("list").querySelector("[data-close]")
        ).focus();
      };
      return make(
        "li",
        {},
        picture,
        make(
          "button",
          {
            type: "button",
            class: "body",
            onclick: () => (find("list").close(), openKey(one.key)),
          },
          quote(one.caption || one.key),
          make("small", {}, one.key),
        ),
        make(
          "button",
          {
            type: "button",
            class: "round",
            "aria-label": `Take ${one.key} off the list`,
            onclick: remove,
          },
          icon("close"),
        ),
      );
    });
    const none = make(
      "li",
      { class: "none" },
      "Nothing is on it yet. Press x on a result, or use Exclude in its details.",
    );
    find("listed").replaceChildren(...(items.length ? items : [none]));
    for (const button of find("list").querySelectorAll("[data-download], #clear"))
      button.disabled = !items.length;
  }

  function download(format) {
    const file = new Blob([written(format, [...listed.values()])], {
      type: `${TYPES[format]};charset=utf-8`,
    });
    const link = make("a", {
      href: URL.createObjectURL(file),
      download: `${index}-exclude.${format}`,
    });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  find("excluded").addEventListener("click", () => {
    showList();
    openDialog(find("list"));
  });
  for (const button of find("list").querySelectorAll("[data-download]"))
    button.addEventListener("click", () => download(button.dataset.download));
  find("clear").addEventListener("click", () => {
    const keys = [...listed.keys()];
    listed.clear();
    save();
    showList();
    for (const key of keys) for (const watch of watchers) watch(key);
  });

  return { load, toggle, has: (key) => listed.has(key), watch: (call) => watchers.push(call) };
}

/** Return a list as a file's text: CSV of key, uid and url (RFC 4180), the same in JSON, or keys. */
export function written(format, samples) {
  if (format === "txt") return samples.map((one) => `${one.key}\n`).join("");
  const rows = samples.map(({ key, uid, url }) => ({ key, uid, url }));
  if (format === "json") return `${JSON.stringify(rows, null, 1)}\n`;
  const field = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
  return [
    "key,uid,url",
    ...rows.map((row) =>
      Object.values(row)
        .map((one) => field(one ?? ""))
        .join(","),
    ),
  ]
    .map((line) => `${line}\r\n`)
    .join("");
}
