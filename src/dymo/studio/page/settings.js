// The form: what is asked for, and why it is refused.
import { $, make, memory, pick, picked, sentence } from "./page.js";
import { correction, read } from "./prompt.js";

const NAMES = ["steps", "guidance_scale", "seconds", "negative_prompt"];
const HINTS = {
  balanced: "First the words guide the layout, then the reward the look.",
  faithful: "Begins eight seeds in place of four, and goes on with the best: about 1.4 times the work.",
  prettier: "The reward's gradient goes through the whole model: a higher reward, more time.",
  memory: "Recomputes instead of keeping: less memory, more time.",
};
export let options;
export function offer(found) { options = found; }

function shownAs(value) { return value === null ? "" : Array.isArray(value) ? value.join(", ") : String(value); }
function readAs(text, like) {
  text = text.trim();
  if (text === "") return null;
  const parts = text.split(",").map((part) => part.trim());
  const numbers = parts.map(Number);
  if (numbers.some(Number.isNaN)) return text;
  return parts.length > 1 || Array.isArray(like) ? numbers : numbers[0];
}
export function numbers() {
  const base = options.intents[picked("intent")], found = {};
  for (const field of $("method").querySelectorAll("[data-name]")) {
    const name = field.dataset.name;
    const value = typeof base[name] === "boolean" ? field.value === "true" : field.tagName === "SELECT" ? field.value : readAs(field.value, base[name]);
    const same = JSON.stringify(value) === JSON.stringify(base[name]);
    if (!same) found[name] = value;
    field.closest("label").classList.toggle("different", !same);
  }
  const n = Object.keys(found).length;
  $("changed").textContent = n ? `· ${n} changed` : "";
  return found;
}
export function fillNumbers(over = {}) {
  // Only what this release has: what the browser kept may be of another one.
  const base = Object.fromEntries(Object.entries(options.intents[picked("intent")]).map(([name, value]) => [name, name in over ? over[name] : value]));
  $("method").replaceChildren(...Object.entries(base).map(([name, value]) => {
    const label = make("label", {}, name.replaceAll("_", " "));
    let field;
    if (options.choices[name]) {
      field = make("select", {}, ...options.choices[name].map((choice) => make("option", { value: choice, textContent: choice })));
      field.value = value;
    } else if (typeof value === "boolean") {
      field = make("select", {}, make("option", { value: "true", textContent: "yes" }), make("option", { value: "false", textContent: "no" }));
      field.value = String(value);
    } else field = make("input", { value: shownAs(value), placeholder: "none" });
    field.dataset.name = name;
    label.append(field);
    return label;
  }));
  numbers();
}
export function settings() {
  const number = (id) => ($(id).value === "" ? null : Number($(id).value));
  const over = numbers();
  return {
    prompt: $("prompt").value, pipeline: $("pipeline").value, reward: $("reward").value || null,
    intent: picked("intent"), spending: picked("spending"), count: number("count"), seed: number("seed"),
    steps: number("steps"), guidance_scale: number("guidance_scale"), seconds: number("seconds"),
    negative_prompt: $("negative_prompt").value, numbers: over, graph: correction(),
  };
}
export function choosePipeline(name) {
  if (name && options.pipelines[name]) $("pipeline").value = name;
  const offer = options.pipelines[$("pipeline").value], before = $("reward").value;
  $("reward").replaceChildren(...offer.rewards.map((reward) => make("option", { value: reward, textContent: reward })),
    make("option", { value: "", textContent: "none: the words alone" }));
  if (offer.rewards.includes(before)) $("reward").value = before;
  $("steps").placeholder = offer.defaults.num_inference_steps ?? "";
  $("guidance_scale").placeholder = offer.defaults.guidance_scale ?? "the model's own";
  $("examples").replaceChildren(...offer.examples.map((text) => make("button", { type: "button", textContent: text, onclick: () => {
    $("prompt").value = text; read(); $("prompt").focus();
  } })));
  hints();
}
export function hints() {
  const steps = Number($("steps").value || $("steps").placeholder || 25), share = options.spending[picked("spending")];
  $("intent-hint").textContent = HINTS[picked("intent")];
  $("spending-hint").textContent = share === null ? "As often as the method wants." : `At most ${Math.max(steps, Math.round(share * steps))} evaluations of the model an image.`;
}
export async function apply(given, keepSeed = false) {
  choosePipeline(given.pipeline);
  $("prompt").value = given.prompt ?? "";
  if (given.intent) pick("intent", given.intent);
  if (given.spending) pick("spending", given.spending);
  // One that is not offered would leave the field empty, which means none.
  if ("reward" in given && (given.reward === null || options.pipelines[$("pipeline").value].rewards.includes(given.reward))) $("reward").value = given.reward ?? "";
  $("count").value = given.count ?? 1;
  if (!keepSeed && given.seed != null) $("seed").value = given.seed;
  for (const name of NAMES) $(name).value = given[name] ?? "";
  fillNumbers(given.numbers ?? {});
  hints();
  await read(given.graph ?? undefined);
  remember();
}
export function remember() { memory.set("dymo-settings", JSON.stringify(settings())); }

// Why a run cannot start, beside the button; the field that the message begins with is marked.
export function refuse(text) {
  $("refused").textContent = sentence(text); $("refused").hidden = !text;
  for (const field of document.querySelectorAll("[aria-describedby='refused']")) for (const said of ["aria-invalid", "aria-describedby"]) field.removeAttribute(said);
  if (!text) return;
  const named = [...document.querySelectorAll("#ask label")].filter((label) => {
    const name = label.firstChild.nodeType === Node.TEXT_NODE && label.firstChild.textContent.trim();
    return name && text.startsWith(name) && !/[a-z]/i.test(text[name.length]);
  }).sort((a, b) => b.textContent.length - a.textContent.length);
  const field = named[0]?.control;
  if (!field) return;
  field.setAttribute("aria-invalid", "true");
  if (field !== $("prompt")) field.setAttribute("aria-describedby", "refused");
  field.closest("details")?.setAttribute("open", "");
  field.focus();
}
