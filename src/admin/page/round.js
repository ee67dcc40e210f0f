// Once a second: everything is asked for and drawn.

const missing = new Set();

// A document of this port; null where it is not there, which is asked for once.
async function optional(path) {
  if (missing.has(path)) return null;
  const answer = await fetch(path);
  if (answer.status === 404) missing.add(path);
  return answer.ok ? answer.json() : null;
}

// One after the other: the port serves few at once.
async function look() {
  const now = readMetrics(await (await fetch("/metrics")).text());
  samples.push(now);
  samples.splice(0, samples.length - SAMPLES_MAX);
  const health = await (await fetch("/healthz")).json();
  const ready = await (await fetch("/readyz")).json();
  const latency = await optional("/admin/latency"), slow = await optional("/admin/slow");
  if (latency) latencies.push(latency);
  latencies.splice(0, latencies.length - SPAN_SECONDS - 1);
  const shards = Object.entries({
    "store failed": health.storeFailed, silent: health.silent, damaged: health.damaged,
    "slow disk": health.slowDisk,
  })
    .filter(([, which]) => which).map(([what, which]) => `: ${what} on shard ${which.join(", ")}`);
  const state = health.status === "ok" ? ready.status : health.status + shards.join("");
  badge("state", state, state !== "ready");
  badge("durability", now.info.durability ?? "?", now.info.durability !== "sync");
  const busy = 100 * rate((sample) => sample.sums.process_cpu_seconds_total);
  find("process").textContent = [now.info.version,
    `up ${age(Date.now() / 1000 - now.sums.process_start_time_seconds)}`,
    inBytes(now.sums.process_resident_bytes), `${Math.round(busy)} % of a core`].join(", ");
  drawTiles(now);
  drawShards(now);
  drawSpans();
  drawSlow(slow);
  drawFigures(now);
}

async function step() {
  if (!document.hidden) {
    try {
      await look();
      await Promise.all([left.follow(), right.follow()]);
    } catch {
      badge("state", "not reached", true);
    }
  }
  setTimeout(step, 1000);
}
step();
