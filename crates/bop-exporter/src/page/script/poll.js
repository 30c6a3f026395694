// Asking the exporter, again and again.
//
//   live --the store does not answer: 503--> silent        lost: the exporter does not answer
//   any of them --an answer--> live                        hidden, or paused: nothing is asked
//
// Never: asks twice at once for the same, or more often than answers take a fifth of the time.

const ASK_PATIENCE_MS = 10000;
const polls = [];
const found = new Map();
let isPaused = false;
let newestAt = null;

async function ask(path) {
  const response = await fetch(path, {
    cache: "no-store",
    signal: AbortSignal.timeout(ASK_PATIENCE_MS),
  });
  const age = Number(response.headers.get("bop-age-ms") ?? 0);
  const at = performance.now() - age;
  const value = await response.json();
  if (!response.ok) {
    const error = value.error ?? {};
    throw new Silent([error.message, error.hint].filter(Boolean).join("; "));
  }
  return { value, at };
}

// The exporter answers that the store does not.
class Silent extends Error {}

// What a poll found; what is shown is the worst of all.
function setState(name, state, trouble) {
  found.set(name, { state, trouble });
  const all = [...found.values()];
  const worst = ["lost", "silent", "live"].map((one) => all.find((of) => of.state === one)).find(Boolean);
  document.body.dataset.state = worst.state;
  byId("trouble").hidden = !worst.trouble;
  setText(byId("trouble"), worst.trouble);
  if (worst.state === "lost") setPill("failing", "no connection");
  else if (worst.state === "silent") setPill("failing", "no answer");
}

function setPill(level, words) {
  byId("health").dataset.level = level;
  setText(byId("health"), words);
}

// Does `work` now and then, while somebody looks.
function poll(name, pauseMs, work) {
  let timer = 0;
  let isBusy = false;
  const turn = async () => {
    timer = 0;
    if (document.hidden || isPaused || isBusy) return;
    isBusy = true;
    const begun = performance.now();
    try {
      await work();
      const isBack = (found.get(name)?.state ?? "live") !== "live";
      setState(name, "live", "");
      // The others need not find out by themselves.
      if (isBack) wake();
    } catch (error) {
      if (error instanceof Silent) setState(name, "silent", `The store does not answer: ${error.message}`);
      else setState(name, "lost", `The exporter does not answer: ${error.message}`);
    }
    isBusy = false;
    timer = setTimeout(turn, Math.max(pauseMs, 4 * (performance.now() - begun)));
  };
  polls.push(() => {
    clearTimeout(timer);
    turn();
  });
}

function wake() {
  polls.forEach((one) => one());
}

function showAge() {
  if (newestAt === null) return;
  const seconds = (performance.now() - newestAt) / 1000;
  const shown = seconds < 2 ? "just now" : `${duration(Math.floor(seconds))} ago`;
  setText(byId("age"), isPaused ? `paused, ${shown}` : shown);
}

byId("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  byId("pause").setAttribute("aria-pressed", String(isPaused));
  showAge();
  if (!isPaused) wake();
});
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) wake();
});
setInterval(showAge, 500);
