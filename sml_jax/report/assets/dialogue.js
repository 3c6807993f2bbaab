// One dialogue as a column: what was said, what came of it, and apart from it what only the teacher knew.

const VERDICTS = { c: ["good", "\u2713 correct"], w: ["bad", "\u2717 wrong"], n: ["", "no attempt"] };

/** A dialogue as a column. `options` says whether `privateShown` and `tokensShown`. */
function dialogueColumn(dialogue, chosen, options) {
  const column = make("article", chosen ? "dialogue chosen" : "dialogue");
  const title = say(make("h4"), origin(dialogue));
  for (const badge of badges(dialogue)) title.append(badge);
  column.append(title, dialogueFacts(dialogue));
  if (options.tokensShown && hasTokens(dialogue)) {
    column.append(tokenView(dialogue));
    return column;
  }
  if (options.privateShown) appendPrivate(column, "Only the teacher knows", dialogue.private?.static);
  let studentTurn = 0;
  let teacherTurn = 0;
  dialogue.texts.forEach((text, place) => {
    const isStudent = dialogue.roles[place] === "s";
    if (!isStudent) {
      // The first teacher turn states the problem; what the teacher was told comes before each of the others.
      if (options.privateShown && teacherTurn) {
        appendPrivate(column, "The teacher was told", dialogue.private?.by_reply?.[teacherTurn - 1]);
      }
      teacherTurn += 1;
    }
    const turn = make("div", isStudent ? "turn student" : "turn");
    const who = make("div", "who", isStudent ? `student, turn ${studentTurn + 1}` : "teacher");
    if (isStudent) appendVerdict(who, dialogue, studentTurn);
    turn.append(who, say(make("div", "said"), text));
    column.append(turn);
    if (isStudent) {
      if (options.privateShown) appendPrivate(column, "The verifier said", dialogue.details?.[studentTurn]);
      studentTurn += 1;
    }
  });
  return column;
}

/** The line under a dialogue's title. */
function dialogueFacts(dialogue) {
  const facts = [];
  if (dialogue.domain) facts.push(`domain ${dialogue.domain}`);
  if (dialogue.leaks) facts.push(`teacher turns that leaked: ${dialogue.leaks}`);
  if (dialogue.redactions) facts.push(`replaced: ${dialogue.redactions}`);
  if (dialogue.dropped) facts.push(`dropped: ${dialogue.dropped}`);
  const advantage = meanAdvantage(dialogue);
  if (advantage !== null) facts.push(`advantage ${shortNumber(advantage)}`);
  return say(make("p", "facts"), facts.join(" \u00b7 "));
}

/** The mean of a dialogue's advantages over its turns; null where none was recorded. */
function meanAdvantage(dialogue) {
  if (!Array.isArray(dialogue.advantages)) return null;
  const numbers = dialogue.advantages.filter((value) => typeof value === "number");
  return numbers.length ? numbers.reduce((sum, value) => sum + value, 0) / numbers.length : null;
}

/** Appends what is known of a student turn: the verdict, the kind of turn, its advantage. */
function appendVerdict(who, dialogue, turn) {
  const [className, words] = VERDICTS[dialogue.verdicts[turn]] ?? ["", "not judged"];
  who.append(make("span", className, words));
  const label = LABELS[dialogue.labels[turn]];
  if (label && label !== "answer") who.append(make("span", "", label));
  if (dialogue.injected_turns?.includes?.(turn + 1)) who.append(make("span", "", "question put in"));
  const shards = dialogue.shards_revealed?.[turn];
  if (typeof shards === "number") who.append(make("span", "", `shards told: ${shards}`));
  const advantage = dialogue.advantages?.[turn];
  if (typeof advantage === "number") who.append(make("span", "", `advantage ${shortNumber(advantage)}`));
}

/** Appends a box with what the student never reads; nothing for an empty text. */
function appendPrivate(column, title, text) {
  if (!text || typeof text !== "string") return;
  const box = make("div", "private");
  box.append(make("div", "who", `${title} (the student never reads this)`), say(make("div", "said"), text));
  column.append(box);
}
