// How figures read, and how elements are made. Whatever came from data is text, never markup.

const DURATION_UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function digits(value, count = 3) {
  return String(Number(value.toPrecision(count)));
}

function duration(s) {
  if (s == null || !isFinite(s)) return "–";
  if (s < 0) return "−" + duration(-s);
  if (s === 0) return "0 s";
  if (s < 0.0009995) return digits(s * 1e6) + " µs";
  if (s < 0.9995) return digits(s * 1e3) + " ms";
  if (s < 60) return digits(s) + " s";
  const parts = [];
  let left = Math.round(s);
  for (const [unit, size] of DURATION_UNITS) {
    const n = Math.floor(left / size);
    left -= n * size;
    if (n) parts.push(n + " " + unit);
  }
  return parts.slice(0, 2).join(" ");
}

function number(v, count = 3) {
  if (v == null || !isFinite(v)) return "–";
  const size = Math.abs(v);
  if (size >= 1e6) return digits(v / 1e6) + "M";
  if (size >= 1e4) return digits(v / 1e3) + "k";
  return size >= 1000 ? Math.round(v).toLocaleString("en-US") : digits(v, count);
}

// What `lab.interval = …` takes: exact, with the unit a person would choose.
function durationCode(s) {
  const round = (v) => Number(v.toPrecision(6));
  return s < 1 ? round(s * 1000) + "ms" : round(s) + "s";
}

function speedCode(v) {
  return String(Number(v.toPrecision(12)));
}

function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null));
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
