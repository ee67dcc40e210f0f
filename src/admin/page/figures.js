// What /metrics says: tiles, shards and all figures.

// What the tiles show: counters as rates, gauges as they are.
const TILES = [
  ["Sent", "messages_sent_total"], ["Acked by the server", "acks_sent_total"],
  ["Pushed", "messages_pushed_total"], ["Acked by recipients", "acks_received_total"],
  ["Connections", "connections"], ["Refused", "refusals_total"],
];
const SAMPLES_MAX = 60, RATE_SAMPLES = 2;
// The readings of the last minute.
const samples = [];

// Sums over all shards, figures by shard, relays by pair of shards.
function readMetrics(text) {
  const sample = { at: performance.now(), sums: {}, shards: [], relays: new Map(), info: {} };
  for (const line of text.split("\n")) {
    const parts = /^anser_(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (!parts || parts[1].endsWith("_bucket")) continue;
    const labels = Object.fromEntries(
      Array.from((parts[2] ?? "").matchAll(/(\w+)="([^"]*)"/g), (label) => label.slice(1)));
    const name = labels.stage ? `${parts[1]}/${labels.stage}` : parts[1];
    const value = Number(parts[3]);
    if (name === "info") sample.info = labels;
    if (name === "messages_relayed_total") sample.relays.set(`${labels.shard} ${labels.to}`, value);
    sample.sums[name] = (sample.sums[name] ?? 0) + value;
    if (labels.shard === undefined) continue;
    const shard = sample.shards[labels.shard] ??= {};
    shard[name] = (shard[name] ?? 0) + value;
  }
  return sample;
}

// What `pick` gives, by the second, between a sample and one a little before.
function rate(pick, at = samples.length - 1) {
  const before = samples[Math.max(0, at - RATE_SAMPLES)], now = samples[at];
  if (!before || before === now) return 0;
  return Math.max(0, ((pick(now) ?? 0) - (pick(before) ?? 0)) * 1000 / (now.at - before.at));
}

function drawTiles(now) {
  find("tiles").replaceChildren(...TILES.map(([words, name]) => {
    const isRate = name.endsWith("_total");
    const course = samples.map((sample, at) =>
      isRate ? rate((one) => one.sums[name], at) : sample.sums[name] ?? 0);
    const top = Math.max(1, ...course);
    const points = course.map((value, at) =>
      `${100 - (course.length - 1 - at) * 100 / SAMPLES_MAX},${19 - 18 * value / top}`).join(" ");
    const tile = make("div", { className: "tile" }, make("span", {}, words),
      make("b", {}, isRate ? `${grouped(course.at(-1))}/s` : grouped(course.at(-1))),
      make("span", { className: "total" }, isRate ? `${grouped(now.sums[name] ?? 0)} in all`
        : `${grouped(now.sums.connections_authenticated ?? 0)} authenticated`));
    tile.dataset.figure = name;
    tile.insertAdjacentHTML("beforeend", `<svg viewBox="0 0 100 20" preserveAspectRatio="none"
      aria-hidden="true"><polyline points="${points}" fill="none" stroke="var(--link)"
      vector-effect="non-scaling-stroke" stroke-width="1.5"/></svg>`);
    return tile;
  }));
}

// What each shard does. A shard's rounds are the time in which it works.
function shardRates(now) {
  return Array.from(now.shards, (figures = {}, shard) => {
    const of = (name) => rate((sample) => sample.shards[shard]?.[name]);
    return { shard, figures, sent: of("messages_sent_total"), pushed: of("messages_pushed_total"),
      busy: Math.min(1, of("stage_seconds_sum/away")) };
  });
}

function drawShards(now) {
  const rows = shardRates(now);
  find("shards").replaceChildren(table(
    ["shard", "busy", "sent/s", "pushed/s", "sockets", "overlay"],
    rows.map(({ shard, busy, sent, pushed, figures }) => [shard, `${Math.round(busy * 100)} %`,
      grouped(sent), grouped(pushed), grouped(figures.connections ?? 0),
      inBytes(figures.overlay_bytes ?? 0)])));
  const picture = find("picture"), count = rows.length;
  const places = placesOf(count), size = count > 4 ? Math.max(7, 150 / count) : 36;
  const pairs = Array.from(now.relays.keys(), (pair) => {
    const [from, to] = pair.split(" ").map(Number);
    return { from, to, rate: rate((sample) => sample.relays.get(pair)) };
  });
  const top = Math.max(1, ...pairs.map((pair) => pair.rate));
  picture.setAttribute("viewBox", count > 2 ? "0 0 360 340" : "0 0 360 100");
  picture.setAttribute("aria-label", "Shards, and what they relay to each other: "
    + (pairs.map(({ from, to, rate }) => `${from} to ${to}: ${grouped(rate)} a second`).join(", ")
      || "nothing so far"));
  picture.innerHTML = `<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" orient="auto"
      markerWidth="9" markerHeight="9" markerUnits="userSpaceOnUse"><path d="M0 0 8 4 0 8z"
      fill="var(--soft)"/></marker></defs>`
    + pairs.map((pair) => linkOf(pair, places, size, top, count <= 4)).join("")
    + rows.map((row) => shardOf(row, places[row.shard], size)).join("");
}

// One alone in the midst, two side by side, more on a circle.
function placesOf(count) {
  if (count <= 2) return [[count === 1 ? 180 : 75, 50], [285, 50]];
  return Array.from({ length: count }, (_, at) => {
    const angle = (at / count) * 2 * Math.PI - Math.PI / 2;
    return [180 + 125 * Math.cos(angle), 170 + 125 * Math.sin(angle)];
  });
}

// From one shard to another; each direction bends to its own left.
function linkOf({ from, to, rate }, places, size, top, isLabelled) {
  const [[x, y], [toX, toY]] = [places[from], places[to]];
  const length = Math.hypot(toX - x, toY - y);
  const [alongX, alongY] = [(toX - x) / length, (toY - y) / length];
  // A point of the way: so far along it, and so far to the left.
  const point = (along, left) =>
    [x + alongX * along + alongY * left, y + alongY * along - alongX * left];
  const gap = size + 4, bend = Math.min(26, length / 5);
  const ends = [point(gap, size / 3), point(length - gap, size / 3)];
  // Nearer to the sender, so that words on crossing ways do not meet.
  const [wordsX, wordsY] = point(length * .4, bend * .75);
  const words = `<text class="faint apart" x="${wordsX}" y="${wordsY + 4}"
    >${inBrief(rate)}/s</text>`;
  return `<path d="M${ends[0]} Q${point(length / 2, bend)} ${ends[1]}" fill="none"
    stroke="var(--soft)" stroke-opacity="${rate ? 1 : .4}" marker-end="url(#tip)"
    stroke-width="${1 + 4 * Math.sqrt(rate / top)}"><title>shard ${from} to ${to}:
    ${grouped(rate)} relays/s</title></path>${isLabelled ? words : ""}`;
}

// A ring that is filled as far as the shard is busy.
function shardOf({ shard, busy, figures }, [x, y], size) {
  const words = size < 25 ? "" : `
    <text class="faint" x="${x}" y="${y + 14}">${Math.round(busy * 100)} %</text>`;
  const ring = `cx="${x}" cy="${y}" r="${size}" stroke-width="5"`;
  return `<g><title>shard ${shard}: ${Math.round(busy * 100)} % busy</title>
    <circle ${ring} fill="var(--back)"
      stroke="var(${figures.store_failed > 0 ? "--bad" : "--line"})"/>
    <circle ${ring} fill="none" stroke="var(--fill)" pathLength="100"
      stroke-dasharray="${busy * 100} 100" transform="rotate(-90 ${x} ${y})"/>
    <text x="${x}" y="${y + (words ? -2 : 5)}">${shard}</text>${words}</g>`;
}

function drawFigures(now) {
  if (!find("figures").parentElement.open) return;
  const rows = Object.keys(now.sums).map((name) => [name.replaceAll("_", " "),
    Number(now.sums[name].toPrecision(12)).toLocaleString("en"),
    name.endsWith("_total") ? grouped(rate((sample) => sample.sums[name])) : ""]);
  find("figures").replaceChildren(table(["figure", "now", "a second"], rows));
}
