/* SPDX-License-Identifier: MIT */
/* Once a second: ask for the counters, plot what changed. */
"use strict";
const KEEP = 120;

/* Title, unit, value; d: how much each counter grew in s seconds, n: now. */
const PLOTS = [
  ["Requests", "/s", (d, s) => d.server.requests / s],
  ["Body sent", "MB/s", (d, s) => d.server.body_bytes_in_place / s / 1e6],
  ["Errors (4xx, 5xx)", "/s",
    (d, s) => (d.server.status_4xx + d.server.status_5xx) / s],
  ["Connections", "", (d, s, n) => n.connections],
  ["New connections", "/s", (d, s) => d.server.connections / s],
  ["Cache hits", "%",
    d => 100 * d.cache.hits / (d.cache.hits + d.cache.misses)],
  ["Read from disk", "MB/s", (d, s) => d.cache.blocks_read * 4096 / s / 1e6],
  ["Round trip", "ms", d => d.net.tcp_rtt_us / d.net.tcp_rtt_samples / 1000],
  ["Sent again", "kB/s", (d, s) => d.net.tcp_bytes_rexmit / s / 1e3],
  ["Dropped, full rings", "/s",
    (d, s) => (d.link.rx_dropped + d.net.tx_busy) / s],
].map(([title, unit, value]) => {
  const figure = document.createElement("figure");
  figure.innerHTML = `<figcaption>${title} <b></b></figcaption>
    <svg viewBox="0 0 ${KEEP} 100" preserveAspectRatio=none>
    <polyline /></svg><small></small>`;
  document.getElementById("plots").append(figure);
  return { unit, value, figure, seen: [] };
});

const text = x => x >= 100 ? x.toFixed(0) : x.toPrecision(3);

/* A value that is not a number (nothing happened) leaves a gap at zero. */
function draw(p, x) {
  p.seen.push(Number.isFinite(x) ? x : 0);
  if (p.seen.length > KEEP) p.seen.shift();
  const most = Math.max(...p.seen, 1e-9);
  p.figure.querySelector("b").textContent =
    Number.isFinite(x) ? `${text(x)} ${p.unit}` : "–";
  p.figure.querySelector("small").textContent =
    `most in ${p.seen.length} s: ${text(most < 1e-8 ? 0 : most)} ${p.unit}`;
  p.figure.querySelector("polyline").setAttribute("points",
    p.seen.map((v, i) => `${i},${98 - 96 * v / most}`).join(" "));
}

function table(now, d, s) {
  const rows = [];
  for (const set in d)
    for (const name in d[set])
      rows.push(`<tr><td>${set}.${name}<td>${now[set][name]}` +
                `<td>${text(d[set][name] / s)}/s`);
  document.getElementById("all").innerHTML =
    "<tr><th>counter<th>so far<th>now" + rows.join("");
}

let before = null;
function step(now) {
  if (before && now.uptime_ms > before.uptime_ms) {
    const s = (now.uptime_ms - before.uptime_ms) / 1000, d = {};
    for (const set of ["server", "cache", "net", "link", "machine"]) {
      d[set] = {};
      for (const name in now[set])
        d[set][name] = now[set][name] - before[set][name];
    }
    for (const p of PLOTS) draw(p, p.value(d, s, now));
    table(now, d, s);
  }
  before = now;
}

async function ask() {
  const state = document.getElementById("state");
  try {
    const now = await (await fetch("/.pavise/counters")).json();
    step(now);
    state.className = "";
    state.innerHTML = `Up ${text(now.uptime_ms / 1000)} s, a site of ` +
      `${now.site_blocks} blocks, ${now.cache_frames} cache frames. ` +
      "<a href=/.pavise/counters>The counters as JSON</a>";
  } catch (e) {
    state.className = "bad";
    state.textContent = "no answer: " + e.message;
  }
  setTimeout(ask, 1000);
}
ask();
