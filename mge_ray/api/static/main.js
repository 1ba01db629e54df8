// The page: which view an address means, and who is let in. Views know nothing of each other but their addresses.

import { asksForToken, refusal, request, token } from "./api.js";
import { showAtom } from "./atom.js";
import { h, put } from "./dom.js";
import { showExecution } from "./execution.js";
import { showList } from "./list.js";
import { Live } from "./live.js";
import { clear, link, notice } from "./tell.js";
import { who } from "./who.js";

const main = document.getElementById("main");
const forget = document.getElementById("forget");
const whose = document.getElementById("who");
let live = null;
let leave = () => {};
let first = true;

// Returns the view that an address means: [show, execution id, atom id].
function meant() {
  const [id, kind, atom] = location.hash.replace(/^#\/?/, "").split("/").map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  if (!id) return [showList];
  return kind === "atom" && atom ? [showAtom, id, atom] : [showExecution, id];
}

function followed(id) {
  if (live?.id === id) return live;
  live?.stop();
  live = id ? new Live(id) : null;
  if (live) {
    live.addEventListener("failed", ({ detail }) => {
      if (detail.status !== 401) notice(detail.message);
    });
    live.start();
  }
  return live;
}

function show() {
  leave();
  clear();
  link("");
  if (asksForToken && !token.get()) { askForToken(""); return; }
  forget.hidden = !asksForToken;
  who.ask();
  const [view, id, atom] = meant();
  const stop = new AbortController();
  leave = () => stop.abort(new DOMException("left", "AbortError"));
  const node = h("div", {});
  main.replaceChildren(node);
  const focused = view({ node, signal: stop.signal, live: followed(id), id, atom, title });
  // Whoever follows a link, or goes back, is put to the new view's beginning; on arrival the browser's own place is right.
  if (focused) {
    focused.scrollIntoView({ block: "center" });
    focused.focus({ preventScroll: true });
  } else if (!first) {
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  first = false;
}

function title(text) {
  document.title = text ? `${text} · mge_ray` : "mge_ray";
}

// A fragment of the page itself, such as the skip link's, is no address of a view.
function moved() {
  if (location.hash === "" || location.hash.startsWith("#/")) show();
}

function askForToken(why) {
  leave();
  followed(null);
  who.forget();
  showWhose();
  forget.hidden = true;
  title("Token");
  const input = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true, maxlength: 200, "aria-describedby": "token-note token-why" });
  const said = h("p", { id: "token-why", class: "bad", role: "alert" }, why);
  const form = h("form", { class: "token", novalidate: true },
    h("h1", {}, "Who are you?"),
    h("label", { for: "token" }, "Token"), input,
    h("p", { class: "note", id: "token-note" }, "This service asks for a token. ", h("code", {}, "mge-ray token create"),
      " makes one; the first one was written to a file when the service started. It is kept in this tab until you close it."),
    said, h("button", { class: "main", type: "submit" }, "Go on"));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const value = input.value.trim();
    if (!value) { said.textContent = "Enter a token."; input.focus(); return; }
    if (!/^[\x21-\x7e]+$/.test(value)) { said.textContent = "A token holds letters, digits and signs only."; input.focus(); return; }
    token.set(value);
    try {
      await request("?limit=1");
      show();
    } catch (error) {
      if (error.status !== 401) { token.forget(); said.textContent = error.message; input.focus(); }
    }
  });
  main.replaceChildren(form);
  input.focus();
}

function showWhose() {
  put(whose, who.text());
  whose.hidden = !who.caller;
}

who.addEventListener("known", showWhose);
refusal.tell = (error) => {
  token.forget();
  askForToken(`${error.message[0].toUpperCase()}${error.message.slice(1)}.`);
};
forget.addEventListener("click", () => { token.forget(); askForToken(""); });
document.getElementById("skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
window.addEventListener("hashchange", moved);
show();
