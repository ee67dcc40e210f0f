// What the other parts of the page use: elements, numbers, JSON.
"use strict";

const find = (id) => document.getElementById(id);
const grouped = (value) => new Intl.NumberFormat("en").format(Math.round(value));
const inBrief = (value) =>
  new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 }).format(value);

function make(tag, traits, ...inside) {
  const made = Object.assign(document.createElement(tag), traits);
  made.append(...inside);
  return made;
}

// A table; the columns that `left` counts hold words, all others numbers.
function table(head, rows, left = [0]) {
  const cell = (tag) => (inside, at) =>
    make(tag, { className: left.includes(at) ? "left" : "" }, inside ?? "");
  const line = (tag) => (cells) => make("tr", {}, ...cells.map(cell(tag)));
  return make("table", {}, make("thead", {}, line("th")(head)),
    make("tbody", {}, ...rows.map(line("td"))));
}

// Words of any length in a cell, and what is less important below them.
const wrapped = (words, below = "") =>
  make("div", { className: "any" }, words ?? "", make("small", { className: "soft" }, below));

// A value in the largest of these units that it reaches, else in the last.
function scaled(value, units) {
  const [unit, size] = units.find(([, size]) => value >= size) ?? units.at(-1);
  return `${Number((value / size).toPrecision(3))} ${unit}`;
}

const duration = (ns) => scaled(ns, [["s", 1e9], ["ms", 1e6], ["µs", 1e3], ["ns", 1]]);
const inBytes = (bytes) => scaled(bytes, [["GB", 1e9], ["MB", 1e6], ["kB", 1e3], ["B", 1]]);
const age = (seconds) => scaled(seconds, [["days", 86400], ["h", 3600], ["min", 60], ["s", 1]]);

// JSON with every whole number as text: ids have 64 bits, a JavaScript number holds 53.
function parseExact(text) {
  const tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?/g;
  return JSON.parse(text.replace(tokens, (token) => /^-?\d+$/.test(token) ? `"${token}"` : token));
}

function badge(id, word, isBad) {
  find(id).className = isBad ? "badge bad" : "badge";
  find(id).querySelector("b").textContent = word;
}
