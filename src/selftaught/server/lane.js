// A text on the page: its tokens as one sees them, and what keys and clicks in it do. Part of the same script as page.js.

// One text of one model.
class Lane {
  constructor(model) {
    this.model = model;
    this.tokens = []; // { id, text, logprob, top: [{ id, text, logprob }], given, turned, element }
    this.facts = make("span");
    this.text = make("div", { className: "text", role: "listbox", ariaLabel: `Text of ${model.id}` });
    this.element = make("article", { className: "lane" },
      make("header", {}, make("h2", { textContent: model.id }), this.facts), this.text);
    this.text.addEventListener("click", (event) => this.clicked(event.target.closest(".t")));
    this.text.addEventListener("keydown", (event) => this.keyed(event));
    this.text.addEventListener("focusin", (event) => this.rove(event.target));
    this.restart();
  }

  restart() {
    this.decoder = new TextDecoder();
    this.start = performance.now();
    this.drawn = 0;
  }

  ids(end = this.tokens.length) { return this.tokens.slice(0, end).map((token) => token.id); }

  index() { return chosen?.lane === this ? chosen.index : undefined; }

  cut(length) {
    for (const token of this.tokens.splice(length)) token.element.remove();
    if (!this.tokens.some((token) => token.element.tabIndex === 0)) this.rove(this.tokens[0]?.element);
    this.decoder = new TextDecoder();
    for (const token of this.tokens) this.decoder.decode(bytes(token.text), { stream: true });
  }

  // Makes a token the one of this text that Tab comes to.
  rove(element) {
    for (const token of this.tokens) token.element.tabIndex = token.element === element ? 0 : -1;
  }

  add(id, text, logprob, top, kind = "") {
    const shown = this.decoder.decode(bytes(text), { stream: true });
    const properties = { className: `t ${kind} ${shown ? "" : "part"}`, role: "option", tabIndex: this.tokens.length ? -1 : 0, ariaSelected: "false" };
    const element = make("span", properties, ...inked(shown));
    if (/^[^\S\n]+$/.test(shown)) element.ariaLabel = "blank"; // which has no name of its own
    element.title = logprob === null ? "the first token" : `${percent(logprob)} ${kind === "given" ? "(given)" : ""}`;
    if (logprob !== null) element.style.setProperty("--shade", Math.min(1, -logprob / Math.LN2 / MOST_BITS).toFixed(3));
    this.tokens.push({ id, text, logprob, top, kind, element });
    this.text.append(element);
  }

  take(choice, given = 0) {
    const { ids, tokens, token_logprobs: own, alternatives } = choice.logprobs;
    ids.forEach((id, number) => {
      const top = (alternatives[number] ?? []).map(([id, text, logprob]) => ({ id, text, logprob }));
      this.add(id, tokens[number], own[number], top, number < given ? "given" : "");
      this.drawn += number >= given;
    });
    const seconds = (performance.now() - this.start) / 1000;
    const known = this.tokens.filter((token) => token.logprob !== null && token.kind !== "given");
    const bits = -known.reduce((sum, token) => sum + token.logprob, 0) / Math.LN2 / Math.max(1, known.length);
    this.facts.textContent = `${short(this.model.parameters)} parameters \u00b7 ${this.drawn} tokens, ${(this.drawn / seconds).toFixed(0)}/s \u00b7 ${bits.toFixed(2)} bits a token${choice.finish_reason === "stop" ? " \u00b7 ended by itself" : ""}`;
  }

  async write(prompt, signal, echo) {
    this.restart();
    this.cut(this.tokens.length);
    const body = { model: this.model.id, prompt, logprobs: ALTERNATIVES, echo, max_tokens: value("tokens"), seed: Number(at("seed").value) };
    for (const name of ["temperature", "top_k", "top_p", "min_p", "repetition_penalty"]) body[name] = value(name);
    let given = echo ? Math.max(1, prompt.length) : 0; // an echo begins with the tokens of the prompt
    for await (const choice of streamed(body, signal)) {
      this.take(choice, given);
      given = 0;
      tell(`writing: ${drawn()} tokens`);
    }
  }

  clicked(element) {
    const index = this.tokens.findIndex((token) => token.element === element);
    if (index >= 0) choose(this, index);
  }

  focus(index) {
    const token = this.tokens[Math.max(0, Math.min(index, this.tokens.length - 1))];
    token?.element.focus();
  }

  // The token nearest to one in the line below (way 1) or above (-1), itself where there is none.
  near(here, way) {
    const box = (index) => this.tokens[index].element.lastChild.getClientRects()[0];
    const middle = (one) => one.left + one.width / 2;
    const from = box(here);
    let [best, distance, top] = [here, Infinity, null];
    for (let index = here + way; this.tokens[index]; index += way) {
      const one = box(index);
      if ((one.top - from.top) * way < from.height / 2) continue; // the same line
      top ??= one.top;
      if (Math.abs(one.top - top) > from.height / 2) break; // the line after that
      const far = Math.abs(middle(one) - middle(from));
      if (far < distance) [best, distance] = [index, far];
    }
    return best;
  }

  keyed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const here = this.tokens.findIndex((token) => token.element === document.activeElement);
    if (here < 0) return;
    const moves = {
      ArrowRight: () => here + 1, ArrowLeft: () => here - 1, ArrowDown: () => this.near(here, 1), ArrowUp: () => this.near(here, -1),
      Home: () => 0, End: () => this.tokens.length - 1,
    };
    if (event.key in moves) {
      this.focus(moves[event.key]());
      if (!at("panel").hidden) this.clicked(document.activeElement);
    } else if (event.key === "Enter" || event.key === " ") this.clicked(document.activeElement);
    else if (/^[0-9]$/.test(event.key)) {
      if (this.index() !== here) this.clicked(document.activeElement);
      const turn = this.tokens[here].top[(Number(event.key) + 9) % 10];
      if (turn) takeTurn(turn);
    } else return;
    event.preventDefault();
  }
}

function bytes(text) {
  if (!/^bytes:(\\x[0-9a-f]{2})+$/.test(text)) return new TextEncoder().encode(text);
  return new Uint8Array(text.match(/[0-9a-f]{2}(?=\\|$)/g).map((pair) => parseInt(pair, 16)));
}

// The inside of a token. A blank before a word stays outside of the shaded part, since at the end of a line it would hang over the
// edge; ends of lines get a sign that is not part of the text, so that copying leaves it out.
function inked(shown) {
  const blank = /^ (?=.)/s.exec(shown)?.[0] ?? "";
  const lines = shown.slice(blank.length).split("\n");
  const ink = make("span", { className: "ink" }, ...lines.flatMap((line, number) => (number ? [make("i", { className: "end" }), `\n${line}`] : [line])));
  return blank ? [blank, ink] : [ink];
}

function percent(logprob) {
  const share = 100 * Math.exp(logprob);
  return share >= 10 ? `${share.toFixed(0)} %` : share >= 0.01 ? `${share.toPrecision(2)} %` : "< 0.01 %";
}

// A token as one can see it: blanks, ends of lines and what has no shape of its own get one.
function visible(text) {
  const shapes = { " ": "\u2423", "\n": "\u23ce", "\t": "\u21e5" };
  return text.replace(/[\s\p{C}]/gu, (one) => shapes[one] ?? `U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
}
