// What is asked how often, and where it is shown.

let answers = 0;

poll("figures", 1000, async () => {
  const [status, stats] = await Promise.all([ask("/api/status"), ask("/api/stats")]);
  newestAt = Math.min(status.at, stats.at);
  showHealth(status.value);
  showMarks(status.value);
  showLatency(stats.value.metrics);
  showMetrics(stats.value.metrics);
  const point = remember(stats.at, stats.value);
  if (point) drawWork(point);
  showAge();
  answers += 1;
  document.body.dataset.answers = String(answers);
});

poll("lists", 5000, async () => {
  const [list, space] = await Promise.all([ask("/api/list"), ask("/api/space")]);
  databases = list.value;
  inChunks = new Map(space.value.databases.map((one) => [one.id, held(one)]));
  figure("databases", databases.length, count(databases.length));
  showSpace(space.value);
  showTree();
  document.body.dataset.lists = String(Number(document.body.dataset.lists ?? 0) + 1);
});

byId("metrics").addEventListener("toggle", wake);
wake();
