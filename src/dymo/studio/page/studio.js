// The page of the studio: what its controls do, and how it begins.
import { gallery, take } from "./gallery.js";
import { slide } from "./image.js";
import { $, ask, make, memory, say, sentence } from "./page.js";
import { drawRoles, forget, read, trouble } from "./prompt.js";
import { running, watch } from "./run.js";
import { apply, choosePipeline, fillNumbers, hints, numbers, offer, options, refuse, remember, settings } from "./settings.js";

let starting = false;

function theme(value) {
  if (value) document.documentElement.dataset.theme = value; else delete document.documentElement.dataset.theme;
  $("theme").value = value;
  memory.set("dymo-theme", value);
}
$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (running() || starting) return;
  remember();
  starting = true;
  try {
    const { id } = await ask("/api/runs", settings());
    memory.set("dymo-run", id);
    refuse(""); trouble(""); say("");
    watch(id);
    $("status").textContent = "Starting."; $("status").classList.remove("failed");
    if (matchMedia("(max-width: 860px)").matches) $("stage").scrollIntoView({ block: "start" });
  }
  catch (error) { if (sentence(error.message) === $("trouble").textContent) $("prompt").focus(); else refuse(error.message); }
  finally { starting = false; }
});
$("stop").onclick = async () => { if (running()) { $("status").textContent = "Stopping after this step."; await ask(`/api/runs/${running()}/stop`, {}).catch((e) => say(e.message)); } };
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); $("ask").requestSubmit(); }
  if (event.key === "Escape" && running()) $("stop").click();
});
let typing;
$("prompt").addEventListener("input", () => { forget(); clearTimeout(typing); typing = setTimeout(() => { read(); remember(); }, 400); });
$("ask").addEventListener("change", (event) => {
  if (event.target.name === "intent") fillNumbers();
  if (event.target.validity.valid) event.target.removeAttribute("aria-invalid");
  numbers(); hints(); remember();
});
$("pipeline").onchange = () => { choosePipeline(); read(); remember(); };
$("reread").onclick = () => { forget(); read(); remember(); };
$("correct").ontoggle = () => { if ($("correct").open) drawRoles(); };
$("dice").onclick = () => { $("seed").value = crypto.getRandomValues(new Uint32Array(1))[0]; remember(); };
$("slider").oninput = slide;
$("theme").onchange = () => theme($("theme").value);
$("file").onchange = () => { take($("file").files[0]); $("file").value = ""; };
// Files alone are dropped here: text is dragged into fields, and the page's own images are there already.
let own = false;
const file = (event) => !own && event.dataTransfer.types.includes("Files");
window.addEventListener("dragstart", () => { own = true; });
window.addEventListener("dragend", () => { own = false; });
for (const kind of ["dragenter", "dragover"]) window.addEventListener(kind, (event) => { if (file(event)) { event.preventDefault(); $("drop").hidden = false; } });
window.addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").hidden = true; });
window.addEventListener("drop", (event) => { if (file(event)) { event.preventDefault(); $("drop").hidden = true; take(event.dataTransfer.files[0]); } });
theme(memory.get("dymo-theme") ?? "");
async function begin() {
  try {
    offer(await ask("/api/options"));
    $("pipeline").replaceChildren(...Object.keys(options.pipelines).map((name) => make("option", { value: name, textContent: name })));
    $("count").max = options.most_seeds;
    const first = Object.keys(options.pipelines)[0];
    let kept = null;
    try { kept = JSON.parse(memory.get("dymo-settings")); } catch { /* nothing kept */ }
    await Promise.all([apply(kept ?? { pipeline: first, prompt: options.pipelines[first].examples[0] ?? "" }), gallery()]);
    // The run that this tab started, over or not; in a new tab that of this browser, while it goes on. Others' runs are theirs.
    const mine = memory.get("dymo-run");
    if (mine && (memory.tab("dymo-run") || (await ask("/api/runs")).includes(mine))) watch(mine);
    document.documentElement.dataset.ready = "";
  } catch (error) { say(error.message); }
}
begin();
