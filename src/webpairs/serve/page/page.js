// The page: what is looked at is in its address; each change of it searches, and back goes back.

import { K, read, request, write } from "./address.js";
import { Refused, ask } from "./ask.js";
import { openDetail } from "./detail.js";
import { openExclude } from "./exclude.js";
import { keepThumb, openField } from "./field.js";
import { openFilters } from "./filters.js";
import { currentCard, openKeys } from "./keys.js";
import { describe, nothing, openResults } from "./results.js";
import { find, plural, say } from "./show.js";
import { nearThreshold } from "./threshold.js";

// The server goes no further; it says so with the last page.
const MAX_RESULTS = 10_000;

const given = JSON.parse(find("given").textContent);
if (!given.alone) start();

function start() {
  document.documentElement.classList.add("js");
  let looked = null; // made anew by each search; the open sample and safe mode change within it
  let asking = null; // the search that is under way
  let loading = false; // whether more results are being fetched
  const kept = new Map(); // results by address, so that back is at once where one was

  const here = () => looked;
  /** Return what results depend on: neither which sample is open nor whether pictures are blurred. */
  const searchKey = () => write({ ...looked, sample: null, safe: true });
  const exclude = openExclude({
    looked: here,
    isBlurred: (key) => results.isBlurred(key),
    openKey: (key) => openSample({ key }),
  });
  const results = openResults({ looked: here, go, openDetail: openSample, exclude, more });
  const field = openField({
    change: (terms) => go({ terms, view: null }),
    fail: showError,
    isBlurred: results.isBlurred,
  });
  const filters = openFilters({
    looked: here,
    change: (where) => go({ where, view: looked.view === "random" ? "random" : null }),
  });
  const detail = openDetail({ looked: here, go, results, exclude, more, moved, closed });

  /** Look at something else: it gets an address of its own, and is searched for. */
  function go(changes) {
    keep();
    looked = withDataset({ ...looked, folds: null, offset: 0, sample: null, ...changes });
    history.pushState(null, "", write(looked));
    detail.close();
    scrollTo({ top: 0 });
    run();
  }

  function withDataset(state) {
    const dataset = given.datasets.find((one) => one.name === state.index);
    return {
      ...state,
      dataset,
      in: dataset.kinds.includes(state.in) && state.in !== dataset.kinds[0] ? state.in : null,
    };
  }

  /** Remember the results of this address. */
  function keep() {
    if (!looked || asking) return;
    kept.set(searchKey(), {
      hits: results.hits(),
      more: results.hasMore(),
      pages: results.numPages(),
      chance: results.chance(),
      folds: looked.folds,
      scroll: scrollY,
      note: find("note").textContent,
      status: find("status").textContent,
    });
    if (kept.size > 30) kept.delete(kept.keys().next().value);
  }

  async function run(first = null) {
    showState();
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    const mine = looked;
    hide("error");
    hide("note");
    document.body.classList.add("busy");
    try {
      if (mine.view === "threshold") await showThreshold(mine, signal);
      else if (mine.view === "random") await showRandom(mine, signal);
      else show(mine, first ?? (await search(mine, mine.offset, K, signal)));
      if (mine !== looked) return;
      asking = null;
      if (first && given.facets) filters.show(given.facets);
      if (!(first && given.facets && !mine.where.length) && mine.view !== "threshold")
        filters.refresh();
      if (mine.sample) detail.open(hitOf(mine.sample));
    } catch (error) {
      if (error.name === "AbortError" || mine !== looked) return;
      if (!(error instanceof Refused)) console.error(error);
      asking = null;
      showError(
        error instanceof Refused
          ? error.message
          : "The page has a fault: reload it, and tell us if it comes again.",
      );
      results.fill([], { empty: mine.where.length ? nothing(mine, go, true) : null });
      find("status").textContent = "";
      filters.showChosen();
    } finally {
      if (mine === looked) document.body.classList.remove("busy");
    }
  }

  // Pages that follow are folded as the first one was.
  const search = (mine, offset, k, signal = null) => {
    const body = request({ ...mine, unique: mine.unique ?? mine.folds ?? null }, { offset, k });
    return ask(mine.index, "search", { body, signal });
  };

  function show(mine, found) {
    takeEmbeddings(mine, found);
    if (found.note) showNote(found.note);
    mine.folds = found.unique;
    showFolds();
    results.fill(found.hits, {
      more: found.more,
      chance: found.chance,
      empty: nothing(mine, go),
    });
    field.showChips();
    find("status").textContent = describe(mine, found.hits, found);
  }

  /** A picture that was sent comes back as its embedding, which an address can hold. */
  function takeEmbeddings(mine, found) {
    mine.terms = mine.terms.map((term, place) => {
      const { embedding } = found.terms?.[place] ?? {};
      if ((term.image === undefined && term.image_url === undefined) || !embedding) return term;
      keepThumb(embedding, term.thumb);
      return { embedding, thumb: term.thumb, away: term.away };
    });
    history.replaceState(null, "", write(mine));
    field.show(mine);
  }

  async function showRandom(mine, signal) {
    const query = new URLSearchParams({ k: 60, ...(mine.seed && { seed: mine.seed }) });
    const { where } = request(mine);
    if (where) query.set("where", where);
    const found = await ask(mine.index, `random?${query}`, { signal });
    mine.seed = found.seed;
    history.replaceState(null, "", write(mine));
    results.fill(found.hits, { empty: nothing(mine, go) });
    find("status").textContent = `${plural(found.hits.length, "sample")} at random`;
  }

  async function showThreshold(mine, signal) {
    const found = await ask(mine.index, "near-threshold?k=24", { signal });
    results.put(nearThreshold(found, results.card), found.kept);
    find("status").textContent =
      found.threshold === null
        ? "Near the threshold"
        : `Both sides of the threshold, ${found.threshold}`;
  }

  /** Show whether duplicates are folded: as it was switched, or as the server chose. */
  function showFolds() {
    find("unique").checked = looked.unique ?? looked.folds ?? false;
  }

  async function more() {
    if (loading || asking || !results.hasMore()) return;
    loading = true;
    const mine = looked;
    try {
      const offset = mine.offset + K * results.numPages();
      const found = await search(mine, offset, Math.min(K, MAX_RESULTS - offset));
      if (mine !== looked) return;
      results.add(found.hits, found.more);
      find("status").textContent = describe(mine, results.hits(), found);
    } catch (error) {
      if (mine === looked) showError(error.message);
    } finally {
      loading = false;
    }
  }

  /** Show what is looked at in the field, the switches and the title. */
  function showState() {
    field.show(looked);
    exclude.load(looked.index);
    find("safe").setAttribute("aria-pressed", String(looked.safe));
    showFolds();
    for (const box of document.querySelectorAll("[name=in]"))
      box.checked = box.value === (looked.in ?? looked.dataset.kinds[0]);
    for (const id of ["random", "threshold"])
      find(id)?.setAttribute("aria-pressed", String(looked.view === id));
    const words = looked.terms
      .filter((one) => one.text !== undefined)
      .map((one) => (one.away ? `−${one.text}` : one.text));
    document.title = [...words.slice(0, 3), looked.index, "webpairs"].join(" – ");
    const { model } = looked.dataset;
    find("choose").disabled = !model.available;
    find("choose").title = model.available
      ? "Search with a picture: choose, drop or paste one"
      : "Pictures cannot be searched with: the model is not here";
    filters.showChosen();
  }

  function showError(sentence) {
    find("error").textContent = sentence;
    find("error").hidden = false;
  }

  function showNote(sentence) {
    find("note").textContent = `${sentence[0].toUpperCase()}${sentence.slice(1)}`;
    find("note").hidden = false;
  }

  const hide = (id) => {
    find(id).hidden = true;
    find(id).textContent = "";
  };

  const hitOf = (key) => results.hits().find((one) => one.key === key) ?? { key };

  function openSample(hit) {
    if (detail.isOpen()) moved(hit);
    else {
      keep();
      looked.sample = hit.key;
      history.pushState({ opened: true }, "", write(looked));
    }
    detail.open(hit);
  }

  function moved(hit) {
    looked.sample = hit.key;
    history.replaceState(history.state, "", write(looked));
  }

  function closed() {
    if (!looked.sample) return;
    looked.sample = null;
    if (history.state?.opened) history.back();
    else history.replaceState(null, "", write(looked));
  }

  function setSafe(safe) {
    looked.safe = safe;
    history.replaceState(history.state, "", write(looked));
    showState();
    results.again();
    detail.again();
    say(safe ? "Safe mode is on" : "Safe mode is off");
  }

  addEventListener("popstate", () => {
    const before = searchKey();
    keep();
    // Going back does not blur, nor unblur, what somebody has just switched.
    const { safe } = looked;
    looked = withDataset({ ...read(location.search, given.datasets), safe });
    history.replaceState(history.state, "", write(looked));
    if (searchKey() === before) {
      if (looked.sample) detail.open(hitOf(looked.sample));
      else detail.close();
      return;
    }
    if (!looked.sample) detail.close();
    const old = kept.get(searchKey());
    if (!old || looked.view === "threshold") {
      run();
      return;
    }
    asking?.abort();
    asking = null;
    looked.folds = old.folds;
    showState();
    hide("error");
    hide("note");
    if (old.note) showNote(old.note);
    results.fill(old.hits, { ...old, empty: nothing(looked, go) });
    find("status").textContent = old.status;
    scrollTo({ top: old.scroll });
    filters.refresh();
    if (looked.sample) detail.open(hitOf(looked.sample));
  });

  find("safe").addEventListener("click", () => setSafe(!looked.safe));
  find("unique").addEventListener("change", (event) =>
    go({ unique: event.target.checked, view: null }),
  );
  for (const box of document.querySelectorAll("[name=in]"))
    box.addEventListener("change", () => go({ in: box.value, view: null }));
  find("dataset")?.addEventListener("change", (event) =>
    go({
      index: event.target.value,
      terms: looked.terms.filter((one) => one.text !== undefined),
      where: [],
      view: null,
    }),
  );
  const random = () => go({ view: "random", seed: null, terms: [] });
  find("random").addEventListener("click", random);
  find("threshold")?.addEventListener("click", () =>
    go({ view: looked.view === "threshold" ? null : "threshold" }),
  );
  exclude.watch(results.mark);

  const ofCard = (act) => () => {
    const card = currentCard();
    const hit = card && results.hits().find((one) => one.key === card.dataset.key);
    if (hit) act(hit);
  };
  openKeys({
    detail,
    acts: {
      "/": () => (find("text").focus(), find("text").select()),
      s: () => setSafe(!looked.safe),
      f: filters.focus,
      r: random,
      d: ofCard(openSample),
      m: ofCard((hit) => go({ terms: [{ key: hit.key, away: false }], view: null })),
      x: (sample) =>
        sample
          ? exclude.toggle(sample)
          : ofCard((hit) => exclude.toggle({ ...hit, ...hit.columns }))(),
    },
  });

  history.scrollRestoration = "manual";
  looked = withDataset(read(location.search, given.datasets));
  const [, key] = /^#([\w-]+)$/.exec(location.hash) ?? [];
  if (key && !find(key)) looked.sample = key;
  if (given.error) {
    showState();
    showError(given.error);
    if (looked.where.length) results.fill([], { empty: nothing(looked, go, true) });
  } else if (given.result && !looked.view) run(given.result);
  else run();
}
