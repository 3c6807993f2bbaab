// The tokens of a dialogue whose learning signals were recorded: which were trained on, how likely, with what weight.

// A token gets a stronger ground for each of these log-probabilities that it falls below.
const LEVELS = [-0.1, -0.7, -2.3, -4.6];

/** Whether a dialogue has tokens that can be shown. */
function hasTokens(dialogue) {
  return Array.isArray(dialogue.token_signals?.text);
}

/** The tokens, and below them what is known of the one that was chosen. */
function tokenView(dialogue) {
  const { text, ...signals } = dialogue.token_signals;
  const names = Object.keys(signals).filter((name) => Array.isArray(signals[name]));
  const weights = names.filter((name) => name.endsWith(".weights"));
  const box = make("div", "tokens");
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", "Tokens; the left and right arrows move between them");
  const facts = make("p", "token-facts", "Underlined tokens were trained on; the darker a token, the less likely it was.");
  facts.setAttribute("role", "status");
  const elements = text.map((piece, place) => {
    const element = say(make("span", "token"), piece);
    const trained = weights.some((name) => signals[name][place] > 0);
    const logprob = signals.logprob?.[place];
    const level = trained && typeof logprob === "number" ? LEVELS.filter((limit) => logprob < limit).length : 0;
    element.classList.toggle("trained", trained);
    if (level) element.classList.add(`level-${level}`);
    element.dataset.place = place;
    return element;
  });
  box.append(...elements);
  let current = -1;
  const choose = (place) => {
    elements[current]?.classList.remove("current");
    current = Math.min(Math.max(place, 0), elements.length - 1);
    elements[current].classList.add("current");
    elements[current].scrollIntoView({ block: "nearest" });
    facts.replaceChildren();
    say(facts, `Token ${current + 1} of ${elements.length}, \u201c${text[current]}\u201d`);
    for (const name of names) {
      const value = signals[name][current];
      if (typeof value === "number") facts.append(`, ${visible(name)} ${shortNumber(value)}`);
    }
  };
  box.addEventListener("click", (event) => {
    const element = event.target.closest(".token");
    if (element) choose(Number(element.dataset.place));
  });
  box.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !elements.length) return;
    event.preventDefault();
    choose(current + step);
  });
  const view = make("div");
  view.append(box, facts);
  return view;
}
