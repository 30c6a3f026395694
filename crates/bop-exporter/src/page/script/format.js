// What figures look like, and how they get into the document.
//
// A figure that the store tells as a number has it in `data-value` as told; what is shown is rounded.
// Never: makes markup of text.

const byId = (id) => document.getElementById(id);
const UNKNOWN = "\u2013";

function element(tag, name, text) {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function figure(name, raw, shown) {
  const node = document.querySelector(`[data-figure="${name}"]`);
  node.dataset.value = String(raw);
  setText(node, shown);
}

function count(value) {
  if (value === null || value === undefined) return UNKNOWN;
  return value.toLocaleString("en", { maximumFractionDigits: 0 });
}

function plural(value, one, many) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

function rate(value) {
  if (value === null) return UNKNOWN;
  return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 1 : 0 });
}

function bytes(value) {
  if (value === null || value === undefined) return UNKNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let at = 0;
  while (1024 <= value && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  const digits = at === 0 || 100 <= value ? 0 : value < 10 ? 2 : 1;
  return `${value.toFixed(digits)} ${units[at]}`;
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return UNKNOWN;
  if (seconds === 0) return "0 s";
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)} \u00b5s`;
  if (seconds < 1) return `${(seconds * 1000).toFixed(seconds < 0.01 ? 2 : 1)} ms`;
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  if (seconds < 7200) return `${(seconds / 60).toFixed(0)} min`;
  if (seconds < 172800) return `${(seconds / 3600).toFixed(0)} h`;
  return `${(seconds / 86400).toFixed(0)} days`;
}

// A moment that the store tells, in microseconds since 1970.
function since(us) {
  const seconds = Math.max(0, Date.now() / 1000 - us / 1e6);
  return seconds < 1 ? "now" : `${duration(Math.round(seconds))} ago`;
}

// Parts of a whole, side by side; each is its class, its words and its size.
function bar(node, parts, whole, label) {
  while (node.children.length < parts.length) node.append(element("span"));
  while (parts.length < node.children.length) node.lastChild.remove();
  parts.forEach(([name, title, size], at) => {
    const part = node.children[at];
    part.className = name;
    part.title = title;
    part.hidden = size === 0;
    part.style.width = `${whole === 0 ? 0 : (100 * size) / whole}%`;
  });
  node.setAttribute("aria-label", label);
}
