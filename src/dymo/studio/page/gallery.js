// Images that are there already, and settings restored from them.
import { $, ask, make, say } from "./page.js";
import { look, running } from "./run.js";
import { apply, refuse } from "./settings.js";

export async function gallery(before) {
  const found = await ask(`/api/gallery${before ? `?before=${encodeURIComponent(before)}` : ""}`).catch((error) => { say(error.message); });
  if (!found) return;
  const items = found.map((image) => {
    const text = image.prompt || image.name, title = image.seed == null ? text : `${text}, seed ${image.seed}`;
    return make("li", {}, make("button", { type: "button", title, name: image.name, onclick: () => { if (!running()) $("seeds").hidden = true; look(image); $("stage").scrollIntoView({ block: "start" }); $("stage").focus({ preventScroll: true }); } },
      make("img", { src: `/gallery/${image.name}.png`, alt: "", loading: "lazy" }), make("span", { textContent: text })));
  });
  const name = (item) => item.firstChild.name, focused = document.activeElement.closest("#images button")?.name;
  // Older ones that were fetched stay, and so does the focus.
  const old = [...$("images").children].filter((item) => before || (found.length && name(item) < found.at(-1).name));
  $("images").replaceChildren(...(before ? [...old, ...items] : [...items, ...old]));
  if (focused) $("images").querySelector(`[name="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  $("none").hidden = Boolean($("images").children.length);
  if (before || !old.length) $("older").hidden = found.length < 24;
  $("older").onclick = () => gallery(name($("images").lastElementChild));
}
export async function restore(path, body) {
  try {
    const found = await ask(path, body);
    await apply(found.settings);
    refuse("");
    say(["Settings restored.", ...found.notes.map((note) => `Not taken over: ${note}.`)].join(" "));
    $("prompt").focus();
  } catch (error) { say(error.message); }
}
export function take(file) {
  if (!file) return;
  if (file.size > 40 * 2 ** 20) return say("The file is larger than 40 MB: drop an image that dymo generated.");
  restore("/api/restore", file);
}
