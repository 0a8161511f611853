// Requests to the service, and what goes wrong with them.

const locked = document.getElementById("locked");
const key = document.getElementById("key");

/** An answer of the service that is an error record. */
export class Refusal extends Error {}

/** How often a request is sent again to a service that is busy, and the longest pause before it, s. */
const AGAIN = 3, MOST_S = 30;

const answered = async (path, options, left = AGAIN) => {
  const headers = { accept: "application/json", ...options.headers };
  if (key.value) headers.authorization = `Bearer ${key.value}`;
  const answer = await fetch(path, { ...options, headers });
  if (answer.ok) return answer;
  const seconds = Number(answer.headers.get("retry-after"));
  if ([429, 503].includes(answer.status) && seconds > 0 && left > 0) {
    await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(seconds, MOST_S)));
    return answered(path, options, left - 1);
  }
  if (answer.status === 401) locked.hidden = false;
  const told = await answer.json().catch(() => ({}));
  throw new Refusal(told.error || `${path}: ${answer.status}`);
};

const posted = (body, more) => ({
  method: "POST",
  body: JSON.stringify(body),
  ...more,
  headers: { "content-type": "application/json", ...(more && more.headers) },
});

export const get = async (path) => (await answered(path, {})).json();
export const post = async (path, body, more) => (await answered(path, posted(body, more))).json();
export const end = async (path) => (await answered(path, { method: "DELETE" })).json();
/** A record as its page. */
export const page = async (path, body) =>
  (await answered(path, posted(body, { headers: { accept: "text/html" } }))).text();

/** Send a model file; its id, and what it costs. A signal ends it where nobody waits any longer. */
export const send = async (file, options, signal) => {
  const form = new FormData();
  form.append("file", file);
  form.append("options", JSON.stringify(options));
  return (await answered("v1/networks", { method: "POST", body: form, signal })).json();
};

/** Number the calls of one kind: an answer counts only while no later call has begun. */
export const turns = () => {
  let last = 0;
  return () => {
    const own = (last += 1);
    return () => own === last;
  };
};

/** Run one call at a time: of those that come meanwhile only the last one. */
export const latest = (call) => {
  let running = false, waiting = false;
  const run = async () => {
    waiting = true;
    if (running) return;
    running = true;
    try {
      while (waiting) {
        waiting = false;
        await call();
      }
    } finally {
      running = false;
    }
  };
  return run;
};
