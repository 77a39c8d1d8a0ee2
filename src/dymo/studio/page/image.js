// The image, and the unguided one beneath the edge.
import { $ } from "./page.js";

export function picture(after, before, alt) {
  $("empty").hidden = true;
  for (const [id, url] of [["after", after], ["before", before]]) {
    const image = $(id);
    image.hidden = !url;
    if (url) {
      image.onload = () => image.classList.toggle("small", Math.max(image.naturalWidth, image.naturalHeight) <= 128);
      if (image.getAttribute("src") !== url) image.src = url;
      image.alt = id === "before" ? `Unguided: ${alt}` : alt;
    } else { image.removeAttribute("src"); image.alt = ""; }
  }
  for (const id of ["compare", "edge", "tag-before", "tag-after"]) $(id).hidden = !before;
  slide();
}
export function slide() {
  const at = Number($("slider").value);
  $("before").style.clipPath = `inset(0 ${100 - at}% 0 0)`;
  $("edge").style.left = `${at}%`;
  $("slider").setAttribute("aria-valuetext", `${at} % unguided`);
}
// On the image the edge follows the pointer.
function dragEdge(event) {
  if ($("compare").hidden || !(event.buttons & 1)) return;
  if (event.type === "pointerdown") $("frame").setPointerCapture(event.pointerId);
  const box = $("frame").getBoundingClientRect();
  $("slider").value = (100 * (event.clientX - box.left)) / box.width;
  slide();
}
for (const kind of ["pointerdown", "pointermove"]) $("frame").addEventListener(kind, dragEdge);
