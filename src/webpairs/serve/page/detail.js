// Show one sample with every fact of its row, beside the results.

import { MAX_TEXT_CHARS } from "./address.js";
import { ask, imageOf } from "./ask.js";
import { button, find, linkOut, make, openDialog, quote, say, visible } from "./show.js";
import { nsfwOf } from "./results.js";

const SIDE_PX = 1024;
// From this width on a sample is shown beside the results, which stay in use; else it covers them.
const BESIDE = matchMedia("(min-width: 64rem)");

/** Wire the panel. `closed()` is called when it closes, `moved(key)` when it shows another sample. */
export function openDetail({ looked, go, results, exclude, more, moved, closed }) {
  const dialog = find("detail");
  const body = find("detail-body");
  let shown = null; // the hit
  let row = null;
  let asking = null;
  let isModal = false;

  /** Show a sample: a hit, or one of which only the key is known. */
  async function open(hit) {
    shown = hit;
    row = null;
    if (!dialog.open) {
      isModal = !BESIDE.matches;
      if (isModal) openDialog(dialog);
      else dialog.show();
    }
    showPlace();
    mark(hit.key);
    body.replaceChildren(...head(hit, null));
    body.scrollTop = 0;
    dialog.scrollTop = 0;
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    try {
      const found = await ask(looked().index, `rows/${encodeURIComponent(hit.key)}`, { signal });
      if (shown !== hit) return;
      row = found;
      body.replaceChildren(...head(hit, row), ...facts(row), folded(hit), neighbours(row));
    } catch (error) {
      if (error.name !== "AbortError") body.append(make("p", { class: "error" }, error.message));
    }
  }

  function close() {
    if (dialog.open) dialog.close();
  }

  dialog.addEventListener("close", () => {
    asking?.abort();
    const key = shown?.key;
    const isLeft = !looked().sample; // something else is looked at already
    shown = null;
    mark(null);
    closed();
    // Who has gone on to another part of the page stays there.
    const { activeElement: active } = document;
    if (!isLeft && (isModal || active === document.body || active.closest("#shown")))
      cardOf(key)?.querySelector(".picture").focus();
  });
  BESIDE.addEventListener("change", () => dialog.open && dialog.close());

  const cardOf = (key) => document.querySelector(`#shown .card[data-key="${CSS.escape(key ?? "")}"]`);

  /** Mark the card of the sample that is open, and bring it into sight: the results have moved. */
  function mark(key) {
    document.querySelector("#shown .card.open")?.classList.remove("open");
    const card = cardOf(key);
    card?.classList.add("open");
    if (!isModal) card?.scrollIntoView({ block: "nearest" });
  }

  /** Return the sample as the exclude list keeps it. */
  const sample = () =>
    shown && {
      key: shown.key,
      uid: row?.uid ?? shown.uid,
      url: shown.columns?.url ?? factOf(row, "URL", "url"),
      caption: row?.caption ?? shown.columns?.caption,
    };

  function head(hit, found) {
    const caption = found?.caption ?? hit.columns?.caption ?? "";
    const known = hit.columns
      ? hit
      : {
          key: hit.key,
          nsfw: factOf(found, "NSFW", "nsfw"),
          image: found?.image ?? null,
          columns: {
            caption,
            original_width: factOf(found, "WIDTH", "original_width"),
            original_height: factOf(found, "HEIGHT", "original_height"),
          },
        };
    const stage = make("div", { class: "stage" });
    if (known.image) {
      stage.append(
        results.well(
          known,
          make("div", { class: "picture", tabindex: "-1" }, results.picture(known, SIDE_PX)),
        ),
      );
    }
    const like = (away) => ({ key: hit.key, away });
    const said = { text: caption.slice(0, MAX_TEXT_CHARS), away: false };
    const pressed = {
      id: "exclude-this",
      class: "plain",
      "aria-pressed": exclude.has(hit.key) ? "true" : "false",
    };
    const actions = make(
      "div",
      { class: "actions" },
      button("More like this", () => leave([like(false)]), { class: "main" }),
      caption && button("Search caption", () => leave([said])),
      button("Add to search", () => leave([...looked().terms, like(false)])),
      button("Keep away", () => leave([...looked().terms, like(true)])),
      button("Exclude", () => exclude.toggle(sample()), pressed),
      button("Copy link", copyLink),
    );
    const links = (found?.links ?? []).map((one) => linkOut(one.title, one.url)).filter(Boolean);
    return [
      stage,
      make("h2", { id: "detail-title" }, quote(caption || hit.key)),
      typeof hit.similarity === "number"
        ? make("p", { class: "near" }, `${hit.similarity.toFixed(3)} similar to what was searched`)
        : "",
      links.length
        ? make("ul", { class: "links" }, ...links.map((link) => make("li", {}, link)))
        : "",
      actions,
    ];
  }

  function leave(terms) {
    close();
    go({ terms, view: null });
  }

  async function copyLink() {
    const address = new URL(
      `/sample/${encodeURIComponent(looked().index)}/${encodeURIComponent(shown.key)}`,
      location.href,
    );
    try {
      await navigator.clipboard.writeText(address.href);
      find("place").textContent = "The link is copied";
    } catch {
      find("place").textContent = address.href;
    }
  }

  function facts(found) {
    return found.groups.map((group) => {
      const known = group.facts.filter((one) => !["", "–"].includes(one.text));
      const empty = group.facts.filter((one) => !known.includes(one));
      const long = (one) => one.text.length > 34;
      return make(
        "section",
        { class: "facts" },
        make("h3", {}, visible(group.title)),
        make(
          "dl",
          {},
          ...known.map((one) =>
            make(
              "div",
              { class: long(one) ? "long" : null },
              make("dt", { title: one.meaning ? visible(one.meaning) : null }, visible(one.title)),
              make("dd", {}, quote(one.text)),
            ),
          ),
        ),
        empty.length > 0 &&
          make(
            "p",
            { class: "unknown" },
            `Not known: ${empty.map((one) => visible(one.title)).join(", ")}`,
          ),
      );
    });
  }

  function folded(hit) {
    if (!hit.folded?.length || !looked().dataset.has_images) return "";
    const alike = hit.folded.map((key) => {
      // What is folded under a picture shows the same: it is blurred as that one is.
      const copy = {
        key,
        image: imageOf(looked().index, key),
        nsfw: nsfwOf(hit),
        columns: { caption: `Sample ${key}` },
      };
      return tile(copy, { key });
    });
    return make(
      "section",
      { class: "facts" },
      make("h3", {}, "Folded under it"),
      make("ol", { class: "strip" }, ...alike),
    );
  }

  function neighbours(found) {
    const near = (found.neighbours ?? []).map((hit) => tile(hit, hit));
    return near.length
      ? make(
          "section",
          { class: "facts" },
          make("h3", {}, "Nearest to it"),
          make("ol", { class: "strip" }, ...near),
        )
      : "";
  }

  function tile(hit, opened) {
    const link = make(
      "button",
      { type: "button", class: "picture", onclick: () => (moved(opened), open(opened)) },
      results.picture(hit, 256),
    );
    return make("li", {}, results.well(hit, link));
  }

  function showPlace() {
    const hits = results.hits();
    const place = hits.findIndex((one) => one.key === shown.key);
    find("place").textContent =
      place < 0 ? "" : `${place + 1} of ${hits.length}${results.hasMore() ? " so far" : ""}`;
    find("previous").disabled = place <= 0;
    find("next").disabled = place < 0 || (place + 1 >= hits.length && !results.hasMore());
  }

  async function step(by) {
    const from = shown;
    const beside = () => {
      const place = results.hits().findIndex((one) => one.key === from?.key);
      return place < 0 ? undefined : results.hits()[place + by];
    };
    if (by > 0 && !beside() && results.hasMore()) await more();
    const next = beside();
    if (!next || shown !== from) return;
    moved(next);
    open(next);
    say(visible(next.columns?.caption ?? next.key));
  }

  find("previous").addEventListener("click", () => step(-1));
  find("next").addEventListener("click", () => step(1));
  exclude.watch((key) => {
    if (shown?.key === key)
      find("exclude-this")?.setAttribute("aria-pressed", String(exclude.has(key)));
  });

  return {
    open,
    close,
    step,
    sample,
    isOpen: () => dialog.open,
    isModal: () => isModal,
    again: () => shown && open(shown),
  };
}

/** Return the value of the first of these columns that a row has. */
function factOf(row, ...names) {
  const facts = row?.groups.flatMap((group) => group.facts) ?? [];
  return (
    names
      .map((name) => facts.find((one) => one.name === name)?.value)
      .find((one) => one !== undefined) ?? null
  );
}
