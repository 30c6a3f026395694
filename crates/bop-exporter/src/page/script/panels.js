// Health, watermarks, latency, space, metrics: each from one answer of the exporter.

const HOLDERS_MAX = 12;
const LATENCIES = [
  ["bop_commit_seconds", "commit"],
  ["bop_log_write_seconds", "device write"],
  ["bop_log_flush_seconds", "flush of a batch"],
  ["bop_sync_seconds", "sync of files"],
  ["bop_checkpoint_seconds", "checkpoint"],
];

function showHealth(status) {
  const { healthy, reasons } = status;
  if (!healthy) setPill("failing", "unhealthy");
  else if (reasons.length) setPill("warning", "ok, with warnings");
  else setPill("good", "healthy");
  byId("reasons-card").hidden = reasons.length === 0;
  // Whoever has marked a part of it keeps that.
  const told = JSON.stringify(reasons);
  if (byId("reasons").dataset.told === told) return;
  byId("reasons").dataset.told = told;
  byId("reasons").replaceChildren(...reasons.map((reason) => {
    const item = element("li");
    item.dataset.level = reason.level;
    item.append(element("code", "", reason.reason), reason.what, element("p", "", reason.advice));
    return item;
  }));
}

function showMarks(status) {
  figure("path", status.path, status.path);
  for (const name of ["published", "checkpointed", "truncated"]) figure(name, status[name], count(status[name]));
  figure("log_bytes", status.log_bytes, bytes(status.log_bytes));
  figure("lag_bytes", status.lag_bytes, bytes(status.lag_bytes));
  const commits = status.lag_commits;
  figure("lag_commits", commits, commits === null ? "commits not counted" : plural(commits, "commit", "commits"));
  figure("lag_us", status.lag_us, duration(status.lag_us / 1e6));
  const last = status.last_checkpoint_us;
  figure("last_checkpoint_us", last, last === null ? "none since the open" : since(last));
  figure("readers", status.readers, count(status.readers));
  figure("oldest_reader", status.oldest_reader?.lsn ?? null, readerText(status.oldest_reader));
  figure("backup", status.backup?.newest?.backup ?? null, backupText(status.backup));
  const inChunks = status.checkpointed - status.truncated;
  const ahead = status.published - status.checkpointed;
  const label = `${bytes(inChunks)} of the log are in chunks, ${bytes(ahead)} are not yet`;
  bar(byId("marks"), [
    ["fill-d", `in chunks, and kept: ${bytes(inChunks)}`, inChunks],
    ["fill-a", `not in chunks yet: ${bytes(ahead)}`, ahead],
  ], inChunks + ahead, label);
}

function readerText(reader) {
  if (!reader) return "none of an old state";
  return `${reader.database}, since ${since(reader.time_us)}, keeps ${bytes(reader.log_bytes)} of log`;
}

function backupText(backup) {
  if (!backup) return "none was ever made";
  const { dir, newest, verified, error } = backup;
  if (!dir) return `not known: ${error}`;
  const made = newest ? `${newest.backup} of ${since(newest.state_us)}` : "none is there";
  const proved = verified?.verified_us ? `verified ${since(verified.verified_us)}` : "none was verified";
  return `${made}; ${proved}${error ? `; this may be old: ${error}` : ""}`;
}

function showLatency(metrics) {
  byId("latency").replaceChildren(...LATENCIES.map(([name, words]) => {
    const row = element("tr");
    const head = element("th", "", words);
    head.scope = "row";
    row.append(head, ...["p50", "p95", "p99"].map((part) => {
      const value = metrics[name][part];
      const cell = element("td", "", duration(value));
      cell.dataset.figure = `${name}.${part}`;
      cell.dataset.value = String(value);
      return cell;
    }));
    return row;
  }));
  figure("commits", metrics.bop_log_commits_total, count(metrics.bop_log_commits_total));
}

function showSpace(space) {
  const parts = [
    ["fill-a", "read in chunks", space.live_bytes],
    ["fill-d", "not read any more", space.dead_bytes],
    ["fill-b", "log", space.log_bytes],
    ["fill-c", "reserve", space.reserve_bytes],
    ["fill-e", "manifest", space.manifest_bytes ?? 0],
  ];
  const total = parts.reduce((sum, [, , size]) => sum + size, 0);
  figure("total_bytes", total, bytes(total));
  const told = parts.map(([name, words, size]) => [name, `${words}: ${bytes(size)}`, size]);
  bar(byId("space"), told, total, told.map(([, words]) => words).join(", "));
  byId("space-legend").replaceChildren(...parts.map(([name, words, size]) => {
    const item = element("li");
    item.append(element("i", name), `${words} `, element("b", "", bytes(size)));
    return item;
  }));
  showHolders(space.databases);
}

const held = (one) => one.newest_bytes + one.past_bytes + one.forks_bytes;

function showHolders(databases) {
  const holders = databases.filter((one) => 0 < held(one)).sort((a, b) => held(b) - held(a));
  const most = holders.length ? held(holders[0]) : 0;
  byId("holders").replaceChildren(...holders.slice(0, HOLDERS_MAX).map((one) => {
    const item = element("li");
    const name = element("bdi", "", one.dropped ? `${one.name} (dropped)` : one.name);
    name.title = one.name;
    const parts = element("div", "bar");
    parts.setAttribute("role", "img");
    const newest = `${bytes(one.newest_bytes)} newest`;
    const past = `${bytes(one.past_bytes)} past`;
    const forks = `${bytes(one.forks_bytes)} for forks`;
    bar(parts, [
      ["fill-a", newest, one.newest_bytes],
      ["fill-c", past, one.past_bytes],
      ["fill-b", forks, one.forks_bytes],
    ], most, [newest, past, forks].join(", "));
    const size = element("b", "", bytes(held(one)));
    size.dataset.value = String(held(one));
    item.append(name, parts, size);
    return item;
  }));
  const rest = holders.length - HOLDERS_MAX;
  const words = "Blue is the newest state, violet the past, amber what only forks read.";
  const more = 0 < rest ? `${plural(rest, "other", "others")} hold less. ` : "";
  setText(byId("holders-more"), holders.length ? more + words : "Nothing is in chunks yet.");
}

// All there are, for whoever opens the table: numbers, numbers by label, and summaries.
function showMetrics(metrics) {
  if (!byId("metrics").open) return;
  const row = (name, ...cells) => {
    const made = element("tr");
    const head = element("th", "", name);
    head.scope = "row";
    made.append(head, ...cells.map((cell) => element("td", "", cell)));
    return made;
  };
  const number = (value) => (value === null ? UNKNOWN : value.toLocaleString("en", { maximumSignificantDigits: 6 }));
  const rows = Object.entries(metrics).flatMap(([name, value]) => {
    if (value === null || typeof value !== "object") return [row(name, number(value), "", "", "")];
    if ("count" in value) return [row(name, `${number(value.sum)} in ${count(value.count)}`, number(value.p50), number(value.p95), number(value.p99))];
    return Object.entries(value).map(([label, one]) => row(`${name}{${label}}`, number(one), "", "", ""));
  });
  byId("metrics-rows").replaceChildren(...rows);
}
