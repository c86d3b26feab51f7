// What is looked at, as an address of the page and back: the names are those of GET /api/…/search.

export const AWAY = -0.5;
export const K = 40;
export const MAX_TEXT_CHARS = 2000; // of a term; captions may be longer

const FIELDS = [
  ["q", "text", false],
  ["not", "text", true],
  ["like", "key", false],
  ["unlike", "key", true],
  ["e", "embedding", false],
  ["unlike_e", "embedding", true],
];

/** Return what an address asks for: terms {text | key | embedding, away}, a filter and switches. */
export function read(search, datasets) {
  const query = new URLSearchParams(search);
  const names = datasets.map((one) => one.name);
  const asked = query.get("index");
  const terms = FIELDS.flatMap(([name, field, away]) =>
    query
      .getAll(name)
      .filter((one) => one.trim())
      .map((one) => ({ [field]: one, away })),
  );
  return {
    index: names.includes(asked) ? asked : names[0],
    terms,
    in: query.get("in") || null,
    where: readWhere(query.get("where") || ""),
    unique: readUnique(query.getAll("unique").at(-1)),
    safe: query.get("safe") !== "0",
    view: ["random", "threshold"].includes(query.get("view")) ? query.get("view") : null,
    seed: Number(query.get("seed")) || null,
    offset: Math.max(0, Math.trunc(Number(query.get("offset"))) || 0),
    sample: query.get("sample"),
  };
}

/** Return whether duplicates are folded; null leaves it to the server, which folds where many are. */
const readUnique = (value) =>
  ["", "auto", undefined].includes(value) ? null : !["0", "false"].includes(value);

/** Return the address of what is looked at. */
export function write(looked) {
  const query = new URLSearchParams([["index", looked.index]]);
  for (const [name, field, away] of FIELDS) {
    for (const term of looked.terms) {
      if (term[field] !== undefined && term.away === away) query.append(name, term[field]);
    }
  }
  if (looked.in) query.set("in", looked.in);
  if (looked.where.length) query.set("where", writeWhere(looked.where));
  if (looked.unique !== null) query.set("unique", looked.unique ? "1" : "0");
  if (!looked.safe) query.set("safe", "0");
  if (looked.view) query.set("view", looked.view);
  if (looked.view === "random" && looked.seed) query.set("seed", looked.seed);
  if (looked.offset) query.set("offset", looked.offset);
  if (looked.sample) query.set("sample", looked.sample);
  return `/?${query}`;
}

/** Return the request that an address stands for; a picture that was just chosen is sent itself. */
export function request(looked, more = {}) {
  const terms = looked.terms.map(({ text, key, embedding, image, image_url: url, away }) => {
    const term = { weight: away ? AWAY : 1 };
    if (text !== undefined) term.text = text;
    else if (key !== undefined) term.key = key;
    else if (embedding !== undefined) term.embedding = embedding;
    else if (image !== undefined) term.image = image;
    else term.image_url = url;
    return term;
  });
  const asked = { terms, unique: looked.unique ?? "auto", k: K, ...more };
  if (looked.in) asked.in = looked.in;
  if (looked.where.length) asked.where = writeWhere(looked.where);
  return asked;
}

// A filter is a list of groups that all have to hold; of a group's expressions one has to.

/** Return groups of expressions as one expression: `(a) and ((b) or (c))`. */
export function writeWhere(groups) {
  if (groups.length === 1 && groups[0].length === 1) return groups[0][0];
  const wrap = (one) => `(${one})`;
  return groups
    .map((group) => wrap(group.length === 1 ? group[0] : group.map(wrap).join(" or ")))
    .join(" and ");
}

/** Return the groups that `writeWhere` made an expression of; any other expression is one group. */
export function readWhere(expression) {
  const text = expression.trim();
  if (!text) return [];
  const groups = split(text, "and");
  if (!groups) return [split(text, "or") ?? [text]];
  return groups.map((group) => split(group, "or") ?? [group]);
}

/** Return the expressions in parentheses that a word joins, null where that is not all there is. */
function split(text, word) {
  const parts = [];
  let place = 0;
  for (;;) {
    const end = closing(text, place);
    if (end === null) return null;
    parts.push(text.slice(place + 1, end).trim());
    const rest = text.slice(end + 1);
    if (!rest.trim()) return parts;
    const joint = new RegExp(`^\\s*${word}\\s*(?=\\()`, "i").exec(rest);
    if (!joint) return null;
    place = end + 1 + joint[0].length;
  }
}

/** Return where the parenthesis that opens at `place` closes, quoted ones aside, or null. */
function closing(text, place) {
  if (text[place] !== "(") return null;
  let depth = 0;
  let quoted = null;
  for (let at = place; at < text.length; at += 1) {
    const char = text[at];
    if (quoted) {
      if (char === quoted) quoted = null;
    } else if (char === "'" || char === '"') quoted = char;
    else if (char === "(") depth += 1;
    else if (char === ")") {
      depth -= 1;
      if (depth === 0) return at;
    }
  }
  return null;
}

/** Return the terms that were typed: ` -word` is kept away from, ` +word` is a term of its own. */
export function readTyped(typed) {
  const terms = [];
  for (const part of typed.trim().split(/(?:^|\s+)(?=[+\u2212-][^\s+\u2212-])/)) {
    const sign = /^[+\u2212-](?=\S)/.exec(part)?.[0];
    const text = (sign ? part.slice(1) : part).trim();
    if (text) terms.push({ text, away: sign !== undefined && sign !== "+" });
  }
  return terms;
}
