// The page: asks the completions API of its own server, shows tokens as they come, and lets one take another turn at any of them.
"use strict";

const EXAMPLES = {
  // GPT-2 paper, table 13, and section 4.
  unicorns: "In a shocking finding, scientist discovered a herd of unicorns living in a remote, previously unexplored valley, " +
    "in the Andes Mountains. Even more surprising to the researchers was the fact that the unicorns spoke perfect English.",
  gettysburg: "Four score and seven years ago our fathers brought forth on this continent, a new nation, conceived in Liberty, " +
    "and dedicated to the proposition that all men are created equal.",
  manual: "The default value is",
  "": "",
};
const ALTERNATIVES = 10;
const MOST_BITS = Math.log2(1000); // the surprise from which on shading grows no darker
const NUMBERS = ["tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "layer", "head"];

const at = (id) => document.getElementById(id);
const models = new Map();
let lanes = [];
let chosen = null; // { lane, index }
let writing = null; // AbortController while text is being written
let writers = []; // the lanes that it is written in
let asked = 0; // number of the newest question about attention

function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function tell(text, wrong = false) {
  at("problem").hidden = !wrong;
  if (wrong) at("problem").textContent = text;
  at("status").textContent = wrong ? "" : text;
  const spoken = wrong ? "" : text.replace(/^writing.*/, "writing"); // screen readers would read every count aloud
  if (at("spoken").textContent !== spoken) at("spoken").textContent = spoken;
}

// A promise of the network's, whose failure says what one can do about it.
function heard(promise) {
  return promise.catch((problem) => {
    throw problem.name === "AbortError" ? problem : new Error("The server does not answer any more: is it still running?");
  });
}

async function request(path, body, signal) {
  const headers = { "content-type": "application/json" };
  if (at("key").value) headers.authorization = `Bearer ${at("key").value}`;
  const answer = await heard(fetch(path, body ? { method: "POST", headers, body: JSON.stringify(body), signal } : { headers, signal }));
  if (answer.ok) return answer;
  const problem = (await answer.json().catch(() => ({}))).error ?? {};
  if (answer.status === 401) at("key-asked").hidden = false;
  throw new Error(problem.message ?? `the server answered ${answer.status}`);
}

async function* streamed(body, signal) {
  const reader = (await request("/v1/completions", { ...body, stream: true }, signal)).body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ;) {
    const { value, done } = await heard(reader.read());
    if (done) throw new Error("the server ended in the middle of a text");
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = event.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const document = JSON.parse(data);
      if (document.error) throw new Error(document.error.message);
      yield document.choices[0];
    }
  }
}

const drawn = () => writers.reduce((sum, lane) => sum + lane.drawn, 0);
const value = (id) => Number(at(id).value);
const short = (count) => (count >= 1e9 ? `${(count / 1e9).toPrecision(3)} B` : count >= 1e6 ? `${(count / 1e6).toPrecision(3)} M` : `${(count / 1e3).toPrecision(3)} k`);

// Writes in some lanes at once, in each by `job`; only one such work goes on at a time.
async function work(chosenLanes, job) {
  stop();
  writers = chosenLanes;
  const mine = writing = new AbortController();
  at("stop").disabled = false;
  tell("reading");
  const start = performance.now();
  const ends = await Promise.allSettled(writers.map((lane) => job(lane, mine.signal)));
  if (writing !== mine) return;
  writing = null;
  at("stop").disabled = true;
  at("more").disabled = !lanes.some((lane) => lane.tokens.length);
  const wrong = ends.find((end) => end.status === "rejected" && end.reason.name !== "AbortError");
  if (wrong) tell(wrong.reason.message, true);
  else tell(`${mine.signal.aborted ? "stopped" : "done"}: ${drawn()} tokens in ${((performance.now() - start) / 1000).toFixed(1)} s`);
}

function stop() {
  writing?.abort();
}

function write() {
  close();
  if (at("fresh").checked) at("seed").value = Math.floor(Math.random() * 2 ** 31);
  const names = [at("model").value, at("beside").value].filter(Boolean);
  stop();
  lanes = names.map((name) => new Lane(models.get(name)));
  at("lanes").replaceChildren(...lanes.map((lane) => lane.element));
  if (document.activeElement === document.body) at("write").focus(); // a key was pressed in a text that is gone now
  const prompt = at("prompt").value;
  work(lanes, async (lane, signal) => {
    const { tokens } = await (await request("/tokenize", { model: lane.model.id, prompt }, signal)).json();
    await lane.write(tokens.slice(-lane.model.context), signal, true);
  });
}

function writeOn() {
  work(lanes.filter((lane) => lane.tokens.length), (lane, signal) => lane.write(lane.ids(), signal, false));
}

function takeTurn(turn) {
  const { lane, index } = chosen;
  const top = lane.tokens[index].top;
  const ids = [...lane.ids(index), turn.id];
  lane.cut(index);
  lane.add(turn.id, turn.text, turn.logprob, top, "turned");
  choose(lane, index);
  lane.focus(index);
  work([lane], (_, signal) => lane.write(ids, signal, false));
}

function choose(lane, index) {
  for (const one of lanes) for (const token of one.tokens) token.element.ariaSelected = "false";
  chosen = { lane, index };
  const token = lane.tokens[index];
  token.element.ariaSelected = "true";
  at("panel").hidden = false;
  token.element.scrollIntoView({ block: "nearest" });
  at("token").textContent = visible(token.text);
  const place = token.top.findIndex((one) => one.id === token.id);
  const rank = place >= 0 ? `, choice ${place + 1} of the model` : "";
  at("facts").textContent = token.logprob === null ? `id ${token.id}` : `id ${token.id}, probability ${percent(token.logprob)}${rank}`;
  at("no-alternatives").hidden = token.logprob !== null;
  at("alternatives").replaceChildren(...token.top.map((one, number) => make("li", {}, alternative(one, number, token))));
  for (const [name, most] of [["layer", lane.model.layers], ["head", lane.model.heads]]) {
    at(name).max = most;
    show(at(name));
  }
  look();
}

function alternative(one, number, token) {
  const button = make("button", { type: "button", title: "go on from this one", className: one.id === token.id ? "drawn" : "" },
    make("span", { textContent: (number + 1) % 10 }), make("span", { textContent: visible(one.text) }),
    make("span", { textContent: percent(one.logprob) }));
  button.style.setProperty("--share", `${(100 * Math.exp(one.logprob)).toFixed(1)}%`);
  button.addEventListener("click", () => takeTurn(one));
  return button;
}

function close() {
  if (chosen) chosen.lane.tokens[chosen.index]?.element.setAttribute("aria-selected", "false");
  if (at("panel").contains(document.activeElement)) chosen?.lane.focus(chosen.index);
  chosen = null;
  at("panel").hidden = true;
  look();
}

// Shades the text before the chosen token by what a head looks at.
async function look() {
  const number = ++asked;
  const on = chosen !== null && at("attend").checked;
  for (const lane of lanes) lane.text.classList.toggle("looking", on && lane === chosen.lane);
  at("legend").classList.toggle("looking", on);
  at("legend-start").textContent = on ? "not looked at" : "sure";
  at("legend-end").textContent = on ? "looked at most" : "surprised (1 in 1000 or less)";
  at("looked").textContent = "";
  if (!on) return;
  const { lane, index } = chosen;
  const ids = lane.ids(index + 1).slice(-lane.model.context);
  try {
    const body = { model: lane.model.id, prompt: ids, layer: value("layer") - 1, head: value("head") - 1 };
    const { weights } = await (await request("/v1/attention", body)).json();
    if (number !== asked) return;
    const first = index + 1 - weights.length;
    const most = Math.max(...weights);
    lane.tokens.forEach((token, place) => token.element.style.setProperty("--look-shade", ((weights[place - first] ?? 0) / most).toFixed(3)));
    const best = weights.map((weight, place) => [weight, lane.tokens[first + place]]).sort((a, b) => b[0] - a[0]).slice(0, 5);
    at("looked").replaceChildren("Most at ", ...best.flatMap(([weight, token], rank) => [
      rank ? ", " : "", make("code", { textContent: visible(token.text) }), ` ${percent(Math.log(weight))}`]));
  } catch (problem) {
    if (number === asked) tell(problem.message, true);
  }
}

function show(input) {
  const output = document.querySelector(`output[for=${input.id}]`);
  output.textContent = input.value === "0" && input.dataset.zero ? input.dataset.zero : input.value;
}

async function begin() {
  const { data } = await (await request("/v1/models")).json();
  for (const model of data) models.set(model.id, model);
  const option = (model) => make("option", { value: model.id, textContent: `${model.id} (${short(model.parameters)})` });
  at("model").replaceChildren(...data.map(option).reverse());
  at("beside").replaceChildren(make("option", { value: "", textContent: "nothing" }), ...data.map(option).reverse());
  if (data.length > 1) at("beside").value = data[0].id;
  tell("");
}

at("ask").addEventListener("submit", (event) => { event.preventDefault(); write(); });
at("stop").addEventListener("click", stop);
at("more").addEventListener("click", writeOn);
at("close").addEventListener("click", close);
at("key").addEventListener("change", () => begin().catch((problem) => tell(problem.message, true)));
for (const name of NUMBERS) at(name).addEventListener("input", (event) => show(event.target));
for (const name of ["attend", "layer", "head"]) at(name).addEventListener("input", look);
for (const button of document.querySelectorAll("[data-example]")) {
  button.addEventListener("click", () => { at("prompt").value = EXAMPLES[button.dataset.example]; at("prompt").focus(); });
}
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); write(); }
  if (event.key === "Escape") { if (writing) stop(); else close(); }
});
NUMBERS.forEach((name) => show(at(name)));
begin().catch((problem) => tell(problem.message, true));
