// Renews a live page in place, as often as it says, while its tab is visible: focus, scroll position and typed text
// stay. Without script the page loads again instead.
"use strict";

const RENEW_EVERY_MS = Number(document.body.dataset.renewSeconds) * 1000;
const main = document.getElementById("main");
let isAsking = false;

// Makes `old` equal to `fresh`, and leaves alone what is equal.
function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== Node.ELEMENT_NODE || old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const [before, after] = [[...old.childNodes], [...fresh.childNodes]];
  after.forEach((node, place) => (before[place] ? morph(before[place], node) : old.append(node)));
  before.slice(after.length).forEach((node) => node.remove());
}

async function renew() {
  // A form that is being filled in must not change under the hands.
  if (document.hidden || isAsking || document.activeElement?.closest("main form")) return;
  isAsking = true;
  try {
    const answer = await fetch(location.href, { signal: AbortSignal.timeout(20000) });
    if (answer.redirected) return location.reload();
    document.getElementById("stale")?.remove();
    morph(main, new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main"));
  } catch {
    if (!document.getElementById("stale")) main.prepend(document.createElement("p"));
    Object.assign(main.firstChild, { id: "stale", role: "status", className: "note warn" });
    main.firstChild.textContent = "The console does not answer: these figures are old.";
  } finally {
    isAsking = false;
  }
}

setInterval(renew, RENEW_EVERY_MS);
document.addEventListener("visibilitychange", renew);
