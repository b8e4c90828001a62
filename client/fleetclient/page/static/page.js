// Fetches the page every few seconds and puts what has changed in its place. Without it the page reloads as a whole.
"use strict";
const SECONDS = 5;

async function refresh() {
  if (document.hidden) return;
  let text;
  try {
    const answer = await fetch("/", { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    text = await answer.text();
  } catch {
    const sentence = document.getElementById("sentence");
    const away = "The agent does not answer.";
    if (sentence && sentence.textContent !== away) sentence.textContent = away;
    return;
  }
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const part of fresh.querySelectorAll("[data-live]")) {
    const old = document.getElementById(part.id);
    if (!old) { location.reload(); return; }
    if (old.innerHTML === part.innerHTML) continue;
    // A button that somebody is about to press stays where it is.
    if (part.id === "buttons" && old.contains(document.activeElement)) continue;
    replace(old, part);
  }
}

// Screen readers hear a sentence again only when it says something else.
function replace(old, part) {
  const sentence = old.querySelector("#sentence");
  const next = part.querySelector("#sentence");
  if (!sentence || !next) { old.replaceChildren(...part.childNodes); return; }
  if (sentence.textContent !== next.textContent) sentence.textContent = next.textContent;
  next.replaceWith(sentence);
  old.replaceChildren(...part.childNodes);
}

setInterval(refresh, SECONDS * 1000);
