// Makes pages of the storefront quicker to use; without it they work the same. A form is sent once, an order's state is
// renewed, a lost connection is told and nothing is sent into it, and a proof of work is found where one is asked.
"use strict";

const notice = document.getElementById("notice");
const RENEW_AFTER_MS = 10000;
const HELD_MS = 20000;
// Hashes between two breaths of the page.
const BATCH = 500;

function tell(text) {
  notice.textContent = text;
  notice.hidden = !text;
}

// Offline: forms stay as they are, and the visitor knows.
const offline = () => tell(navigator.onLine ? "" : document.body.dataset.offline);
addEventListener("offline", offline);
addEventListener("online", offline);
offline();

// The buttons of a form that is on its way; a second press does nothing. They stay focusable.
function hold(form, isHeld) {
  form.dataset.sent = isHeld ? "yes" : "";
  for (const button of form.querySelectorAll("button")) button.setAttribute("aria-disabled", String(isHeld));
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "post") return;
  if (form.dataset.sent === "yes") return event.preventDefault();
  if (!navigator.onLine) {
    event.preventDefault();
    return offline();
  }
  hold(form, true);
  // A visitor who stopped the page may press again: the same form leads to the same order.
  setTimeout(hold, HELD_MS, form, false);
  if (form.dataset.proofBits && !form.elements.proof.value) {
    event.preventDefault();
    tell(document.body.dataset.working);
    prove(form).then(() => { tell(""); form.submit(); }, () => { tell(""); hold(form, false); });
  }
});

// A page that the browser has kept for the back button may be out of date: a checkout is asked for again.
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  if (document.querySelector("form[data-once]")) location.reload();
  else for (const form of document.forms) hold(form, false);
});

// A token that a mail has led here with is on the page: it need not stay in the address, nor in the history.
if (new URLSearchParams(location.search).has("token")) history.replaceState(null, "", location.pathname);

// Zero bits at the beginning of a hash.
function zeroBits(hash) {
  let bits = 0;
  for (const byte of hash) {
    bits += Math.clz32(byte) - 24;
    if (byte) break;
  }
  return bits;
}

// Finds a text with which the hash of key and text has as many zero bits as are asked for.
async function prove(form) {
  const encoder = new TextEncoder(), bits = Number(form.dataset.proofBits), key = form.elements.key.value;
  for (let first = 0; ; first += BATCH) {
    const tries = Array.from({ length: BATCH }, (_, place) => String(first + place));
    const hash = (text) => crypto.subtle.digest("SHA-256", encoder.encode(`${key}:${text}`));
    const hashes = await Promise.all(tries.map(hash));
    const found = hashes.findIndex((hash) => zeroBits(new Uint8Array(hash)) >= bits);
    if (found >= 0) {
      form.elements.proof.value = tries[found];
      return;
    }
  }
}

// The state of an order, renewed with each event until the order has ended.
const EVENTS = ["payment.captured", "payment.failed", "order.paid", "order.fulfilled", "order.cancelled",
  "order.refunded"];

async function renew() {
  try {
    const answer = await fetch(location.pathname);
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("status");
    const old = document.getElementById("status");
    if (!fresh || fresh.dataset.state === old.dataset.state) return;
    old.dataset.state = fresh.dataset.state;
    if (fresh.dataset.live) old.dataset.live = fresh.dataset.live;
    else delete old.dataset.live;
    old.replaceChildren(...fresh.childNodes);
    shown();
  } catch {
    // Without a connection the stream tells when it is back.
  }
}

function shown() {
  const status = document.getElementById("status");
  if (!status?.dataset.live) return;
  status.querySelector(".live").hidden = false;
  status.querySelector(".reload").hidden = true;
}

function follow() {
  const status = document.getElementById("status");
  if (!status?.dataset.live) return;
  shown();
  const stream = new EventSource(status.dataset.live);
  const step = async () => {
    await renew();
    if (!status.dataset.live) stream.close();
  };
  for (const kind of EVENTS) stream.addEventListener(kind, step);
  stream.onopen = step;
  stream.onerror = () => {
    // Refused, such as for too many streams: ask again later. Otherwise the browser reconnects by itself.
    const isRefused = stream.readyState === EventSource.CLOSED && status.dataset.live;
    if (isRefused) setTimeout(() => renew().then(follow), RENEW_AFTER_MS);
  };
}

follow();
