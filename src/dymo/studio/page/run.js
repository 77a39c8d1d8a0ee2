// A run: its progress, its preview, and the images that it has made.
import { chart } from "./charts.js";
import { gallery, restore } from "./gallery.js";
import { picture } from "./image.js";
import { maps } from "./maps.js";
import { $, ask, make, memory, sentence } from "./page.js";
import { correction, read } from "./prompt.js";

// shown: of the run, as it stands in the frame; held: the name of the image that is looked at while the run goes on.
let source = null, run = null, latest = null, shown = null, held = null;
export const running = () => run;

export function watch(id) {
  source?.close();
  run = id; shown = held = latest = null;
  $("made").hidden = $("charts").hidden = true; $("seeds").replaceChildren(); maps({});
  source = new EventSource(`/api/runs/${encodeURIComponent(id)}/events`);
  source.onmessage = (event) => show(JSON.parse(event.data));
  source.onerror = () => {
    if (source?.readyState === EventSource.CLOSED) {
      // A page that is being left ends here too, with a run that goes on.
      if (!latest) memory.set("dymo-run", "");
      idle(); $("step").textContent = "";
      if (!correction()) read();
      tell("This run is not there any more: the studio was started anew. What was finished is in the gallery.");
    }
    else tell("The studio does not answer: trying again.");
  };
  $("stop").hidden = false; $("generate").setAttribute("aria-disabled", "true");
}
// A screen reader reads every change aloud: the same words are no change, and steps are told beside it.
function tell(text) { if (text && $("status").textContent !== text) $("status").textContent = text; }
function idle() {
  source?.close(); source = run = held = null;
  if (document.activeElement === $("stop")) $("generate").focus({ preventScroll: true });
  $("stop").hidden = true; $("generate").removeAttribute("aria-disabled"); $("progress").hidden = true;
}
function show(view) {
  const now = view.now, status = [], over = ["done", "stopped", "failed"].includes(view.state);
  latest = view;
  if (view.state === "waiting") status.push(view.place === 1 ? "Waiting: 1 run before this one." : `Waiting: ${view.place} runs before this one.`);
  if (view.message) status.push(sentence(view.message));
  if (now) {
    const done = view.images.length, which = view.count > 1 ? `Image ${now.phase === "aligned" ? done + 1 : done} of ${view.count}, seed ${now.seed}` : `Seed ${now.seed}`;
    status.push(`${which}: ${now.phase === "aligned" ? "aligned" : "unguided, to compare with"}.`);
    $("progress").hidden = false; $("progress").max = now.steps || 1; $("progress").value = now.step;
  }
  $("step").textContent = now ? `Step ${now.step} of ${now.steps}${now.stage ? `, ${now.stage}` : ""}.` : "";
  strip(view);
  if (!held) live(view);
  $("status").classList.toggle("failed", view.state === "failed");
  if (over) {
    idle(); gallery(); maps({});
    // What has failed is not shown again by a reload.
    if (view.state === "failed") memory.set("dymo-run", "");
    if (view.state === "done") status.push(`Done: ${view.images.length === 1 ? "1 image" : `${view.images.length} images`}.`);
    if (view.state === "stopped" && !status.length) status.push("Stopped.");
  }
  tell(status.join(" "));
}
// The preview, or the latest image of the run; not while another one is looked at.
function live({ now, images, state, prompt }) {
  if (now?.preview && now.phase === "aligned") {
    picture(now.preview, null, `Preview of seed ${now.seed}: ${prompt}`); chart(now.series, now.steps); maps(now.maps);
    $("made").hidden = true; shown = null;
  }
  const last = images.at(-1), key = last && `${last.name}${last.unguided}`;
  if (last && (!now || now.phase === "unguided") && shown !== key) {
    result(last, state === "running"); shown = key;
    if (!now) course(last);
  }
  press();
}
// The images of a run; while it goes on, the last button leads back to the preview. Those that are there stay: one may have the focus.
function strip(view) {
  const names = [...view.images.map((image) => image.name), ...(view.now && !view.images.some((image) => image.seed === view.now.seed) ? [""] : [])];
  const buttons = [...$("seeds").children], have = new Set(buttons.map((button) => button.name));
  for (const button of buttons) if (!names.includes(button.name)) button.remove();
  for (const [n, name] of names.entries()) {
    if (have.has(name)) continue;
    const image = () => latest.images.find((one) => one.name === name);
    $("seeds").insertBefore(make("button", { type: "button", name, onclick: () => { if (name) look(image()); else { held = null; live(latest); } } },
      name ? make("img", { src: `/gallery/${name}.png`, alt: `Seed ${image().seed}` }) : "now"), $("seeds").children[n] ?? null);
  }
  $("seeds").hidden = !(view.count > 1 && view.images.length) && !(run && held);
  press();
}
function press() {
  const url = $("after").getAttribute("src") ?? "";
  for (const button of $("seeds").children) button.setAttribute("aria-pressed", String(button.name ? url.endsWith(`/${button.name}.png`) : !held && url.startsWith("data:")));
}
function result(image, running = false) {
  const url = `/gallery/${image.name}.png`;
  picture(url, image.unguided ? `/gallery/${image.name}-unguided.png` : null, `Aligned: ${image.prompt}, seed ${image.seed}`);
  if (!running) maps({});
  $("made").hidden = false;
  const facts = [`Seed ${image.seed}`];
  if (image.evaluations) facts.push(`${image.evaluations} evaluations`, `${Number(image.seconds).toFixed(1)} s`);
  if (image.stopped_after != null) facts.push(image.stopped_after ? `stopped after ${image.stopped_after} steps` : "stopped after its seeds were begun");
  if (image.note) facts.push(image.note);
  $("facts").textContent = facts.join(" · ");
  $("download").href = url; $("download").download = `${image.name}.png`;
  $("reuse").onclick = () => restore(`/api/gallery/${image.name}`);
}

// An image that is there already, with the course that its trace tells.
export function look(image) {
  result(image);
  shown = null;
  if (run) { held = image.name; strip(latest); } else { $("status").textContent = image.prompt; $("status").classList.remove("failed"); press(); }
  course(image);
}
async function course(image) {
  const series = await ask(`/api/gallery/${image.name}/course`).catch(() => null);
  if ($("after").getAttribute("src") === `/gallery/${image.name}.png`) chart(series, series?.t.length);
}
