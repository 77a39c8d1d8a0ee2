// The prompt as understood: which words are things, which describe them, and what is corrected by hand.
import { $, ask, make, say, sentence } from "./page.js";
import { remember } from "./settings.js";

let understood = null, edited = false, reading = 0;
// The graph as it was corrected; null where it was not.
export const correction = () => (edited && understood ? understood.graph : null);
export function forget() { edited = false; }

export async function read(graph) {
  const mine = ++reading, prompt = $("prompt").value;
  if (!prompt.trim()) {
    understood = null; $("edited").hidden = true;
    for (const id of ["marked", "drawn", "roles"]) $(id).replaceChildren();
    return trouble("");
  }
  try {
    const found = await ask("/api/graph", { prompt, pipeline: $("pipeline").value, ...(graph ? { graph } : {}) });
    if (mine !== reading) return;
    understood = found; edited = Boolean(graph);
    draw();
    trouble(found.trouble);
  } catch (error) {
    if (mine !== reading) return;
    if (error.away) say(error.message); else trouble(error.message);
  }
}
export function trouble(text) {
  $("trouble").textContent = sentence(text); $("trouble").hidden = !text;
  $("prompt").setAttribute("aria-invalid", text ? "true" : "false");
}
function draw() {
  const { graph, words, together, apart } = understood;
  $("edited").hidden = !edited;
  const things = new Map(graph.entities.map((e, n) => [e.span.join(), n]));
  const marks = new Set(graph.entities.flatMap((e) => e.attributes.map((a) => a.span.join())));
  const parts = []; let at = 0;
  const letters = graph.prompt;
  for (const one of words) {
    parts.push(letters.slice(at, one.start));
    const key = [one.start, one.end].join(), text = letters.slice(one.start, one.end);
    parts.push(things.has(key) ? make("b", { textContent: text }) : marks.has(key) ? make("i", { textContent: text }) : text);
    at = one.end;
  }
  $("marked").replaceChildren(...parts, letters.slice(at));
  // What scrolls must be within reach of the keyboard.
  if ($("marked").scrollHeight > $("marked").clientHeight) $("marked").tabIndex = 0; else $("marked").removeAttribute("tabindex");
  const list = (pairs, sign) => (pairs.slice(0, 12).map((pair) => pair.join(sign)).join(", ") || "nothing") + (pairs.length > 12 ? `, and ${pairs.length - 12} more` : "");
  $("drawn").replaceChildren(make("dt", { textContent: "Drawn together" }), make("dd", { textContent: list(together, " + ") }),
    make("dt", { textContent: "Kept apart" }), make("dd", { textContent: list(apart, " | ") }));
  if ($("correct").open) drawRoles(); else $("roles").replaceChildren();
}
// Only where they are seen: of a long prompt they are many thousand choices.
export function drawRoles() {
  if (!understood) return;
  const { graph, words } = understood;
  const things = new Map(graph.entities.map((e, n) => [e.span.join(), n]));
  $("roles").replaceChildren(...words.map((one, n) => {
    const key = [one.start, one.end].join(), select = make("select");
    select.append(make("option", { value: "", textContent: "neither thing nor attribute" }), make("option", { value: "thing", textContent: "a thing" }));
    graph.entities.forEach((e, i) => {
      if (e.span.join() === key) return;
      select.append(make("option", { value: `of:${i}`, textContent: `describes ${e.text}` }));
      if (things.has(key)) {
        select.append(make("option", { value: `part:${i}`, textContent: `a part of ${e.text}` }), make("option", { value: `same:${i}`, textContent: `the same as ${e.text}` }));
      }
    });
    const owners = graph.entities.flatMap((e, i) => (e.attributes.some((a) => a.span.join() === key) ? [i] : []));
    if (owners.length > 1) select.append(make("option", { value: "keep", textContent: `describes ${owners.map((i) => graph.entities[i].text).join(" and ")}` }));
    const own = graph.entities[things.get(key)];
    select.value = own ? (own.part_of != null ? `part:${own.part_of}` : own.same_as != null ? `same:${own.same_as}` : "thing")
      : owners.length > 1 ? "keep" : owners.length ? `of:${owners[0]}` : "";
    select.onchange = () => correct(n, select.value);
    select.setAttribute("aria-label", `What "${one.text}" is`);
    return make("label", {}, make("span", { textContent: one.text }), select);
  }));
}
async function correct(n, value) {
  const graph = structuredClone(understood.graph), one = understood.words[n], span = [one.start, one.end], key = span.join();
  const [kind, at] = value.split(":");
  if (kind === "keep") return;
  const target = at === undefined ? null : graph.entities[Number(at)];
  const own = graph.entities.find((e) => e.span.join() === key);
  for (const e of graph.entities) e.attributes = e.attributes.filter((a) => a.span.join() !== key);
  // Places become objects while the list changes, and places again at the end.
  const whole = new Map(graph.entities.map((e) => [e, [graph.entities[e.part_of], graph.entities[e.same_as]]]));
  const relations = graph.relations.map((r) => [r, graph.entities[r.subject], graph.entities[r.object]]);
  let entities = [...graph.entities];
  const isThing = kind === "thing" || kind === "part" || kind === "same";
  if (own && !isThing) entities = entities.filter((e) => e !== own);
  if (!own && isThing) { const fresh = { text: one.text, span, attributes: [] }; entities.push(fresh); whole.set(fresh, []); }
  entities.sort((a, b) => a.span[0] - b.span[0]);
  if (own && isThing) whole.set(own, kind === "part" ? [target, undefined] : kind === "same" ? [undefined, target] : []);
  if (kind === "of") target.attributes.push({ text: one.text, span });
  for (const e of entities) {
    const [part, same] = whole.get(e) ?? [];
    delete e.part_of; delete e.same_as;
    if (part && entities.includes(part)) e.part_of = entities.indexOf(part);
    if (same && entities.includes(same)) e.same_as = entities.indexOf(same);
  }
  graph.entities = entities;
  graph.relations = relations.filter(([, s, o]) => entities.includes(s) && entities.includes(o)).map(([r, s, o]) => ({ ...r, subject: entities.indexOf(s), object: entities.indexOf(o) }));
  await read(graph);
  remember();
  $("roles").querySelectorAll("select")[n]?.focus();
}
