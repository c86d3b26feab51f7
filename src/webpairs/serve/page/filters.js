// Filters with counts: what is ticked within a facet is joined by or, facets are joined by and.

import { request } from "./address.js";
import { ask } from "./ask.js";
import { count, find, icon, make, openDialog, quote, share, visible } from "./show.js";

const FEW = 6;

/** Return what the numbers beside filters count; pages.py has the same words. */
function describeCounts(counts) {
  const number = count(counts.count);
  const names = { all: `all ${number}`, "all that match": `the ${number} that match` };
  return `Samples among ${names[counts.of] ?? counts.of}`;
}

/** Wire the filters. `change(groups)` searches with another filter. */
export function openFilters({ looked, change }) {
  const names = new Map(); // expression -> {facet, title, value}, as far as they were seen
  const unfolded = new Set(); // facets of which all values are shown
  let last = null;
  let asking = null;

  /** Count anew; a facet that is filtered by is counted without its own filter. */
  async function refresh() {
    asking?.abort();
    asking = new AbortController();
    const here = looked();
    const { signal } = asking;
    const counts = (where) =>
      ask(here.index, "facets", { body: request({ ...here, where }), signal });
    try {
      const all = await counts(here.where);
      learn(all);
      const own = await Promise.all(
        here.where.map(async (group, place) => {
          const name = names.get(group[0])?.facet;
          if (name === undefined) return null;
          const found = await counts(here.where.filter((_, other) => other !== place));
          learn(found);
          return found.facets.find((one) => one.name === name);
        }),
      );
      const facets = new Map(all.facets.map((one) => [one.name, one]));
      for (const facet of own) if (facet) facets.set(facet.name, facet);
      const apart = own.map((one) => one?.name);
      show({ of: all.of, count: all.count, facets: [...facets.values()], apart });
    } catch (error) {
      if (error.name !== "AbortError")
        find("filters").replaceChildren(make("p", { class: "others" }, error.message));
    }
  }

  function learn(counts) {
    for (const facet of counts.facets) {
      for (const one of facet.values)
        names.set(one.where, { facet: facet.name, title: facet.title, value: one.value });
    }
  }

  function show(counts) {
    last = counts;
    learn(counts);
    // Focus stays on the box that was ticked, though boxes are made anew.
    const focused = document.activeElement?.dataset?.where;
    // What all of them have in common chooses nothing.
    const isChosen = (facet) =>
      looked().where.some((group) => names.get(group[0])?.facet === facet.name);
    const divides = (facet) => facet.values.length > 1 || facet.values[0]?.count < counts.count;
    const facets = counts.facets.filter((one) => divides(one) || isChosen(one)).map(section);
    const tagged = counts.facets.some((one) => one.name === "nsfw" && one.values.length);
    const untagged = make(
      "p",
      { class: "others" },
      "None of these has an NSFW tag, so safe mode blurs nothing.",
    );
    find("filters").replaceChildren(
      make("a", { class: "skip inside", href: "#results" }, "Skip the filters"),
      make("h2", { class: "of" }, describeCounts(counts)),
      ...facets,
      ...(counts.count && !tagged ? [untagged] : []),
    );
    if (focused)
      find("filters")
        .querySelector(`[data-where="${CSS.escape(focused)}"]`)
        ?.focus();
    showChosen();
  }

  function section(facet) {
    const isTicked = (one) => looked().where.some((group) => group.includes(one.where));
    const most = Math.max(1, ...facet.values.map((one) => one.count));
    const few = facet.values.length <= FEW + 1 || unfolded.has(facet.name);
    const shown = few
      ? facet.values
      : facet.values.filter((one, place) => place < FEW || isTicked(one));
    const rest = facet.values.length - shown.length;
    const unfold = () => {
      unfolded.add(facet.name);
      show(last);
      find("filters")
        .querySelector(`[data-facet="${CSS.escape(facet.name)}"] li:nth-child(${FEW + 1}) input`)
        ?.focus();
    };
    const items = shown.map((one) => {
      const box = make("input", {
        type: "checkbox",
        data: { where: one.where },
        onchange: () => tick(facet, one),
      });
      box.checked = isTicked(one);
      return make(
        "li",
        {},
        make(
          "label",
          { class: "choice" },
          box,
          make("span", { class: "value" }, quote(one.value)),
          make("span", { class: "count" }, count(one.count)),
          share(one.count / most),
        ),
      );
    });
    return make(
      "fieldset",
      { class: "facet", data: { facet: facet.name } },
      make(
        "legend",
        {},
        visible(facet.title),
        last.apart?.includes(facet.name) &&
          make("small", { class: "apart" }, " counted without this filter"),
      ),
      make("ul", {}, ...items),
      rest > 0 &&
        make("button", { type: "button", class: "others", onclick: unfold }, `${count(rest)} more`),
      few &&
        facet.others > 0 &&
        make("p", { class: "others" }, `and ${count(facet.others)} samples with others`),
    );
  }

  function tick(facet, value) {
    const groups = looked().where.map((group) => group.filter((one) => one !== value.where));
    if (!looked().where.some((group) => group.includes(value.where))) {
      const same = groups.find((group) =>
        group.some((one) => names.get(one)?.facet === facet.name),
      );
      if (same) same.push(value.where);
      else groups.push([value.where]);
    }
    change(groups.filter((group) => group.length));
  }

  /** Show above the results which filters are set; each can be taken away. */
  function showChosen() {
    const chips = looked().where.flatMap((group) =>
      group.map((expression) => {
        const known = names.get(expression);
        const name = known ? `${known.title}: ${known.value}` : expression;
        const remove = () =>
          change(
            looked()
              .where.map((one) => one.filter((other) => other !== expression))
              .filter((one) => one.length),
          );
        return make(
          "li",
          {},
          make(
            "button",
            {
              type: "button",
              class: "filter-chip",
              title: visible(expression),
              "aria-label": `Remove the filter ${visible(name)}`,
              onclick: remove,
            },
            known ? quote(name) : make("code", {}, visible(name)),
            icon("close"),
          ),
        );
      }),
    );
    find("chosen").replaceChildren(...chips);
    const number = looked().where.length;
    find("open-filters").querySelector("span").textContent = number
      ? `Filters (${number})`
      : "Filters";
  }

  const expression = find("where");
  expression.placeholder = "similarity > 0.32";
  expression.removeAttribute("name"); // what is typed is added to the filter rather than sent
  expression.value = "";
  expression.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    const typed = expression.value.trim();
    if (!typed) return;
    expression.value = "";
    change([...looked().where, [typed]]);
  });

  // On narrow screens the filters live in a drawer.
  const drawer = find("drawer");
  const side = find("side");
  const open = () => {
    find("drawer-body").append(...side.childNodes);
    openDialog(drawer);
  };
  drawer.addEventListener("close", () => side.append(...find("drawer-body").childNodes));
  find("open-filters").addEventListener("click", open);

  return {
    refresh,
    show,
    showChosen,
    focus: () =>
      side.offsetParent === null
        ? open()
        : (find("filters").querySelector("input") ?? expression).focus(),
  };
}
