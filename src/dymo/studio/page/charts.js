// The course of a run, in two charts.
import { $ } from "./page.js";

const SVG = "http://www.w3.org/2000/svg";
function lines(svg, rows, low, high, steps) {
  const node = (tag, attributes, text) => { const e = document.createElementNS(SVG, tag); for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v); if (text) e.textContent = text; return e; };
  // As wide as it is shown, so that its letters have their size.
  const wide = svg.clientWidth || 320;
  svg.setAttribute("viewBox", `0 0 ${wide} 96`);
  const some = rows.some(([, values]) => values.some((v) => v != null)), said = (v) => (some ? v.toFixed(Math.abs(v) < 10 ? 2 : 1) : "");
  const x = (n) => 36 + ((wide - 40) * n) / Math.max(1, steps - 1), y = (v) => 84 - (76 * (v - low)) / (high - low || 1);
  svg.replaceChildren(node("path", { d: `M36 8V84H${wide - 4}`, class: "axis", fill: "none" }), node("text", { x: 0, y: 14 }, said(high)), node("text", { x: 0, y: 86 }, said(low)),
    ...rows.map(([kind, values]) => {
      let d = "", pen = "M";
      values.forEach((v, n) => { if (v == null) { pen = "M"; return; } d += `${pen}${x(n).toFixed(1)} ${y(v).toFixed(1)}${pen === "M" ? "h0" : ""}`; pen = "L"; });
      return node("path", { d: d || "M0 0", class: kind });
    }));
}
export function chart(series, steps) {
  $("charts").hidden = !series?.t.length;
  if (!series?.t.length) return;
  const rewards = series.reward.filter((v) => v != null);
  const low = rewards.length ? Math.min(...rewards) : 0, high = rewards.length ? Math.max(...rewards) : 1;
  lines($("chart-reward"), [["one", series.reward]], low, high, steps);
  $("chart-reward").setAttribute("aria-label", rewards.length ? `Reward of the prediction: from ${rewards[0].toFixed(2)} to ${rewards.at(-1).toFixed(2)}` : "Reward of the prediction: not used yet");
  const words = series.weights.semantic ?? [], taste = series.weights.preference ?? [];
  const most = Math.max(0.01, ...[...words, ...taste].filter((v) => v != null));
  lines($("chart-weights"), [["one", words], ["two", taste]], 0, most, steps);
  $("chart-weights").setAttribute("aria-label", `Weights now: words ${(words.at(-1) ?? 0).toFixed(2)}, reward ${(taste.at(-1) ?? 0).toFixed(2)}`);
}
