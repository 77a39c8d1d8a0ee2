"use strict";
// Keys, the time an answer took, and one answer a page. The page works without.
const form = document.getElementById("answer");
const began = performance.now();
let sent = false;
form.addEventListener("submit", (event) => {
  if (sent) { event.preventDefault(); return; }
  sent = true;
  form.elements.milliseconds.value = Math.round(performance.now() - began);
});
// A page that the browser kept for "back" is of a pair that has its answer: the server says which is next.
window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const button = form.querySelector(`button[aria-keyshortcuts="${CSS.escape(event.key)}"]`);
  if (button) { event.preventDefault(); button.click(); }
});
