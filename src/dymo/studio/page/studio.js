// The page of the studio. Text from outside is only ever set as text, never as HTML.
const $ = (id) => document.getElementById(id);
const NAMES = ["steps", "guidance_scale", "seconds", "negative_prompt"];
const HINTS = {
  balanced: "First the words guide the layout, then the reward the look.",
  faithful: "Begins eight seeds in place of four, and goes on with the best: about 1.4 times the work.",
  prettier: "The reward's gradient goes through the whole model: a higher reward, more time.",
  memory: "Recomputes instead of keeping: less memory, more time.",
};
let options, starting = false, understood = null, edited = false, source = null, run = null, latest = null, shown = null, held = null, word = "", reading = 0;

async function ask(path, body, method = body === undefined ? "GET" : "POST") {
  const raw = body instanceof Blob;
  const response = await fetch(path, {
    method, body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
    headers: body === undefined || raw ? {} : { "Content-Type": "application/json" },
  }).catch(() => { throw Object.assign(new Error("The studio does not answer: see whether dymo studio is running still, then try again."), { away: true }); });
  const found = await response.json().catch(() => ({ error: `The studio answered ${response.status}.` }));
  if (!response.ok) throw new Error(found.error || `The studio answered ${response.status}.`);
  return found;
}
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
// Messages of the library begin small.
const sentence = (text) => text.replace(/^[a-z](?=[a-z])/, (letter) => letter.toUpperCase());
// A reload is of the same tab; what another tab did is for tabs that are new.
const memory = {
  set(name, value) { for (const store of ["sessionStorage", "localStorage"]) try { window[store].setItem(name, value); } catch { /* private mode */ } },
  tab(name) { try { return sessionStorage.getItem(name); } catch { return null; } },
  get(name) { try { return sessionStorage.getItem(name) ?? localStorage.getItem(name); } catch { return null; } },
};
let silence;
function say(text) {
  $("say").textContent = sentence(text); $("say").hidden = !text;
  clearTimeout(silence); silence = setTimeout(() => { $("say").hidden = true; }, 8000);
}
const picked = (name) => document.querySelector(`input[name="${name}"]:checked`).value;
function pick(name, value) {
  const input = document.querySelector(`input[name="${name}"][value="${CSS.escape(value)}"]`);
  if (input) input.checked = true;
}

// ---- settings ----
function shownAs(value) { return value === null ? "" : Array.isArray(value) ? value.join(", ") : String(value); }
function readAs(text, like) {
  text = text.trim();
  if (text === "") return null;
  const parts = text.split(",").map((part) => part.trim());
  const numbers = parts.map(Number);
  if (numbers.some(Number.isNaN)) return text;
  return parts.length > 1 || Array.isArray(like) ? numbers : numbers[0];
}
function numbers() {
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
function fillNumbers(over = {}) {
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
function settings() {
  const number = (id) => ($(id).value === "" ? null : Number($(id).value));
  const over = numbers();
  return {
    prompt: $("prompt").value, pipeline: $("pipeline").value, reward: $("reward").value || null,
    intent: picked("intent"), spending: picked("spending"), count: number("count"), seed: number("seed"),
    steps: number("steps"), guidance_scale: number("guidance_scale"), seconds: number("seconds"),
    negative_prompt: $("negative_prompt").value, numbers: over, graph: edited && understood ? understood.graph : null,
  };
}
function choosePipeline(name) {
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
function hints() {
  const steps = Number($("steps").value || $("steps").placeholder || 25), share = options.spending[picked("spending")];
  $("intent-hint").textContent = HINTS[picked("intent")];
  $("spending-hint").textContent = share === null ? "As often as the method wants." : `At most ${Math.max(steps, Math.round(share * steps))} evaluations of the model an image.`;
}
async function apply(given, keepSeed = false) {
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
function remember() { memory.set("dymo-settings", JSON.stringify(settings())); }

// ---- the prompt as understood ----
async function read(graph) {
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
function trouble(text) {
  $("trouble").textContent = sentence(text); $("trouble").hidden = !text;
  $("prompt").setAttribute("aria-invalid", text ? "true" : "false");
}
// Why a run cannot start, beside the button; the field that the message begins with is marked.
function refuse(text) {
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
function drawRoles() {
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

// ---- a run ----
function watch(id) {
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
      if (!edited) read();
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
function picture(after, before, alt) {
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
function slide() {
  const at = Number($("slider").value);
  $("before").style.clipPath = `inset(0 ${100 - at}% 0 0)`;
  $("edge").style.left = `${at}%`;
  $("slider").setAttribute("aria-valuetext", `${at} % unguided`);
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
function look(image) {
  result(image);
  shown = null;
  if (run) { held = image.name; strip(latest); } else { $("status").textContent = image.prompt; $("status").classList.remove("failed"); press(); }
  course(image);
}
async function course(image) {
  const series = await ask(`/api/gallery/${image.name}/course`).catch(() => null);
  if ($("after").getAttribute("src") === `/gallery/${image.name}.png`) chart(series, series?.t.length);
}

// ---- maps and charts ----
function maps(found) {
  const names = Object.keys(found);
  $("overlay").hidden = !names.length; $("map").hidden = !names.length;
  if (!names.length) return;
  if (!names.includes(word)) word = "";
  if ($("wordmaps").dataset.names !== names.join()) {
    $("wordmaps").dataset.names = names.join();
    $("wordmaps").replaceChildren(...["", ...names].map((name) => make("label", {},
      make("input", { type: "radio", name: "map", value: name, checked: name === word, onchange: () => { word = name; paint(latest?.now?.maps[word]); } }),
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
function chart(series, steps) {
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

// ---- gallery, and images dropped ----
async function gallery(before) {
  const found = await ask(`/api/gallery${before ? `?before=${encodeURIComponent(before)}` : ""}`).catch((error) => { say(error.message); });
  if (!found) return;
  const items = found.map((image) => {
    const text = image.prompt || image.name, title = image.seed == null ? text : `${text}, seed ${image.seed}`;
    return make("li", {}, make("button", { type: "button", title, name: image.name, onclick: () => { if (!run) $("seeds").hidden = true; look(image); $("stage").scrollIntoView({ block: "start" }); $("stage").focus({ preventScroll: true }); } },
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
async function restore(path, body) {
  try {
    const found = await ask(path, body);
    await apply(found.settings);
    refuse("");
    say(["Settings restored.", ...found.notes.map((note) => `Not taken over: ${note}.`)].join(" "));
    $("prompt").focus();
  } catch (error) { say(error.message); }
}
function take(file) {
  if (!file) return;
  if (file.size > 40 * 2 ** 20) return say("The file is larger than 40 MB: drop an image that dymo generated.");
  restore("/api/restore", file);
}

// ---- begin ----
function theme(value) {
  if (value) document.documentElement.dataset.theme = value; else delete document.documentElement.dataset.theme;
  $("theme").value = value;
  memory.set("dymo-theme", value);
}
$("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (run || starting) return;
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
$("stop").onclick = async () => { if (run) { $("status").textContent = "Stopping after this step."; await ask(`/api/runs/${run}/stop`, {}).catch((e) => say(e.message)); } };
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); $("ask").requestSubmit(); }
  if (event.key === "Escape" && run) $("stop").click();
});
let typing;
$("prompt").addEventListener("input", () => { edited = false; clearTimeout(typing); typing = setTimeout(() => { read(); remember(); }, 400); });
$("ask").addEventListener("change", (event) => {
  if (event.target.name === "intent") fillNumbers();
  if (event.target.validity.valid) event.target.removeAttribute("aria-invalid");
  numbers(); hints(); remember();
});
$("pipeline").onchange = () => { choosePipeline(); read(); remember(); };
$("reread").onclick = () => { edited = false; read(); remember(); };
$("correct").ontoggle = () => { if ($("correct").open) drawRoles(); };
$("dice").onclick = () => { $("seed").value = crypto.getRandomValues(new Uint32Array(1))[0]; remember(); };
$("slider").oninput = slide;
$("theme").onchange = () => theme($("theme").value);
$("file").onchange = () => { take($("file").files[0]); $("file").value = ""; };
// On the image the edge follows the pointer.
function dragEdge(event) {
  if ($("compare").hidden || !(event.buttons & 1)) return;
  if (event.type === "pointerdown") $("frame").setPointerCapture(event.pointerId);
  const box = $("frame").getBoundingClientRect();
  $("slider").value = (100 * (event.clientX - box.left)) / box.width;
  slide();
}
for (const kind of ["pointerdown", "pointermove"]) $("frame").addEventListener(kind, dragEdge);
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
    options = await ask("/api/options");
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
