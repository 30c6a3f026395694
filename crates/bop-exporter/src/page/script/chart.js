// The last two minutes, as lines.
//
// Counters become rates between two answers of one run of the store; where it began anew there is a gap.

const HISTORY_MS = 120000;
const HISTORY_MAX = 600;
const CLOSEST_MS = 250;
const SVG = "http://www.w3.org/2000/svg";
const history = [];
let before = null;

// Takes the figures of one answer; `null` where no rate is known.
function remember(at, stats) {
  const write = stats.metrics.bop_log_write_seconds;
  const now = { at, commits: stats.metrics.bop_log_commits_total, writes: write.count, run: stats.epoch };
  // The same answer, given again.
  if (before && now.at - before.at < CLOSEST_MS && now.run === before.run) return history.at(-1) ?? null;
  const isGap = !before || now.run !== before.run || now.commits < before.commits || HISTORY_MS < now.at - before.at;
  const per = (to, from) => (isGap ? null : (to - from) / ((now.at - before.at) / 1000));
  const point = {
    at,
    commits: per(now.commits, before?.commits),
    writes: per(now.writes, before?.writes),
    p99: write.p99,
  };
  before = now;
  history.push(point);
  while (HISTORY_MAX < history.length || HISTORY_MS < at - history[0].at) history.shift();
  return point;
}

// A number like 1, 2 or 5 with zeros that is not below `value`.
function roundUp(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => value <= step) ?? 10 * power;
}

function line(key, height, top) {
  let path = "";
  let isDown = false;
  const newest = history.at(-1)?.at ?? 0;
  for (const point of history) {
    const value = point[key];
    if (value === null) {
      isDown = false;
      continue;
    }
    const x = 600 - (600 * (newest - point.at)) / HISTORY_MS;
    const y = height - 1 - ((height - 4) * value) / top;
    path += `${isDown ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
    isDown = true;
  }
  return path;
}

function draw(svg, paths) {
  while (svg.children.length < paths.length) svg.append(document.createElementNS(SVG, "path"));
  paths.forEach(([name, path], at) => {
    svg.children[at].setAttribute("class", name);
    svg.children[at].setAttribute("d", path);
  });
}

function largest(key) {
  return history.reduce((most, point) => Math.max(most, point[key] ?? 0), 0);
}

function drawWork(point) {
  const top = roundUp(Math.max(largest("commits"), largest("writes")));
  const commits = line("commits", 150, top);
  // Each piece of the line, closed along the ground.
  const area = commits.split("M").filter(Boolean).map((piece) => {
    const places = piece.split("L");
    const x = (place) => place.split(" ")[0];
    return `M${x(places[0])} 150L${piece}L${x(places.at(-1))} 150Z`;
  });
  draw(byId("chart"), [
    ["grid", "M0 4H600M0 77H600"],
    ["area-a", area.join("")],
    ["line-a", commits],
    ["line-b", line("writes", 150, top)],
  ]);
  setText(byId("chart-top"), `${count(top)}/s`);
  const { commits: rateOfCommits, writes } = point;
  setText(byId("commits-rate"), rate(rateOfCommits));
  setText(byId("writes-rate"), rate(writes));
  setText(byId("per-write"), writes ? rate(rateOfCommits / writes) : UNKNOWN);
  byId("chart").setAttribute("aria-label", `${rate(rateOfCommits)} commits and ${rate(writes)} device writes a second`);
  const slowest = largest("p99");
  draw(byId("p99"), [["line-a", line("p99", 40, slowest || 1)]]);
  setText(byId("p99-top"), slowest ? duration(slowest) : UNKNOWN);
  byId("p99").setAttribute("aria-label", `p99 of a device write: ${duration(point.p99)}, at most ${duration(slowest)}`);
}
