// What every part of the page needs. Text from outside is only ever set as text, never as HTML.
export const $ = (id) => document.getElementById(id);

export async function ask(path, body, method = body === undefined ? "GET" : "POST") {
  const raw = body instanceof Blob;
  const response = await fetch(path, {
    method, body: body === undefined ? undefined : raw ? body : JSON.stringify(body),
    headers: body === undefined || raw ? {} : { "Content-Type": "application/json" },
  }).catch(() => { throw Object.assign(new Error("The studio does not answer: see whether dymo studio is running still, then try again."), { away: true }); });
  const found = await response.json().catch(() => ({ error: `The studio answered ${response.status}.` }));
  if (!response.ok) throw new Error(found.error || `The studio answered ${response.status}.`);
  return found;
}
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
// Messages of the library begin small.
export const sentence = (text) => text.replace(/^[a-z](?=[a-z])/, (letter) => letter.toUpperCase());
// A reload is of the same tab; what another tab did is for tabs that are new.
export const memory = {
  set(name, value) { for (const store of ["sessionStorage", "localStorage"]) try { window[store].setItem(name, value); } catch { /* private mode */ } },
  tab(name) { try { return sessionStorage.getItem(name); } catch { return null; } },
  get(name) { try { return sessionStorage.getItem(name) ?? localStorage.getItem(name); } catch { return null; } },
};
let silence;
export function say(text) {
  $("say").textContent = sentence(text); $("say").hidden = !text;
  clearTimeout(silence); silence = setTimeout(() => { $("say").hidden = true; }, 8000);
}
export const picked = (name) => document.querySelector(`input[name="${name}"]:checked`).value;
export function pick(name, value) {
  const input = document.querySelector(`input[name="${name}"][value="${CSS.escape(value)}"]`);
  if (input) input.checked = true;
}
