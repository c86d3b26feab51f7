// Show both sides of the threshold: what was kept by a hair, and the texts of what was dropped by one.

import { linkOut, make, quote } from "./show.js";

/** Return the two sides; `card` makes a card of a hit. */
export function nearThreshold(found, card) {
  const side = (title, lead, list) =>
    make(
      "section",
      { class: "border" },
      make("h2", {}, title),
      make("p", { class: "lead" }, lead),
      list,
    );
  // What a card shows as similarity is that of caption and picture here: it was judged by that.
  const kept = found.kept.map((hit) => card({ ...hit, similarity: hit.columns.similarity }));
  const dropped = found.dropped.map((one) => {
    const links = [linkOut("Page", one.page_url), linkOut("Picture", one.url)].filter(Boolean);
    return make(
      "li",
      {},
      make("span", { class: "score" }, one.similarity.toFixed(4)),
      quote(one.caption),
      make("span", { class: "links" }, ...links),
    );
  });
  const none = (text) => make("p", { class: "others" }, text);
  return make(
    "div",
    { class: "borders" },
    side(
      "Just kept",
      "The samples whose caption fits the picture least.",
      kept.length ? make("ol", { class: "grid" }, ...kept) : none("No sample has a score."),
    ),
    side(
      "Just dropped",
      "Of these the texts alone are known: pictures that were dropped are not stored.",
      dropped.length
        ? make("ol", { class: "dropped" }, ...dropped)
        : none("Nothing was dropped for its score, or nobody wrote it down."),
    ),
  );
}
