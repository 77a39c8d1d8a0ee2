// The attention of a word, darkening the rest of the image.
import { $, make } from "./page.js";

let word = "", latest = {};

export function maps(found) {
  latest = found;
  const names = Object.keys(found);
  $("overlay").hidden = !names.length; $("map").hidden = !names.length;
  if (!names.length) return;
  if (!names.includes(word)) word = "";
  if ($("wordmaps").dataset.names !== names.join()) {
    $("wordmaps").dataset.names = names.join();
    $("wordmaps").replaceChildren(...["", ...names].map((name) => make("label", {},
      make("input", { type: "radio", name: "map", value: name, checked: name === word, onchange: () => { word = name; paint(latest[word]); } }),
      make("span", { textContent: name || "none" }))));
  }
  paint(found[word]);
}
function paint(grid) {
  const canvas = $("map"), context = canvas.getContext("2d");
  canvas.hidden = !grid;
  if (!grid) return;
  canvas.height = grid.length; canvas.width = grid[0].length;
  const pixels = context.createImageData(canvas.width, canvas.height);
  // Everything else is darkened: that shows on an image of any colour.
  grid.flat().forEach((value, n) => pixels.data.set([10, 10, 14, 150 * (1 - value)], 4 * n));
  context.putImageData(pixels, 0, 0);
}
