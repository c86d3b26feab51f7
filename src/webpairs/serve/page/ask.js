// Ask the server. Whatever goes wrong becomes a sentence.

export class Refused extends Error {}

/** Return the answer of the API about a dataset; `body` makes it a POST. */
export async function ask(index, path, { body = null, signal = null } = {}) {
  const options = { signal, headers: { accept: "application/json" } };
  if (body !== null) {
    options.method = "POST";
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let reply;
  try {
    reply = await fetch(`/api/${encodeURIComponent(index)}/${path}`, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server does not answer. Is webpairs serve still running?");
  }
  const answer = await reply.json().catch(() => null);
  if (!reply.ok) throw new Refused(answer?.message ?? `The server answered ${reply.status}.`);
  if (answer === null) throw new Refused("The server's answer is cut off: try again.");
  return answer;
}

export const imageOf = (index, key) =>
  `/api/${encodeURIComponent(index)}/images/${encodeURIComponent(key)}`;
