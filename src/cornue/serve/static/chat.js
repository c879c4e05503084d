// Makes the conversation page stream, stop, edit, copy and remember. The page works without it.
const words = JSON.parse(document.body.dataset.words);
const $ = (id) => document.getElementById(id);
const form = $("ask"), field = $("question"), send = $("send"), list = $("turns"), status = $("status"), welcome = $("welcome");
const SHELF = "cornue.conversations";
let shelf = load(), current = null, running = null;

document.documentElement.classList.add("js");
$("history").hidden = false;
if ("serviceWorker" in navigator) navigator.serviceWorker.register("/sw.js").catch(() => {});

function load() {
  try { return JSON.parse(localStorage.getItem(SHELF)) || []; } catch { return []; }
}
function save() {
  shelf = shelf.filter((talk) => talk.turns.length).slice(0, 50);
  try { localStorage.setItem(SHELF, JSON.stringify(shelf)); } catch { /* A full or forbidden store only forgets. */ }
  drawShelf();
}
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
function button(label, action, kind = "link") {
  const made = element("button", { type: "button", class: kind }, label);
  made.addEventListener("click", action);
  return made;
}
function say(text) { status.textContent = text; }

function drawShelf() {
  const items = shelf.map((talk) => {
    const open = button(talk.turns[0].q, () => { openTalk(talk); $("history").open = false; field.focus(); }, "link open");
    if (talk === current) open.setAttribute("aria-current", "true");
    const remove = button(words.delete, () => {
      shelf = shelf.filter((other) => other !== talk);
      if (talk === current) openTalk(null);
      save();
    });
    remove.setAttribute("aria-label", `${words.delete}: ${talk.turns[0].q}`);
    return element("li", {}, open, remove);
  });
  $("conversations").replaceChildren(...(items.length ? items : [element("li", {}, words.no_conversations)]));
}
function openTalk(talk) {
  running?.abort();
  current = talk;
  list.replaceChildren();
  for (const turn of talk?.turns ?? []) draw(turn);
  welcome.hidden = Boolean(talk?.turns.length);
  drawShelf();
}
function draw(turn) {
  const question = element("div", { class: "asked" }, element("h2", { class: "hidden" }, words.you), element("p", {}, turn.q));
  const answer = element("article", { class: "answer", "aria-label": turn.q });
  const item = element("li", { class: "turn" }, question, answer);
  list.append(item);
  if (turn.html) finish(item, turn);
  return item;
}
function finish(item, turn) {
  const answer = item.querySelector(".answer");
  answer.innerHTML = turn.html;
  const hidden = answer.querySelector("[name=question]");
  if (hidden) hidden.value = turn.q;
  const copy = button(words.copy, async () => {
    const said = answer.querySelector(".said").cloneNode(true);
    said.querySelectorAll("details").forEach((fold) => fold.remove());
    await navigator.clipboard.writeText(said.innerText.trim() || turn.a);
    copy.textContent = words.copied;
    say(words.copied);
    setTimeout(() => { copy.textContent = words.copy; }, 2000);
  });
  const last = () => item === list.lastElementChild && !running;
  const retry = button(words.retry, () => { if (last()) again(item, turn.q); else ask(turn.q); });
  const edit = button(words.edit, () => {
    if (running) return;
    while (list.lastElementChild !== item) { list.lastElementChild.remove(); current.turns.pop(); }
    item.remove();
    current.turns.pop();
    save();
    field.value = turn.q;
    field.focus();
    welcome.hidden = Boolean(current.turns.length);
  });
  const tools = answer.querySelector(".tools");
  tools?.prepend(copy, retry, edit);
  const contest = answer.querySelector(".contest form");
  contest?.addEventListener("submit", (event) => contestBy(event, contest));
}
function again(item, question) {
  item.remove();
  current.turns.pop();
  ask(question);
}
async function contestBy(event, contest) {
  event.preventDefault();
  const answer = await fetch("/contest", { method: "POST", body: new URLSearchParams(new FormData(contest)), headers: { accept: "application/json" } });
  const body = await answer.json();
  const text = answer.ok ? `${words.contest_thanks} ${words.contest_follow} ` : `${words.failed} ${body.error.message}`;
  const done = element("p", { role: "status" }, text);
  if (answer.ok) done.append(element("a", { href: body.url }, body.url));
  contest.replaceChildren(done);
}

async function ask(question) {
  if (running) return;
  if (!current) { current = { turns: [] }; shelf.unshift(current); }
  welcome.hidden = true;
  const turn = { q: question, a: "", r: "", html: "" };
  const item = draw(turn), answer = item.querySelector(".answer");
  const thought = element("div", { class: "thought" }), fold = element("details", { class: "fold", hidden: "" }, element("summary", {}, words.thinking), thought);
  const raw = element("p", { class: document.body.dataset.alone ? "raw thought" : "raw" });
  answer.append(fold, raw);
  answer.setAttribute("aria-busy", "true");
  item.classList.add("busy");
  running = new AbortController();
  send.textContent = words.stop;
  say(words.writing);
  item.scrollIntoView({ block: "start" });
  let spoken = 0, problem = "";
  const earlier = document.body.dataset.alone ? [] : current.turns.slice(-20).map(({ q, a, r }) => ({ q, a, r }));
  try {
    for await (const [name, data] of events({ question, turns: earlier })) {
      if (name === "job") turn.r = data.receipt;
      else if (name === "wait") { raw.textContent = data.text; raw.classList.add("wait"); say(data.text); }
      else if (name === "reasoning_content") { fold.hidden = false; thought.append(data.text); }
      else if (name === "content") {
        if (raw.classList.contains("wait")) { raw.textContent = ""; raw.classList.remove("wait"); }
        turn.a += data.text;
        raw.append(data.text);
        // Whole sentences are read out, not tokens.
        const end = Math.max(...[". ", "! ", "? ", "\n"].map((mark) => turn.a.lastIndexOf(mark)));
        if (!document.body.dataset.alone && end > spoken) { say(turn.a.slice(spoken, end + 1)); spoken = end + 1; }
      } else if (name === "end") {
        turn.html = data.html;
        turn.a = data.text;
        say(`${turn.a.slice(spoken) && !data.spoken ? turn.a.slice(spoken) : ""} ${data.spoken} ${words.done}`);
      } else if (data.error) problem = data.error.message;
    }
    if (!turn.html && !problem) problem = words.lost;
  } catch (error) {
    problem = error.name === "AbortError" ? words.stopped : error.told || words.lost;
  }
  running = null;
  send.textContent = words.ask;
  answer.removeAttribute("aria-busy");
  item.classList.remove("busy");
  if (turn.html) finish(item, turn);
  else {
    const told = problem === words.stopped ? problem : `${words.failed} ${problem}`;
    const safe = element("p", { class: "raw" }, turn.a);
    turn.html = `<div class="said">${safe.outerHTML}${element("p", { class: "fine" }, told).outerHTML}</div><div class="foot"><p class="costs"></p><div class="tools"></div></div>`;
    finish(item, turn);
    if (turn.r) answer.querySelector(".costs").append(element("a", { href: `/receipt/${turn.r}` }, turn.r));
    say(told);
  }
  current.turns.push(turn);
  save();
}

async function* events(body) {
  const answer = await fetch("/ask", { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" }, signal: running.signal });
  if (!answer.ok) {
    if (answer.status === 401) location.href = "/login";
    const told = await answer.json().catch(() => null);
    throw Object.assign(new Error(), { told: told?.error?.message });
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    buffer += value;
    const blocks = buffer.split("\n\n");
    buffer = blocks.pop();
    for (const block of blocks) {
      const name = block.match(/^event: (.*)$/m)?.[1] ?? "", data = block.match(/^data: (.*)$/m)?.[1];
      if (data) yield [name, JSON.parse(data)];
    }
  }
}

function submit() {
  const question = field.value.trim();
  if (running) { running.abort(); return; }
  if (!question) { say(words.empty); field.focus(); return; }
  field.value = "";
  ask(question);
}
form.addEventListener("submit", (event) => { event.preventDefault(); submit(); });
field.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing && !running) { event.preventDefault(); submit(); }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const open = document.querySelector(".panel[open]");
  if (open) { open.open = false; open.querySelector("summary").focus(); } else running?.abort();
});
document.addEventListener("click", (event) => {
  for (const panel of document.querySelectorAll(".panel[open]")) if (!panel.contains(event.target)) panel.open = false;
});
document.querySelector(".examples")?.addEventListener("submit", (event) => { event.preventDefault(); ask(event.submitter.value); });
document.querySelector("[data-do=new]").addEventListener("click", () => { openTalk(null); $("history").open = false; field.focus(); });
document.querySelector("[data-do=export]").addEventListener("click", () => {
  const text = (current?.turns ?? []).map((turn) => `## ${turn.q}\n\n${turn.a}\n\n${turn.r}\n`).join("\n");
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/markdown" })), download: "conversation.md" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});
drawShelf();
if (matchMedia("(hover: hover)").matches) field.focus({ preventScroll: true });
