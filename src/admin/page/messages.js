// What /admin/latency and /admin/slow say: where a message's time goes.

const SPAN_SECONDS = 10, SLOW_ROWS_MAX = 12;
// The readings of the last seconds.
const latencies = [];

// Buckets of all shards together by span, less those of an earlier reading.
function gather(latency, kind, earlier) {
  const spans = new Map();
  const add = (reading, sign) => reading?.shards.forEach((shard) => {
    for (const [name, span] of Object.entries(shard[kind] ?? {})) {
      if (!spans.has(name)) spans.set(name, { count: 0, sum: 0, buckets: new Map() });
      const all = spans.get(name);
      all.count += sign * span.count;
      all.sum += sign * span.sumNs;
      for (const [end, count] of span.buckets)
        all.buckets.set(end, (all.buckets.get(end) ?? 0) + sign * count);
    }
  });
  add(latency, 1);
  add(earlier, -1);
  return spans;
}

// The end of the bucket in which this share of all values is reached.
function percentile(span, share) {
  let left = Math.ceil(span.count * share);
  for (const [end, count] of [...span.buckets].sort((a, b) => a[0] - b[0]))
    if (count > 0 && (left -= count) <= 0) return duration(end);
  return "";
}

function drawSpans() {
  const latest = latencies.at(-1);
  if (!latest) {
    find("span-note").textContent = "Not there: this server gives no /admin/latency.";
    return;
  }
  const total = (spans) => [...spans.values()].reduce((sum, span) => sum + span.count, 0);
  const isQuiet = total(gather(latest, "messages", latencies[0])) === 0;
  const earlier = isQuiet ? null : latencies[0];
  find("span-note").textContent = isQuiet ? "No message in the last seconds; since the start:"
    : `The last ${latencies.length - 1} s, all shards; each figure at most an eighth too high.`;
  const rows = ["messages", "rounds"].flatMap((kind) =>
    Array.from(gather(latest, kind, earlier), ([name, span]) => [
      kind === "rounds" ? `a round: ${name}` : name, grouped(span.count),
      ...[.5, .99, .999, 1].map((share) => percentile(span, share))]));
  find("spans").replaceChildren(table(["span", "count", "p50", "p99", "p99.9", "max"], rows));
}

// A message's way, step by step: what lay between each stamp and the one before.
function stepsOf(message) {
  const stamps = Object.entries(message.stampsNs).filter(([, at]) => at !== null)
    .sort((a, b) => a[1] - b[1]);
  return stamps.slice(1).map(([name, at], before) => ({ name, took: at - stamps[before][1] }));
}

function drawSlow(slow) {
  if (!slow) return find("slow").replaceChildren("Not there: this server gives no /admin/slow.");
  const slowest = [...slow.messages].sort((a, b) => b.totalNs - a.totalNs).slice(0, SLOW_ROWS_MAX);
  if (slowest.length === 0) return find("slow").replaceChildren("None so far.");
  find("slow").replaceChildren(table(
    ["message", "took", "longest step", "all steps", "from", "to", "shards"],
    slowest.map((message) => {
      const steps = stepsOf(message), longest = steps.toSorted((a, b) => b.took - a.took)[0];
      const bar = make("div", { className: "bar" }, ...steps.map((step) => {
        const part = make("i", { title: `until ${step.name}: ${duration(step.took)}` });
        part.style.flexGrow = step.took;
        return part;
      }));
      return [message.id, duration(message.totalNs),
        // Where it must break, then after the colon.
        longest && `until\u00a0${longest.name}: ${duration(longest.took)}`, bar,
        message.author, message.recipient,
        `${message.shard} → ${message.toShard ?? message.shard}`];
    }), [0, 2, 3]));
}
