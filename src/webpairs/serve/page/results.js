// Show results: a card for each, more of them as one scrolls, and plain words where there are none.

import { button, count, find, make, plural, quote, visible } from "./show.js";
import { KEY_TYPE } from "./field.js";

const THUMB_PX = 384;

export const nsfwOf = (hit) => hit.nsfw ?? hit.columns?.nsfw ?? null;

const isTagged = (hit) => ["NSFW", "UNSURE"].includes(nsfwOf(hit));

/** Make cards. `openDetail(hit)` shows one, `exclude` is the list, `looked()` what is looked at. */
export function openResults({ looked, go, openDetail, exclude, more }) {
  const shown = find("shown");
  const unveiled = new Set(); // keys whose picture was clicked
  const known = new Map(); // key -> hit
  let grid = null;
  let hits = [];
  let numPages = 0; // that were asked for; one may hold fewer hits than it was asked for
  let hasMore = false;
  let chance = null; // the similarity that 1 in 100 pairs chosen at random reaches
  let isDivided = false;

  const isBlurred = (key) => {
    const hit = known.get(key);
    return looked().safe && !unveiled.has(key) && (hit === undefined || isTagged(hit));
  };

  function reveal(key) {
    unveiled.add(key);
    for (const box of document.querySelectorAll(`.well[data-key="${CSS.escape(key)}"]`)) {
      box.classList.remove("veiled");
      box.querySelector(".veil")?.remove();
    }
  }

  function well(hit, link) {
    known.set(hit.key, hit);
    const box = make("div", { class: "well", data: { key: hit.key } }, link);
    if (hit.image && isBlurred(hit.key)) {
      box.classList.add("veiled");
      const unveil = (event) => {
        event.preventDefault();
        reveal(hit.key);
        link.focus();
      };
      const why = nsfwOf(hit) === "NSFW" ? "Tagged NSFW" : "Maybe NSFW";
      box.append(
        make(
          "button",
          {
            type: "button",
            class: "veil",
            "aria-label": `${why}: show this picture`,
            onclick: unveil,
          },
          make("span", {}, why),
          make("span", { class: "pill" }, "Show"),
        ),
      );
    }
    return box;
  }

  /** Return a hit's picture, or its words where there is none. */
  function picture(hit, side = THUMB_PX) {
    const caption = visible(hit.columns?.caption ?? hit.caption);
    const words = () => quote(caption || hit.key, { class: "words" });
    if (!hit.image) return words();
    const image = make("img", {
      src: side ? `${hit.image}?size=${side}` : hit.image,
      alt: caption,
      loading: side ? "lazy" : null,
      decoding: "async",
      width: 256,
      height: 256,
    });
    image.addEventListener("error", () => image.replaceWith(words()));
    fit(image, hit.columns);
    return image;
  }

  /** Cut away the border that some recipes put around a picture to make it square. */
  function fit(image, columns) {
    const { original_width: width, original_height: height } = columns ?? {};
    if (!looked().dataset.bordered || !(width > 0 && height > 0) || width === height) return;
    image.classList.add(width > height ? "wide" : "tall");
    image.style.aspectRatio = `${width} / ${height}`;
  }

  function card(hit) {
    const caption = hit.columns.caption ?? "";
    const here = looked();
    const href = `/sample/${encodeURIComponent(here.index)}/${encodeURIComponent(hit.key)}`;
    const link = make(
      "a",
      { class: "picture", href, title: "Open", draggable: "true" },
      picture(hit),
    );
    link.addEventListener(
      "click",
      follow(() => openDetail(hit)),
    );
    link.addEventListener("dragstart", (event) => event.dataTransfer.setData(KEY_TYPE, hit.key));
    // The picture's link is the one that keys reach: it leads to the same.
    const words = make("a", { class: "caption", href, tabindex: "-1" }, quote(caption));
    words.addEventListener(
      "click",
      follow(() => openDetail(hit)),
    );
    const like = make(
      "button",
      {
        type: "button",
        class: "like",
        onclick: () => go({ terms: [{ key: hit.key, away: false }], view: null }),
      },
      "More like this",
      make("span", { class: "unseen" }, `: ${visible(caption) || hit.key}`),
    );
    const licence = hit.columns.license;
    return make(
      "li",
      { class: `card${exclude.has(hit.key) ? " out" : ""}`, data: { key: hit.key } },
      well(hit, link),
      caption && hit.image ? words : null,
      make(
        "p",
        { class: "beside" },
        typeof hit.similarity === "number" &&
          make(
            "span",
            {
              title:
                here.view === "threshold"
                  ? "Similarity of caption and picture"
                  : "Similarity to what was searched",
            },
            hit.similarity.toFixed(3),
          ),
        licence &&
          licence !== "?" &&
          quote(shortLicence(licence), { class: "licence", title: visible(licence) }),
        hit.folded?.length > 0 &&
          make(
            "button",
            {
              type: "button",
              class: "folded",
              title: "Show what is folded under it",
              onclick: () => openDetail(hit),
            },
            `+${hit.folded.length} alike`,
          ),
      ),
      like,
    );
  }

  /** Show hits in place of what was there. */
  function fill(found, options = {}) {
    const { more: moreFollow = false, empty = null, pages = 1 } = options;
    chance = options.chance ?? null;
    hits = [...found];
    numPages = pages;
    hasMore = moreFollow;
    grid = make("ol", { class: "grid" });
    isDivided = false;
    append(hits);
    shown.replaceChildren(hits.length ? grid : (empty ?? ""));
    showPages();
  }

  function add(found, moreFollow) {
    const there = new Set(hits.map((hit) => hit.key));
    const fresh = found.filter((hit) => !there.has(hit.key));
    hits.push(...fresh);
    numPages += 1;
    hasMore = moreFollow;
    append(fresh);
    showPages();
  }

  /** Add cards, and before the first whose similarity says little a line that tells so. */
  function append(found) {
    for (const hit of found) {
      if (!isDivided && chance !== null && hit.similarity < chance) {
        grid.append(divide(chance, !grid.children.length && !looked().offset));
        isDivided = true;
      }
      grid.append(card(hit));
    }
  }

  function showPages() {
    const end = button("More", more, { id: "more" });
    find("pages").replaceChildren(...(hasMore ? [end] : []));
    watcher.disconnect();
    if (hasMore) watcher.observe(end);
  }

  const watcher = new IntersectionObserver(
    (entries) => entries.some((one) => one.isIntersecting) && more(),
    { rootMargin: "800px" },
  );

  return {
    fill,
    add,
    card,
    well,
    picture,
    isBlurred,
    reveal,
    hits: () => hits,
    hasMore: () => hasMore,
    numPages: () => numPages,
    chance: () => chance,
    /** Show others than a list of hits; nothing follows them. */
    put: (element, listed = []) => {
      hits = listed;
      hasMore = false;
      shown.replaceChildren(element);
      showPages();
    },
    again: () => {
      for (const item of shown.querySelectorAll(".card")) {
        const hit = known.get(item.dataset.key);
        if (hit) item.replaceWith(card(hit));
      }
    },
    mark: (key) => {
      for (const item of document.querySelectorAll(`.card[data-key="${CSS.escape(key)}"]`))
        item.classList.toggle("out", exclude.has(key));
    },
  };
}

/** Return the line below which similarity says little; `first` where all results are below it. */
const divide = (chance, first) =>
  make(
    "li",
    { class: "divide" },
    make(
      "p",
      {},
      first && make("b", {}, "Nothing here is clearly alike."),
      `${first ? " " : ""}Below ${chance.toFixed(3)} similarity says little: of pairs chosen at random, 1 in 100 is as similar.`,
    ),
  );

/** Return what is shown, and of how many samples it is; pages.py has the same words. */
export function describe(looked, hits, { among, terms }) {
  const number = hits.length;
  const match = looked.where.length ? " that match" : "";
  let words = `${count(number)} of ${plural(among, "sample")}${match}`;
  if (terms.length)
    words = `The ${number === 1 ? "nearest" : `${count(number)} nearest`} of ${plural(among, "sample")}${match}`;
  else if (looked.terms.length)
    words = `${plural(number, "sample")} with these words in the caption`;
  if (!number) words = "No results";
  if (looked.offset) words += `, from number ${count(looked.offset + 1)} on`;
  const folded = hits.reduce((sum, hit) => sum + (hit.folded?.length ?? 0), 0);
  if (folded) words += `; ${count(folded)} more that look the same folded under them`;
  return words;
}

/** Return a licence's usual name where it is written as an address of Creative Commons. */
function shortLicence(licence) {
  const found =
    /creativecommons\.org\/(?:licenses\/([a-z-]+)\/(\d\.\d)|publicdomain\/(zero|mark))/i.exec(
      licence,
    );
  if (!found) return licence;
  const [, kind, version, domain] = found;
  return kind
    ? `CC ${kind.toUpperCase()} ${version}`
    : domain.toLowerCase() === "zero"
      ? "CC0"
      : "Public domain";
}

/** Return a listener that does what a link says in place, unless it is opened elsewhere. */
export function follow(act) {
  return (event) => {
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    act();
  };
}

/** Return plain words for a search that found nothing, or failed: what could be loosened. */
export function nothing(looked, loosen, failed = false) {
  const ways = [];
  const numFilters = looked.where.length;
  const away = looked.terms.filter((one) => one.away);
  const way = (style, title, changes) =>
    ways.push(button(title, () => loosen(changes), { class: style }));
  if (numFilters)
    way("main", `Without the ${numFilters === 1 ? "filter" : `${numFilters} filters`}`, {
      where: [],
    });
  if (away.length && !failed)
    way("plain", "Without what is kept away from", {
      terms: looked.terms.filter((one) => !one.away),
    });
  let hint = "This dataset has no samples.";
  if (failed) hint = "If it is the filter, go on without it.";
  else if (numFilters) hint = "No sample passes all of the filters.";
  else if (looked.terms.length) hint = "Try fewer words, or others.";
  return make(
    "div",
    { class: "empty" },
    make("h2", {}, failed ? "That did not work" : "Nothing was found"),
    make("p", {}, hint),
    make("div", { class: "ways" }, ...ways),
  );
}
