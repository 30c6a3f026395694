// The databases, and under each its forks.
//
// At most ROWS_MAX rows are in the document, of however many databases there are. The rows are a tree for whoever uses
// the keyboard: up, down, home, end go from row to row, right opens, left closes or goes to the origin.

const ROWS_MAX = 200;
const INDENT_MAX = 8;
const closed = new Set();
let databases = [];
let inChunks = new Map();
let rows = [];
let current = null;

// The databases in the order of the tree, each with its level and whether it is only there for a fork of it that is
// searched for.
function flattened() {
  const byName = (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);
  const bySize = (a, b) => b.bytes - a.bytes || byName(a, b);
  const sorted = [...databases].sort(byId("order").value === "bytes" ? bySize : byName);
  const all = new Map(sorted.map((one) => [one.id, one]));
  const forks = new Map();
  const roots = [];
  for (const one of sorted) {
    const origin = one.fork_of?.id;
    if (!all.has(origin)) roots.push(one);
    else if (forks.has(origin)) forks.get(origin).push(one);
    else forks.set(origin, [one]);
  }
  const wanted = searched(sorted, all);
  const flat = [];
  // Without recursion: a chain of forks may be long.
  const left = roots.reverse().map((one) => [one, 1]);
  while (left.length) {
    const [one, level] = left.pop();
    if (wanted && !wanted.has(one.id)) continue;
    const own = (forks.get(one.id) ?? []).filter((fork) => !wanted || wanted.has(fork.id));
    const isOpen = wanted !== null || !closed.has(one.id);
    flat.push({ one, level, forks: own.length, isOpen, isDim: wanted !== null && !wanted.get(one.id) });
    if (isOpen) for (const fork of own.reverse()) left.push([fork, level + 1]);
  }
  return flat;
}

// Which databases are searched for: `true` for those, `false` for their origins; `null` if all are.
function searched(sorted, all) {
  const words = byId("search").value.trim().toLowerCase();
  if (!words) return null;
  const wanted = new Map();
  for (const one of sorted) {
    if (!one.name.toLowerCase().includes(words)) continue;
    wanted.set(one.id, true);
    let origin = all.get(one.fork_of?.id);
    while (origin && !wanted.has(origin.id)) {
      wanted.set(origin.id, false);
      origin = all.get(origin.fork_of?.id);
    }
  }
  return wanted;
}

function rowOf({ one, level, forks, isOpen, isDim }) {
  const row = element("div", isDim ? "row dim" : "row");
  row.setAttribute("role", "treeitem");
  row.setAttribute("aria-level", String(level));
  if (forks) row.setAttribute("aria-expanded", String(isOpen));
  row.tabIndex = -1;
  row.dataset.id = String(one.id);
  const name = element("span");
  name.style.paddingLeft = `${Math.min(level - 1, INDENT_MAX) * 1.2}rem`;
  const twist = element("span", "twist", forks ? (isOpen ? "\u25be" : "\u25b8") : "");
  twist.setAttribute("aria-hidden", "true");
  const text = element("bdi", "", one.name);
  text.title = one.name;
  name.append(twist, text, ...tags(one, level, forks));
  const size = element("span", "", bytes(one.bytes));
  size.dataset.value = String(one.bytes);
  const chunks = inChunks.get(one.id);
  const stored = element("span", "", chunks === undefined ? UNKNOWN : bytes(chunks));
  stored.dataset.value = String(chunks);
  row.append(name, size, stored);
  row.append(element("span", "", count(one.snapshots)));
  return row;
}

function tags(one, level, forks) {
  const made = [];
  const tag = (text, level) => {
    const node = element("span", "tag", text);
    node.title = text;
    if (level) node.dataset.level = level;
    made.push(node);
  };
  if (one.damage) tag("damaged", "failing");
  if (one.kind !== "sqlite") tag(one.kind === "log" ? "record log" : one.kind);
  if (one.fork_of && level === 1) tag(`fork of ${one.fork_of.name}, which is gone`);
  if (forks) tag(plural(forks, "fork", "forks"));
  return made;
}

function showTree() {
  const tree = byId("tree");
  const hadFocus = tree.contains(document.activeElement);
  const place = tree.scrollTop;
  const flat = flattened();
  const shown = flat.slice(0, ROWS_MAX);
  rows = shown.map(rowOf);
  tree.replaceChildren(...rows);
  tree.scrollTop = place;
  const keep = rows.find((row) => row.dataset.id === current) ?? rows[0];
  if (keep) setCurrent(keep, hadFocus);
  const rest = flat.length - shown.length;
  const none = databases.length ? "No name has that in it." : "There are no databases.";
  const more = 0 < rest ? `and ${plural(rest, "other", "others")}: search for a name to find them` : "";
  setText(byId("more"), flat.length ? more : none);
}

function setCurrent(row, takesFocus) {
  for (const other of rows) other.tabIndex = other === row ? 0 : -1;
  current = row.dataset.id;
  if (takesFocus) row.focus({ preventScroll: false });
}

function setOpen(row, isOpen) {
  const id = Number(row.dataset.id);
  if (isOpen) closed.delete(id);
  else closed.add(id);
  showTree();
}

function goToOrigin(row) {
  const level = Number(row.getAttribute("aria-level"));
  const above = rows.slice(0, rows.indexOf(row)).reverse();
  const origin = above.find((other) => Number(other.getAttribute("aria-level")) < level);
  if (origin) setCurrent(origin, true);
}

byId("tree").addEventListener("keydown", (event) => {
  const row = event.target.closest(".row");
  if (!row || event.ctrlKey || event.altKey || event.metaKey) return;
  const at = rows.indexOf(row);
  const expanded = row.getAttribute("aria-expanded");
  const goes = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 };
  if (event.key in goes) {
    const to = rows[goes[event.key]];
    if (to) setCurrent(to, true);
  } else if (event.key === "ArrowRight") {
    if (expanded === "false") setOpen(row, true);
    else if (expanded === "true" && rows[at + 1]) setCurrent(rows[at + 1], true);
  } else if (event.key === "ArrowLeft") {
    if (expanded === "true" && !byId("search").value) setOpen(row, false);
    else goToOrigin(row);
  } else if ((event.key === "Enter" || event.key === " ") && expanded) {
    setOpen(row, expanded === "false");
  } else {
    return;
  }
  event.preventDefault();
});
byId("tree").addEventListener("click", (event) => {
  const row = event.target.closest(".row");
  if (!row) return;
  setCurrent(row, true);
  const expanded = row.getAttribute("aria-expanded");
  if (expanded && event.target.closest(".twist")) setOpen(row, expanded === "false");
});
byId("search").addEventListener("input", showTree);
byId("order").addEventListener("change", showTree);
